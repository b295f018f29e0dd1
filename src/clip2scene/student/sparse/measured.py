"""Which path a layer takes where both could: the one that was faster when this machine was measured.

A small layer is timed once for each kind of work and width, on one thread, and the outcome is kept beside
the compiled kernels: a machine decides once, so that what is run again has the same bits. The compiled path,
which needs less memory, is taken unless plain torch was clearly faster in full float32 precision.
"""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from clip2scene.io import read_json, write_json
from clip2scene.parallel import file_lock
from clip2scene.student.sparse import cpu_kernels
from clip2scene.student.sparse import keys as packed
from clip2scene.student.sparse.kernel_map import KernelMap
from clip2scene.student.sparse.tensor import submanifold_map

CLEARLY = 0.85
"""Share of the compiled path's time below which plain torch is taken."""

Work = Callable[[Tensor, Tensor, KernelMap], Tensor]


@cache
def compiled_wins(work: str, width: int, plain: Work, compiled: Work) -> bool:
    """Tell whether this machine's compiled path is not clearly slower than plain torch.

    Args:
        work: "convolve" or "weight_gradient", as the times are kept under.
        width: Channels of the layer, which are rounded up to a power of two.
        plain: The work in plain torch.
        compiled: The same by the compiled kernels, which can be used.
    """
    width = 1 << (width - 1).bit_length()
    place, name = cpu_kernels.library_path().with_suffix(".json"), f"{work} {width}"
    try:
        if name not in _read(place):
            with file_lock(place.with_suffix(".lock")):
                times = _read(place)  # another process may have measured meanwhile
                write_json(place, {name: _milliseconds(work, width, plain, compiled), **times})
        found = _read(place)[name]
        return found["plain"] >= CLEARLY * found["compiled"]
    except (OSError, ValueError, LookupError, TypeError):  # a folder nobody may write to, a damaged file
        found = _milliseconds(work, width, plain, compiled)
        return found["plain"] >= CLEARLY * found["compiled"]


def _read(place: Path) -> dict[str, dict[str, float]]:
    """Read the times that are kept."""
    return read_json(place) if place.exists() else {}


def _milliseconds(work: str, width: int, plain: Work, compiled: Work) -> dict[str, float]:
    """Time both paths by turns on a few hundred voxels: the least processor time of six calls, in ms."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, 11, (600, 4), generator=generator) * torch.tensor([0, 1, 1, 1])
    pairs = submanifold_map(torch.unique(packed.pack(cells)), 3)
    rows = torch.randn(pairs.num_sources, width, generator=generator)
    other = torch.randn((27, width, width) if work == "convolve" else rows.shape, generator=generator)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    best: dict[str, float] = {}
    try:
        for _ in range(6):
            for name, path in (("plain", plain), ("compiled", compiled)):
                began = time.thread_time()
                path(rows, other, pairs)
                spent = 1e3 * (time.thread_time() - began)
                best[name] = min(best.get(name, spent), spent)
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    return best
