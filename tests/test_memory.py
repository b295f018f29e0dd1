import subprocess
import sys

import pytest

PRODUCTS_OF_MANY_SHAPES = """
import sys

import torch

from clip2scene import cli
from clip2scene.cli.table import Command

weight = torch.randn(64, 64, requires_grad=True)


def resident_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


def multiply(rows):
    (torch.randn(rows, 64) @ weight).sum().backward()


def products():
    "Multiply."
    torch.set_num_threads(1)
    multiply(3000)
    before = resident_mb()
    for rows in range(2000, 2100):
        multiply(rows)
    print(resident_mb() - before)


cli.COMMANDS = {"products": Command(products)}
sys.argv = ["clip2scene", "products"]
cli.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process as Linux tells it")
def test_products_of_ever_new_shapes_do_not_fill_the_memory_of_a_command():
    grown = subprocess.run(
        [sys.executable, "-c", PRODUCTS_OF_MANY_SHAPES], capture_output=True, text=True, check=True
    )
    assert float(grown.stdout) < 60  # MB; 143 without the limits that the command line sets
