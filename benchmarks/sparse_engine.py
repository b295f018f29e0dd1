"""Time the sparse engine on one lidar sweep, on one core, beside the time its products alone would take.

    python benchmarks/sparse_engine.py [--sweep FILE] [--repeats 5] [--networks demo minkunet34 spvcnn]

The floor of a network is the number of its multiply-adds that touch two occupied voxels, over the rate of
the fastest float32 matrix product measured in the same run; a training step has three times the products of
a forward pass. Times are processor time of this process, medians. With --layers, single layers are timed
too, and spconv and MinkowskiEngine beside them where they can be imported; neither is a dependency. Both
paths of the engine are timed, plain torch and the compiled kernels, whichever this machine chooses. With
--avx2 neither torch nor the kernels use AVX-512, and products are float32, as on a processor without it.
"""

import argparse
import ctypes
import datetime
import importlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from clip2scene.student import SPVCNN, minkunet14a, minkunet34
from clip2scene.student.point_voxel import VoxelizedPoints
from clip2scene.student.sparse import (
    KernelMap,
    Pyramid,
    SparseConv3d,
    SparseTensor,
    conv,
    cpu_kernels,
    sparse_convolution,
)

KEYFRAME_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "nuscenes-keyframe"
VOXEL_SIZE = 0.1
Points = tuple[Tensor, Tensor, Tensor]


def read_or_make_sweep(path: Path | None) -> tuple[str, Points]:
    """Read a nuScenes sweep (five float32 a point), or make a spinning lidar's view of boxes on a plane."""
    if path is None:
        path = next(iter(sorted(KEYFRAME_FOLDER.glob("*LIDAR_TOP*.pcd.bin"))), None)
    if path is not None:
        rows = torch.from_numpy(np.fromfile(path, dtype=np.float32).reshape(-1, 5))
        name, positions, intensity = path.name, rows[:, :3].contiguous(), rows[:, 3:4] / 255
    else:
        generator = torch.Generator().manual_seed(0)
        azimuth = torch.linspace(-torch.pi, torch.pi, 1086)[:, None].expand(-1, 32)
        elevation = torch.deg2rad(torch.linspace(-30.7, 10.7, 32)).expand(1086, -1)
        ground = torch.where(elevation < 0, 1.8 / (-elevation).sin().clamp(min=1e-3), torch.inf)
        wall = 6 + 30 * torch.rand(60, generator=generator).repeat_interleave(19)[:1086, None]
        distance = torch.minimum(ground, wall / elevation.cos()).clamp(max=80)
        distance = distance + 0.02 * torch.randn(distance.shape, generator=generator)
        flat = distance * elevation.cos()
        axes = [flat * azimuth.cos(), flat * azimuth.sin(), distance * elevation.sin()]
        positions = torch.stack(axes, dim=-1).reshape(-1, 3)
        name, intensity = "generated spinning lidar", torch.rand(len(positions), 1, generator=generator)
    return name, (positions, intensity, torch.zeros(len(positions), dtype=torch.long))


@contextmanager
def compiled_kernels(on: bool) -> Iterator[None]:
    """Take the compiled kernels, or never, inside a ``with`` block, whatever was measured."""
    with (
        mock.patch.object(cpu_kernels, "switched_on", on),
        mock.patch.object(conv, "compiled_wins", lambda *work: True),
    ):
        yield


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median processor time of a call, after one call to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def gemm_rate() -> float:
    """Return the best float32 rate of torch's matrix product, in GFLOP/s."""
    best = 0.0
    for rows, inner, columns in [(1000, 256, 256), (4000, 256, 256), (2048, 512, 512)]:
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        for _ in range(15):
            start = time.process_time()
            for _ in range(5):
                left @ right
            best = max(best, 10 * rows * inner * columns / (time.process_time() - start) / 1e9)
    return best


def pairs_of(layer: SparseConv3d, inputs: SparseTensor) -> KernelMap:
    """Return the kernel map that a layer uses on these voxels."""
    if layer.stride == 1:
        return inputs.pyramid.neighbours(inputs.level, layer.kernel_size)
    return inputs.pyramid.descent(inputs.level - layer.transposed)


def layer_table(net: nn.Module, points: Points, repeats: int) -> list[tuple[str, int, float, float]]:
    """Return name, pairs, GFLOP and forward milliseconds of each convolution and linear layer."""
    pairs: dict[str, tuple[int, float]] = {}
    begun: dict[str, float] = {}
    spent: dict[str, list[float]] = {}

    def watch(name: str, layer: nn.Module) -> None:
        def before(_: nn.Module, __: tuple) -> None:
            begun[name] = time.process_time()

        def after(_: nn.Module, inputs: tuple, __: object) -> None:
            spent.setdefault(name, []).append(1e3 * (time.process_time() - begun[name]))
            if isinstance(layer, nn.Linear):
                rows, products = len(inputs[0]), layer.weight.numel()
            else:
                rows, products = pairs_of(layer, inputs[0]).num_pairs, layer.weight[0].numel()
            pairs[name] = rows, 2e-9 * rows * products

        layer.register_forward_pre_hook(before)
        layer.register_forward_hook(after)

    for name, layer in net.named_modules():
        if isinstance(layer, SparseConv3d | nn.Linear):
            watch(name, layer)
    with torch.no_grad():
        for _ in range(repeats + 1):
            net(*points)
    return [(name, *pairs[name], statistics.median(spent[name][1:])) for name in pairs]


def report(name: str, value: float, unit: str, floor: float | None = None) -> None:
    """Print one measurement."""
    ratio = "" if floor is None else f"   {value / floor:5.2f} x floor of {floor:.1f} {unit}"
    print(f"{name:<58}{value:9.1f} {unit}{ratio}")


def time_network(name: str, net: nn.Module, points: Points, rate: float, repeats: int) -> None:
    """Print forward and training-step times of both paths, then the layers of the faster one."""
    upward = torch.randn(len(points[0]), net.out_channels)

    def forward() -> None:
        with torch.no_grad():
            net(*points)

    def step() -> None:
        net.zero_grad()
        net(*points).backward(upward)

    table = layer_table(net, points, repeats)
    floor = 1e3 * sum(row[2] for row in table) / rate
    report(f"{name}: products", 1e-3 * floor * rate, "GFLOP")
    for path in (False, True):
        if path and not cpu_kernels.usable(upward.new_zeros(1, 16), 16):
            print(f"{name}: no C compiler, compiled kernels not timed")
            continue
        label = "compiled" if path else "plain torch"
        with compiled_kernels(path):
            report(f"{name}, forward, {label}", milliseconds(forward, repeats), "ms", floor)
            report(f"{name}, training step, {label}", milliseconds(step, repeats), "ms", 3 * floor)
    print(f"  {'layer':<34}{'pairs':>9}{'GFLOP':>8}{'ms':>8}{'x floor':>9}")
    for layer, pairs, gflop, spent in table:
        print(f"  {layer:<34}{pairs:>9}{gflop:>8.3f}{spent:>8.2f}{spent * rate / gflop / 1e3:>9.2f}")


def time_one_layer(points: Points, rate: float, repeats: int) -> None:
    """Print one submanifold 3x3x3 convolution, ours beside whichever rivals can be imported."""
    pyramid = VoxelizedPoints(points[0], points[2], VOXEL_SIZE).pyramid
    pairs = pyramid.neighbours(0, 3)
    for title, build in {
        "kernel map 3x3x3": lambda: Pyramid(pyramid.finest).neighbours(0, 3),
        "kernel map 2x2x2, stride 2": lambda: Pyramid(pyramid.finest).descent(0),
    }.items():
        report(title, milliseconds(build, repeats), "ms")
    for channels in (16, 32, 64, 96, 128, 256):
        rows = torch.randn(pairs.num_sources, channels, requires_grad=True)
        weight = (0.01 * torch.randn(27, channels, channels)).requires_grad_()
        floor = 2e-6 * pairs.num_pairs * channels**2 / rate
        runs = {
            "plain torch": lambda r=rows, w=weight: sparse_convolution(r, w, pairs),
            "compiled": lambda r=rows, w=weight: sparse_convolution(r, w, pairs),
            **rivals(pyramid.coordinates(0), rows),
        }
        for label, run in runs.items():
            with compiled_kernels(label == "compiled"), torch.no_grad():
                report(
                    f"3x3x3, {channels} channels, forward, {label}", milliseconds(run, repeats), "ms", floor
                )
            upward = torch.randn(pairs.num_targets, channels)
            with compiled_kernels(label == "compiled"):
                spent = milliseconds(lambda run=run, up=upward: run().backward(up), repeats)
            report(f"3x3x3, {channels} channels, and backward, {label}", spent, "ms", 3 * floor)


def rivals(coordinates: Tensor, rows: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return the same layer of other engines, their kernel maps kept from call to call as ours are."""
    found: dict[str, Callable[[], Tensor]] = {}
    channels = rows.shape[1]
    try:
        spconv = importlib.import_module("spconv.pytorch")
        ops = importlib.import_module("spconv.pytorch.ops")
        ops.get_current_stream = lambda: 0  # its backward pass asks for a CUDA stream also on the CPU
        layer = spconv.SubMConv3d(
            channels, channels, 3, bias=False, indice_key="a", algo=spconv.ConvAlgo.Native
        )
        cells = coordinates.clone()
        cells[:, 1:] -= cells[:, 1:].min(0).values
        shape = (cells[:, 1:].max(0).values + 1).tolist()
        base = layer(spconv.SparseConvTensor(rows, cells.int(), shape, 1))  # with the kernel map under "a"
        found["spconv"] = lambda: layer(base.replace_feature(rows)).features
    except Exception as error:  # noqa: BLE001 - a rival that cannot run is no fault of ours
        print(f"(spconv not timed: {type(error).__name__}: {str(error)[:80]})")
    try:
        minkowski = importlib.import_module("MinkowskiEngine")
        conv = minkowski.MinkowskiConvolution(channels, channels, kernel_size=3, dimension=3)
        start = minkowski.SparseTensor(rows.detach(), coordinates.int())
        key, manager = start.coordinate_map_key, start.coordinate_manager
        found["MinkowskiEngine"] = lambda: (
            conv(minkowski.SparseTensor(rows, coordinate_map_key=key, coordinate_manager=manager)).F
        )
    except Exception as error:  # noqa: BLE001
        print(f"(MinkowskiEngine not timed: {type(error).__name__}: {str(error)[:80]})")
    return found


def main() -> None:
    """Run everything asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sweep", type=Path, help="a nuScenes .pcd.bin; default: the keyframe if it is there"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--networks", nargs="*", default=["demo", "minkunet34", "spvcnn"])
    parser.add_argument("--layers", action="store_true", help="also time single layers, with rivals")
    parser.add_argument("--avx2", action="store_true", help="do without AVX-512")
    arguments = parser.parse_args()
    if arguments.avx2:
        do_without_avx512()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest" if arguments.avx2 else "medium")
    keep_freed_memory()
    name, points = read_or_make_sweep(arguments.sweep)
    levels = VoxelizedPoints(points[0], points[2], VOXEL_SIZE).pyramid
    rate = gemm_rate()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{datetime.datetime.now():%Y-%m-%d}  {platform.machine()} {processor()}, one core, {versions}")
    print(f"{name}: {len(points[0])} points, voxels per level {[len(levels.keys(i)) for i in range(5)]}")
    report("float32 matrix product", rate, "GFLOP/s")
    nets = {
        "demo": lambda: (minkunet14a(1, width=0.5, voxel_size=VOXEL_SIZE), "half-width MinkUNet14A"),
        "minkunet34": lambda: (minkunet34(1, voxel_size=VOXEL_SIZE), "MinkUNet34"),
        "spvcnn": lambda: (SPVCNN(1, voxel_size=VOXEL_SIZE), "SPVCNN"),
    }
    for short in arguments.networks:
        torch.manual_seed(0)
        net, title = nets[short]()
        time_network(title, net, points, rate, arguments.repeats)
    if arguments.layers:
        time_one_layer(points, rate, arguments.repeats)


def do_without_avx512() -> None:
    """Start anew where torch may not use AVX-512, and compile the kernels without it."""
    narrow = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    if not narrow.items() <= os.environ.items():  # torch looks once, when it is imported
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **narrow})
    cpu_kernels.FLAGS = (*cpu_kernels.FLAGS, "-mno-avx512f")


def keep_freed_memory() -> None:
    """Ask glibc to keep freed buffers: giving them back and taking them again costs much of a step."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass


def processor() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
