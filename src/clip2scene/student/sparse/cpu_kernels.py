"""The fast CPU path of sparse convolution: ``kernels.c``, compiled on this machine when it is first needed.

It is used for float32 rows on the CPU where there is a C compiler and plain torch is not the faster
(:mod:`clip2scene.student.sparse.measured`), and equals the plain-torch path up to rounding; everywhere else,
and whenever compiling fails, the plain-torch path runs. The environment variable ``CLIP2SCENE_COMPILED=0``,
or :data:`switched_on`, switches it off.

The library is kept in the user's cache folder under the hash of its source, compiler and processor.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from clip2scene.io import write_atomically
from clip2scene.student.sparse.finish import Finish
from clip2scene.student.sparse.kernel_map import KernelMap

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")
_MOST_COLUMNS = 512  # kernels.c keeps a chunk of rows this wide on its stack
_PRODUCTS_PER_THREAD = 10_000_000  # about 0.1 ms of work: less is not worth waking a thread

switched_on = os.environ.get("CLIP2SCENE_COMPILED", "1") != "0"
"""Whether the compiled path may be used."""


def usable(rows: Tensor, columns: int) -> bool:
    """Tell whether the compiled path can read these rows and write that many columns."""
    if rows.dtype != torch.float32 or columns > _MOST_COLUMNS or not usable_on(rows):
        return False
    return columns % _library().clip2scene_lanes() == 0  # type: ignore[union-attr]


def usable_on(tensor: Tensor) -> bool:
    """Tell whether the compiled path is switched on, there, and for this tensor's device."""
    return switched_on and tensor.device.type == "cpu" and _library() is not None


def library_path() -> Path:
    """Say where the compiled kernels lie, which are usable."""
    library = _library()
    assert library is not None
    return Path(library._name)


def convolve(features: Tensor, weight: Tensor, pairs: KernelMap, finish: Finish | None = None) -> Tensor:
    """Compute ``conv.gather_multiply_scatter``; shapes are the same."""
    out = features.new_empty(pairs.num_targets, weight.shape[2])
    last = (
        (None, None, 0) if finish is None else (finish.scale.data_ptr(), finish.shift.data_ptr(), finish.relu)
    )
    _call("clip2scene_convolve", features, weight.contiguous(), pairs, weight.shape, out, *last)
    return out


def weight_gradient(features: Tensor, gradient: Tensor, pairs: KernelMap) -> Tensor:
    """Compute ``conv.weight_gradient``; shapes are the same."""
    shape = torch.Size([len(pairs.counts), features.shape[1], gradient.shape[1]])
    out = features.new_empty(shape)
    _call("clip2scene_weight_gradient", features, gradient, pairs, shape, out)
    return out


def submanifold_pairs(keys: Tensor, columns: Tensor, kernel_size: int) -> tuple[Tensor, Tensor, list[int]]:
    """Compute ``tensor.submanifold_pairs``, to the bit."""
    volume = kernel_size**3
    counts = torch.empty(volume // 2, dtype=torch.int64)
    library = _library()
    assert library is not None
    table = (keys.data_ptr(), len(keys), columns.data_ptr(), len(columns), kernel_size // 2, volume // 2)
    library.clip2scene_neighbours(*table, None, counts.data_ptr(), None, None)
    half = counts.tolist()
    every = [*half[::-1], 0, *half]
    starts = torch.tensor([0, *accumulate(every)])
    ends = torch.empty(2, sum(every), dtype=torch.int64)
    library.clip2scene_neighbours(
        *table, starts.data_ptr(), counts.data_ptr(), ends[0].data_ptr(), ends[1].data_ptr()
    )
    return ends[0], ends[1], every


def _call(
    name: str,
    first: Tensor,
    second: Tensor,
    pairs: KernelMap,
    shape: torch.Size,
    out: Tensor,
    *more: int | None,
) -> None:
    offsets, in_channels, out_channels = shape
    counter = ctypes.c_int64(0)
    arguments = (
        first.data_ptr(),
        second.data_ptr(),
        pairs.sources.data_ptr(),
        pairs.targets.data_ptr(),
        pairs.starts.data_ptr(),
        offsets,
        -1 if pairs.centre is None else pairs.centre,
        in_channels,
        out_channels,
        pairs.num_targets,
        out.data_ptr(),
        ctypes.byref(counter),
        *more,
    )
    function = getattr(_library(), name)
    products = pairs.num_pairs * in_channels * out_channels
    threads = min(torch.get_num_threads(), 1 + products // _PRODUCTS_PER_THREAD)
    if threads == 1:
        function(*arguments)
    else:  # plain threads that sleep between calls: a second OpenMP pool would fight torch's for the cores
        pool = _pool(threads, os.getpid())
        for done in [pool.submit(lambda: function(*arguments)) for _ in range(threads)]:
            done.result()


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return a pool of this process; a pool does not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"sparse-{process}")


@cache
def _library() -> ctypes.CDLL | None:
    """Load the compiled kernels, compiling them first if need be; None where that is not possible."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    try:
        library = ctypes.CDLL(str(_build(compiler)))
    except (OSError, RuntimeError, subprocess.SubprocessError):  # RuntimeError: no home folder
        return None
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    product = [pointer] * 5 + [integer] * 5 + [pointer] * 2
    library.clip2scene_convolve.argtypes = [*product, pointer, pointer, ctypes.c_int]
    library.clip2scene_weight_gradient.argtypes = product
    library.clip2scene_neighbours.argtypes = [pointer, integer, pointer, *[integer] * 3, *[pointer] * 4]
    return library


def _build(compiler: str) -> Path:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    identity = [SOURCE.read_bytes(), version, _processor().encode(), " ".join(FLAGS).encode()]
    digest = hashlib.sha256(b"\0".join(identity)).hexdigest()[:20]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clip2scene"
    path = folder / f"kernels-{digest}.so"
    if not path.exists():
        with write_atomically(path) as fresh:  # several processes may start together
            command = [compiler, *FLAGS, "-o", str(fresh), str(SOURCE)]
            subprocess.run(command, capture_output=True, check=True, timeout=300)
    return path


def _processor() -> str:
    """Name the instruction set: a cache folder may be shared between unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = [line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))]
    return f"{platform.machine()} {sorted(set(told))}"
