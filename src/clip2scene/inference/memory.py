"""How much memory it takes to label a cloud, and how much there is."""

from math import inf
from pathlib import Path

import torch

from clip2scene.student import SPVCNN
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud

_OF_A_VOXEL = 75  # bytes for each channel that the backbone gives
_OF_A_VOXEL_WITH_POINTS, _OF_A_POINT = (
    15,
    12,
)  # the same, where it keeps features of points too
_OF_A_SCORE = 24  # logits, their means in superpoints, scores and their halves
_BESIDE = 400  # of a point: the file's numbers, superpoints, what is written
_PICTURE = 700_000_000  # the most that a picture takes


def check_memory(student: Embedder, cloud: PointCloud, names: int) -> None:
    """Refuse a cloud that there is too little memory to label; a machine that runs out ends the program.

    Args:
        student: The network, on the device that it will run on.
        cloud: The points.
        names: How many words there are.

    Raises:
        ValueError: If more is needed than there is.
    """
    needed, free = estimate_memory(student, cloud, names), free_memory(student.head.weight.device)
    if needed > free:
        pieces = int(needed / max(free, needed / 99)) + 1
        raise ValueError(
            f"labelling {len(cloud):,} points with {names} words needs about {needed / 1e9:.2g} GB, but only "
            f"{max(free, 0.0) / 1e9:.2g} GB of memory are free; cut the cloud into {pieces} or more pieces, "
            "thin it, or free memory"
        )


def estimate_memory(student: Embedder, cloud: PointCloud, names: int) -> float:
    """Estimate the bytes that labelling a cloud takes at its peak, beside the network itself.

    The numbers were measured on the networks of this package at full and half width. Where heads are linear
    and look at voxels, no point has features of its own.
    """
    channels = int(student.backbone.out_channels)  # type: ignore[arg-type]
    size = float(student.backbone.voxel_size)  # type: ignore[arg-type]
    voxels = len(torch.unique((cloud.positions / size).floor().to(torch.int32), dim=0))
    keeps_points = isinstance(student.backbone, SPVCNN)
    text = 0 if student.cosine_temperature is None else 8 * student.head.out_features
    a_voxel = channels * (_OF_A_VOXEL_WITH_POINTS if keeps_points else _OF_A_VOXEL)
    features = _OF_A_POINT if keeps_points else 0 if student.cosine_temperature is None else 4
    a_point = _BESIDE + _OF_A_SCORE * names + text + channels * features
    return float(a_voxel * voxels + a_point * len(cloud) + min(_PICTURE, 4000 * len(cloud)))


def free_memory(device: torch.device, *, root: Path = Path("/")) -> float:
    """Say how many bytes can be had: on a GPU its own; else what the system, a container and limits leave.

    Args:
        device: Where the network is.
        root: Where ``proc`` and ``sys`` lie.

    Returns:
        Infinity where nothing tells.
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    left = [_lines(root / "proc/meminfo").get("MemAvailable", inf) * 1024, _left_by_limit(root)]
    group = root / "sys/fs/cgroup"
    try:
        most = float((group / "memory.max").read_text().replace("max", "inf"))
        used = float((group / "memory.current").read_text())
        left.append(most - used + _lines(group / "memory.stat").get("inactive_file", 0))
    except (OSError, ValueError):
        pass
    return min(left)


def _left_by_limit(root: Path) -> float:
    """Say what the limit of this process's addresses leaves."""
    try:
        import resource
    except ImportError:  # not on Windows
        return inf
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return inf
    return most - _lines(root / "proc/self/status").get("VmSize", 0) * 1024


def _lines(path: Path) -> dict[str, float]:
    """Read lines of a name and a number; nothing where there is no such file."""
    try:
        rows = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: float(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
