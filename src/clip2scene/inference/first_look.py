"""The first look at cloud files, before any is labelled, so that a bad one leaves nothing half done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from clip2scene.datasets.clouds import CloudFile, Spread
from clip2scene.geometry.remarks import Remark
from clip2scene.inference.cloud_files import named
from clip2scene.inference.memory import check_memory
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.tiles import MOST_VOXELS
from clip2scene.runs.training_clouds import CloudCheck
from clip2scene.student.sparse.keys import MAX_COORDINATE


@dataclass(frozen=True)
class _Look:
    """What was learnt of a cloud file by reading it once.

    Attributes:
        spread: Of its intensities.
        notes: What is to be said of how it was read.
        remarks: In what it is unlike the training clouds.
        in_tiles: Whether it is labelled tile by tile.
    """

    spread: Spread | None
    notes: tuple[str, ...]
    remarks: Sequence[Remark]
    in_tiles: bool


@dataclass(frozen=True)
class FirstLook:
    """What was learnt of all files.

    Attributes:
        scale: The intensity that becomes 1 where that has to be guessed, None where no file needs it.
        in_tiles: The files that are labelled tile by tile.
        only: What was read, of a single file; of several, all of it would be too much to keep.
    """

    scale: float | None
    in_tiles: set[Path]
    only: CloudFile | None


def look_at_files(
    paths: Sequence[Path],
    read: Callable[..., CloudFile],
    segmenter: Segmenter,
    check: CloudCheck,
    tile: float | None,
) -> FirstLook:
    """Read every file once, say what is to be said, and give the one scale of their intensities.

    Args:
        paths: The files.
        read: Reads one.
        segmenter: What will label them.
        check: What they are compared with, and whom it is told.
        tile: Edge of the tiles in metres, where it was told; 0 cuts nothing.

    Raises:
        ValueError: If a file is unfit or to be refused, or some intensities are shares and others counts.
    """
    look_at = partial(_look, segmenter=segmenter, check=check, tile=tile)
    only = read(paths[0]) if len(paths) == 1 else None
    looks = {path: look_at(path, only or read(path)) for path in paths}
    scale = _common_scale({path: look.spread for path, look in looks.items() if look.spread is not None})
    if scale is not None:
        others = [path for path, look in looks.items() if look.spread and look.spread.scale() != scale]
        looks |= {path: look_at(path, read(path, scale=scale)) for path in others}
    said: dict[str, list[Path]] = {}
    unlike: dict[str, list[tuple[Path, Remark]]] = {}
    for path, look in looks.items():
        for sentence in look.notes:
            said.setdefault(sentence, []).append(path)
        for remark in look.remarks:
            unlike.setdefault(remark.kind, []).append((path, remark))
    for sentence, whose in said.items():
        check.note(f"{named(whose)}: {sentence}")
    for alike in unlike.values():
        check.tell(named([path for path, _ in alike]), alike[0][1])
    return FirstLook(scale, {path for path, look in looks.items() if look.in_tiles}, only)


def _look(path: Path, cloud: CloudFile, segmenter: Segmenter, check: CloudCheck, tile: float | None) -> _Look:
    """Learn of a file what is needed before the first cloud is labelled."""
    remarks = check.remarks(cloud.cloud)
    if not cloud.cloud.features.any():  # which the reader has told
        remarks = [each for each in remarks if each.kind != "intensity"]
    in_tiles = bool(tile) or cloud.pieces is not None
    if check.refuses(remarks):  # what is wrong with a cloud goes before its size
        return _Look(cloud.spread, cloud.notes, remarks, in_tiles)
    _check_reach(path, cloud, float(segmenter.student.backbone.voxel_size))  # type: ignore[arg-type]
    if not in_tiles:
        try:
            check_memory(segmenter.student, cloud.cloud, segmenter.num_compared)
        except ValueError as error:
            if tile == 0 or len(cloud.cloud) <= MOST_VOXELS:
                raise ValueError(f"{path}: {error}") from None
            in_tiles = True
    return _Look(cloud.spread, cloud.notes, remarks, in_tiles)


def _check_reach(path: Path, cloud: CloudFile, voxel_m: float) -> None:
    """Refuse a cloud that does not lie, whichever way it is turned, where voxels have a key.

    Raises:
        ValueError: If a point, or a corner of the box of one that is read in pieces, lies beyond.
    """
    known = cloud.cloud.positions if cloud.pieces is None else torch.cartesian_prod(*cloud.box.T)
    farthest = max(float(known[:, :2].norm(dim=1).max()), float(known[:, 2].abs().max()))
    most = MAX_COORDINATE * voxel_m
    if farthest > most:
        raise ValueError(
            f"{path} reaches {farthest / 1000:.3g} km from its origin, beyond the {most / 1000:.3g} km that "
            f"the student's voxels of {voxel_m:g} m do; cut it into smaller maps"
        )


def _common_scale(spreads: Mapping[Path, Spread]) -> float | None:
    """Give the scale of the intensities of several files together; zeros and ones go with the others."""
    telling = {path: spread for path, spread in spreads.items() if not spread.says_nothing}
    if not telling:
        return None
    shares = [path for path, spread in telling.items() if spread.scale() == 1]
    counts = [path for path in telling if path not in shares]
    if shares and counts:
        raise ValueError(
            f"intensities of {shares[0]} are shares of 1, those of {counts[0]} go up to "
            f"{telling[counts[0]].highest:g}, so they are of different units; label these files in calls of "
            "their own"
        )
    first, *others = telling.values()
    return sum(others, first).scale()
