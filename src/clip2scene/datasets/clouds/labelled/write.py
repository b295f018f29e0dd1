"""Writing a labelled cloud in the format that it came in."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from clip2scene.datasets.clouds.labelled.arrays import (
    has_records,
    write_feather,
    write_label_file,
    write_records,
)
from clip2scene.datasets.clouds.labelled.codes import (
    LabelCodes,
    LabelSource,
    PointLabels,
    kitti_codes,
    las_codes,
    plain_codes,
)
from clip2scene.datasets.clouds.labelled.las import point_format_of, write_las
from clip2scene.datasets.clouds.labelled.pcd import write_pcd
from clip2scene.datasets.clouds.labelled.ply import can_label_ply, write_labelled_ply
from clip2scene.datasets.clouds.labelled.text import write_text

_OF_LAS = (".las", ".laz")
_WRITERS: dict[str, Callable[[Path, Path, PointLabels, LabelCodes], None]] = {
    **dict.fromkeys((".txt", ".xyz", ".csv", ".pts"), write_text),
    ".pcd": write_pcd,
    ".ply": write_labelled_ply,
    ".npy": write_records,
    ".feather": write_feather,
}


def labelled_path(cloud: Path, folder: Path, stem: str) -> Path | None:
    """Say which file in a folder will have a cloud's labels, in the cloud's own format or beside it.

    Args:
        cloud: The file that was labelled.
        folder: Where the results go.
        stem: Its name there, without suffix.

    Returns:
        None where the format has no room for labels.
    """
    suffix = cloud.suffix.lower()
    if suffix == ".bin" or (suffix == ".npy" and not has_records(cloud)):
        return folder / f"{stem}.label"
    if suffix == ".ply" and not can_label_ply(cloud):
        return None
    if suffix in _OF_LAS:
        stem = stem.removesuffix(".copc")  # which the answer is not
    return folder / f"{stem}{cloud.suffix}" if suffix in (*_WRITERS, *_OF_LAS) else None


def codes_for(
    cloud: Path, names: Sequence[str], colours: UInt8[np.ndarray, "classes_and_none 3"]
) -> LabelCodes:
    """Say which number each class gets in a cloud's format.

    Raises:
        ValueError: If the format has too few numbers.
    """
    suffix = cloud.suffix.lower()
    if suffix in _OF_LAS:
        return las_codes(names, colours, point_format_of(cloud), cloud)
    if suffix == ".bin" or (suffix == ".npy" and not has_records(cloud)):
        return kitti_codes(names, colours)
    return plain_codes(names, colours)


def write_labelled(cloud: Path, path: Path, labels: LabelSource, codes: LabelCodes, *, points: int) -> None:
    """Write a cloud as its file has it, with a label and a score for each point.

    A field of the file that has the name of one that is added is kept under another
    (:func:`~clip2scene.datasets.clouds.labelled.codes.name_before`).

    Args:
        cloud: The file that was labelled.
        path: The file to write (:func:`labelled_path`); not ``cloud`` itself.
        labels: Of each of its points, in its order.
        codes: The number of each class (:func:`codes_for`).
        points: How many points there are; of LAS and raw files, labels are taken piece by piece.

    Raises:
        ValueError: If the cloud cannot be read any more.
    """
    suffix = cloud.suffix.lower()
    if suffix in _OF_LAS:
        write_las(cloud, path, labels, codes)
    elif path.suffix == ".label":
        write_label_file(path, labels, codes, points)
    else:
        _WRITERS[suffix](cloud, path, labels.part(0, points), codes)
