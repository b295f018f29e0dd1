"""Compare ONNX files with torch: largest difference, equal labels, file size, milliseconds, and the start.

    python benchmarks/onnx_parity.py --clouds 50          networks of random weights, and builtin
    python benchmarks/onnx_parity.py --data-root TOWN     what smaller weights cost builtin, in mIoU

Four of five clouds are sweeps of toytown's streets, the others random points in a box. Random weights have
normalisations that have seen one sweep, so that features are of the size that trained ones have. Times are
the least of three, in processor time of one thread, of a whole sweep (1080 firings of 32 beams), with the
kernel maps that each builds; those of builtin are of labelling, from raw points to labels. The start is a
process of its own: seconds since its first line, and of its processor time.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from shift.report import describe_machine, today

from clip2scene import build
from clip2scene.evaluation.metrics import Confusion
from clip2scene.inference.export_onnx import export_onnx
from clip2scene.inference.onnx_model import build_model
from clip2scene.inference.segmenter import Segmenter
from clip2scene.onnx_runner import OnnxSegmenter
from clip2scene.onnx_runner.about import About
from clip2scene.onnx_runner.voxels import Voxels
from clip2scene.onnx_runner.words import choose
from clip2scene.runs.run import open_run
from clip2scene.student import NETWORKS
from clip2scene.student.model import Embedder
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.types import PointCloud, Prompts

TEXT, NAMES, VOXEL_M = 512, 16, 0.15

START = """
import time; began = time.perf_counter(), time.process_time()
def lap(what):
    print(f"{what}: {time.perf_counter() - began[0]:.2f} {time.process_time() - began[1]:.2f}", end="; ")
import sys, numpy, onnxruntime; lap("numpy, onnxruntime")
from clip2scene.onnx_runner import OnnxSegmenter; lap("runner")
segmenter = OnnxSegmenter(sys.argv[1], threads=1); lap("file open")
cloud = numpy.load(sys.argv[2])
segmenter.segment(cloud); lap("first labels (with SciPy's import)")
segmenter.segment(cloud); lap("second labels")
"""


def sweep(town: int, steps: int) -> PointCloud:
    """Record a sweep of a street."""
    found = lidar_sweep(build_town(town), 1.0, np.random.default_rng(0), azimuth_steps=steps)
    return PointCloud(
        torch.as_tensor(found.positions).float(), torch.as_tensor(found.intensity).float()[:, None]
    )


def clouds_of(count: int) -> list[PointCloud]:
    """Record small sweeps, and draw random clouds of 1 to 4000 points."""
    found, draw = [], torch.Generator().manual_seed(0)
    for number in range(count):
        if number % 5:
            found.append(sweep(1000 + number, 150))
            continue
        points = int(torch.randint(1, 4000, (1,), generator=draw))
        box = torch.rand(points, 3, generator=draw) * torch.tensor([40.0, 40.0, 6.0]) - torch.tensor(
            [20, 20, 2]
        )
        found.append(PointCloud(box, torch.rand(points, 1, generator=draw)))
    return found


def random_student(network: str, seen: PointCloud) -> Embedder:
    """Make a student of random weights whose normalisations have seen a cloud."""
    torch.manual_seed(0)
    student = Embedder(NETWORKS[network](1, voxel_size=VOXEL_M), TEXT)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 1.0
    student.train()(seen.positions, seen.features, torch.zeros(len(seen), dtype=torch.long))
    return student.eval()


def file_of(student: Embedder, network: str, path: Path) -> Prompts:
    """Write a student as a file, with random words."""
    vectors = torch.nn.functional.normalize(torch.randn(NAMES, TEXT), dim=1)
    names = tuple(f"word {number}" for number in range(NAMES))
    about = About(
        **{"version": "", "run_hash": "", "network": network, "weights": "float32", "at_corners": False},
        **{"voxel_size": VOXEL_M, "in_channels": 1, "superpoint_mean": False, "temperature": 1.0},
        **{
            "level": False,
            "height": "none",
            "height_unit": 2.0,
            "intensity": "value",
            "viewpoint": [0.0] * 3,
        },
        **{"turns": dict.fromkeys(("low", "medium", "high"), [0.0]), "by_classifier": False},
        **{"names": list(names), "classes": list(names)},
        **{"class_of_name": list(range(NAMES)), "stands_for": {}, "prompts": None, "background": "trained"},
    )
    words = Prompts(names, names, torch.arange(NAMES), vectors)
    path.write_bytes(build_model(student, about, words, choose(about, None)).SerializeToString())
    return words


def milliseconds(work: Callable[[], object]) -> float:
    """Give the least processor time of three calls, after one."""
    work()
    spent = []
    for _ in range(3):
        began = time.thread_time()
        work()
        spent.append(1e3 * (time.thread_time() - began))
    return min(spent)


@torch.inference_mode()
def compare_network(network: str, clouds: list[PointCloud], whole: PointCloud, folder: Path) -> str:
    """Compare a network of random weights with its file."""
    student, path = random_student(network, whole), folder / f"{network}.onnx"
    words = file_of(student, network, path)
    segmenter = OnnxSegmenter(path, threads=1)

    def in_torch(cloud: PointCloud) -> np.ndarray:
        hidden = student(cloud.positions, cloud.features, torch.zeros(len(cloud), dtype=torch.long))
        return student.compare(hidden, words.embeddings).numpy()

    def in_onnx(cloud: PointCloud) -> np.ndarray:
        positions, features = cloud.positions.numpy(), cloud.features.numpy()
        return segmenter._run(positions, features, [0.0], False)["name_logits"][:, :, 0]

    apart, size, same, count = 0.0, 0.0, 0, 0
    for cloud in clouds:
        expected, found = in_torch(cloud), in_onnx(cloud)
        apart, size = max(apart, np.abs(found - expected).max()), max(size, np.abs(expected).max())
        same += (found.argmax(1) == expected.argmax(1)).sum()
        count += len(cloud)
    weights = 4 * sum(each.numel() for each in student.state_dict().values())
    maps = milliseconds(
        lambda: list(Voxels(whole.positions.numpy(), VOXEL_M).inputs(iter(segmenter._inputs)))
    )
    times = [milliseconds(lambda work=work: work(whole)) for work in (in_torch, in_onnx)]
    return (
        f"| {network}, random | {apart:.1e} of {size:.1f} | {100 * same / count:.3f} | "
        f"{path.stat().st_size / 1e6:.1f} of {weights / 1e6:.1f} | {times[0]:.0f} | "
        f"{times[1]:.0f} ({maps:.0f}) |"
    )


@torch.inference_mode()
def compare_builtin(clouds: list[PointCloud], whole: PointCloud, folder: Path) -> str:
    """Compare builtin with its file, from raw points to labels."""
    path = export_onnx(Path("builtin"), folder / "builtin.onnx")
    in_torch, in_onnx = Segmenter.load("builtin"), OnnxSegmenter(path, threads=1)
    apart, same, count, high = 0.0, 0, 0, 0
    for cloud in clouds:
        expected, found = in_torch.segment(cloud), in_onnx.segment(cloud)
        differences = np.abs(found.scores - expected.scores.numpy()).max(1)
        apart, high = max(apart, differences.max()), high + (differences > 1e-4).sum()
        same, count = same + (found.labels == expected.labels.numpy()).sum(), count + len(cloud)
    weights = 4 * sum(each.numel() for each in in_torch.student.state_dict().values())
    times = [milliseconds(lambda each=each: each.segment(whole)) for each in (in_torch, in_onnx)]
    return (
        f"| builtin, scores from raw points | {apart:.1e} of 1, over 1e-4 at {high} of {count} | "
        f"{100 * same / count:.3f} | {path.stat().st_size / 1e6:.1f} of {weights / 1e6:.1f} | "
        f"{times[0]:.0f} | {times[1]:.0f} |"
    )


def start(cloud: PointCloud, folder: Path) -> str:
    """Time a process from its first line to the labels of its first and second cloud: wall, processor."""
    np.save(folder / "cloud.npy", np.concatenate([cloud.positions, cloud.features], 1))
    command = [sys.executable, "-c", START, str(folder / "builtin.onnx"), str(folder / "cloud.npy")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def weigh(data_root: Path, clouds: int, folder: Path) -> list[str]:
    """Evaluate builtin with weights of each precision on a validation split, and in torch."""
    run = open_run("builtin")
    dataset = build.open_dataset(run.recipe.data, data_root, split="val", labels=True, sweeps=1)
    mapping = run.class_mapping
    ways: dict[str, Callable[[PointCloud], np.ndarray]] = {}
    sizes = {}
    for weights in ("float32", "float16", "int8"):
        path = export_onnx(Path("builtin"), folder / f"{weights}.onnx", weights=weights)
        segmenter, sizes[weights] = OnnxSegmenter(path, threads=1), path.stat().st_size / 1e6
        ways[weights] = lambda cloud, segmenter=segmenter: segmenter.segment(cloud).labels
    in_torch = Segmenter.load("builtin")
    ways["torch"] = lambda cloud: in_torch.segment(cloud).labels.numpy()
    found = {name: Confusion(len(mapping.classes)) for name in ways}
    numbers = np.linspace(0, len(dataset) - 1, min(clouds, len(dataset)), dtype=int).tolist()
    for number in numbers:
        sample = dataset[number]
        for name, label in ways.items():
            found[name].update(mapping.translate(torch.as_tensor(label(sample.cloud))), sample.labels)
    rows = [f"| {len(numbers)} clouds of {data_root.name} | mIoU | accuracy | MB |", "|---|---:|---:|---:|"]
    for name, each in found.items():
        scores = each.scores(mapping.classes)
        rows.append(
            f"| {name} | {100 * scores.miou:.2f} | {100 * scores.accuracy:.2f} | {sizes.get(name, 0):.1f} |"
        )
    return rows


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clouds", type=int, default=50)
    parser.add_argument(
        "--networks", nargs="*", default=["minkunet14a", "minkunet18", "minkunet34", "spvcnn"]
    )
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe_machine("cpu"), today(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.data_root is not None:
            print("\n".join(weigh(options.data_root, options.clouds, folder)))
            return
        clouds, whole = clouds_of(options.clouds), sweep(7, 1080)
        print(f"{sum(map(len, clouds))} points in {len(clouds)} clouds; the whole sweep has {len(whole)}")
        print(
            "| | largest difference | same labels, % | file, MB, of weights | torch, ms | onnx (maps), ms |"
        )
        print("|---|---:|---:|---:|---:|---:|")
        print(compare_builtin(clouds, whole, folder), flush=True)
        print(start(whole, folder), flush=True)
        for network in options.networks:
            print(compare_network(network, clouds, whole, folder), flush=True)


if __name__ == "__main__":
    main()
