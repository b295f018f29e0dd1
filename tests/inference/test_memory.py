import resource
import subprocess
import sys

import pytest
import torch

from clip2scene.inference import memory
from clip2scene.inference.memory import check_memory, estimate_memory, free_memory
from clip2scene.student import NETWORKS
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud

PEAK = """
import sys

import torch

from clip2scene.inference.memory import estimate_memory
from clip2scene.inference.predict import predict
from clip2scene.student import NETWORKS
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts


def address_space_mb(key):
    # Not what is resident: huge pages, and pages that are taken away and come back, follow the
    # load of the machine. What was asked for does not.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key)) / 1024


torch.set_num_threads(1)
torch.manual_seed(0)
student = Embedder(NETWORKS[sys.argv[1]](1, width=0.5), 64, superpoint_mean=True)
prompts = Prompts(tuple("abcd"), tuple("abcd"), torch.arange(4), torch.eye(4, 64))


def cloud(points):
    return PointCloud(torch.randn(points, 3) * torch.tensor([20.0, 20.0, 1.0]), torch.rand(points, 1))


predict(student, prompts, cloud(2000))
large = cloud(40_000)
before = address_space_mb("VmSize")
predict(student, prompts, large)
print(address_space_mb("VmPeak") - before, estimate_memory(student, large, 4) / 1e6 - 160)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process as Linux tells it")
@pytest.mark.parametrize("network", ["minkunet14a", "spvcnn"])
def test_the_estimate_is_that_of_what_is_taken_or_somewhat_more(network):
    said = subprocess.run([sys.executable, "-c", PEAK, network], capture_output=True, text=True, check=True)
    taken, estimated = map(float, said.stdout.split())
    assert taken < estimated < 3.5 * taken + 30


@pytest.fixture
def student():
    return Embedder(NETWORKS["minkunet14a"](1, width=0.25), 16)


def test_more_points_voxels_words_and_channels_need_more(student):
    spread = PointCloud(torch.rand(500, 3) * 50, torch.rand(500, 1))
    dense = PointCloud(torch.rand(500, 3) * 0.05, torch.rand(500, 1))
    wide = Embedder(NETWORKS["minkunet14a"](1, width=0.5), 16)
    least = estimate_memory(student, dense, 4)
    assert least < estimate_memory(student, spread, 4) < estimate_memory(wide, spread, 4)
    assert least < estimate_memory(student, dense, 400)


def test_a_cloud_that_does_not_fit_is_refused_in_one_sentence(student, monkeypatch):
    cloud = PointCloud(torch.rand(500, 3) * 50, torch.rand(500, 1))
    check_memory(student, cloud, 4)
    monkeypatch.setattr(memory, "free_memory", lambda device: 1e6)
    with pytest.raises(
        ValueError, match=r"500 points with 4 words needs about 0\.0.* GB, but only 0\.001 GB"
    ):
        check_memory(student, cloud, 4)


def test_what_is_free_is_the_least_that_system_container_and_limits_leave(tmp_path, monkeypatch):
    cpu = torch.device("cpu")
    assert free_memory(cpu, root=tmp_path) == float("inf")
    files = {
        "proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    5000 kB\n",
        "proc/self/status": "Name:\tpython\nVmSize:\t    1000 kB\n",
        "sys/fs/cgroup/memory.max": "max\n",
        "sys/fs/cgroup/memory.current": "3000000\n",
        "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 500000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(cpu, root=tmp_path) == 5000 * 1024
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("4000000\n")
    assert free_memory(cpu, root=tmp_path) == 1_500_000
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2_000_000, -1))
    assert free_memory(cpu, root=tmp_path) == 2_000_000 - 1000 * 1024
