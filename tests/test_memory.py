import subprocess
import sys

import pytest

PRODUCTS_OF_MANY_SHAPES = """
import torch

torch.set_float32_matmul_precision("medium")
torch.set_num_threads(1)
weight = torch.randn(64, 64, requires_grad=True)


def resident_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def multiply(rows):
    (torch.randn(rows, 64) @ weight).sum().backward()


multiply(3000)
before = resident_mb()
for rows in range(2000, 2100):
    multiply(rows)
print(resident_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process as Linux tells it")
def test_products_of_ever_new_shapes_do_not_fill_the_memory():
    code = "import clip2scene" + PRODUCTS_OF_MANY_SHAPES
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(grown.stdout) < 60  # MB; 143 without the limits that the package sets
