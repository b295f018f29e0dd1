"""LAS and LAZ: labels as ``classification``, scores as ExtraBytes, all else as it was, piece by piece."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from clip2scene.datasets.clouds.labelled.codes import LabelCodes, LabelSource, PointLabels, name_before
from clip2scene.datasets.clouds.las import CHUNK
from clip2scene.io import write_atomically

_OF_COPC = "copc"  # records that say where points lie in the file, which is another one here


def point_format_of(path: Path) -> int:
    """Give the number of a file's point format; the file was read before."""
    import laspy

    with laspy.open(path) as reader:
        return int(reader.header.point_format.id)


def write_las(cloud: Path, path: Path, labels: LabelSource, codes: LabelCodes) -> None:
    """Write a LAS or LAZ file with labels.

    Scales, offsets, the stored integers of the coordinates, every other dimension and all variable length
    records stay; those of COPC are left out, as their order of points is not kept up. What was in
    ``classification`` is kept in ExtraBytes ``classification_before``.
    """
    import laspy

    with laspy.open(cloud) as reader:
        header = deepcopy(reader.header)
        header.vlrs = type(header.vlrs)(each for each in header.vlrs if each.user_id.strip() != _OF_COPC)
        taken = set(header.point_format.dimension_names)
        added = {name_before("classification", taken): "u1", "confidence": "f4"}
        if labels.raw is not None:
            added["label_raw"] = "u1"
        moved = {name: name_before(name, taken) for name in taken & set(added)}
        header.point_format.dimensions = [
            each._replace(name=moved.get(each.name, each.name)) for each in header.point_format.dimensions
        ]
        header.add_extra_dims([laspy.ExtraBytesParams(name, kind) for name, kind in added.items()])
        packed = header.are_points_compressed
        with (
            write_atomically(path) as temporary,
            laspy.open(temporary, mode="w", header=header, do_compress=packed) as writer,
        ):
            at = 0
            for points in reader.chunk_iterator(CHUNK):
                part = labels.part(at, at + len(points))
                writer.write_points(_labelled(points, header, part, codes, moved, next(iter(added))))
                at += len(points)
            further = [each for each in reader.evlrs or [] if each.user_id.strip() != _OF_COPC]
            if further:
                writer.write_evlrs(type(reader.evlrs)(further))


def _labelled(
    points: Any,  # noqa: ANN401 - laspy's records
    header: Any,  # noqa: ANN401
    labels: PointLabels,
    codes: LabelCodes,
    moved: dict[str, str],
    before: str,
) -> Any:  # noqa: ANN401
    """Copy some points as they are stored, and add their labels."""
    import laspy

    record = laspy.ScaleAwarePointRecord.zeros(len(points), header=header)
    for name in points.array.dtype.names:
        record.array[moved.get(name, name)] = points.array[name]
    record[before] = np.asarray(points.classification)
    record.classification = codes.of(labels.labels).astype(np.uint8)
    record.array["confidence"] = labels.confidence
    if labels.raw is not None:
        record.array["label_raw"] = codes.of(labels.raw)
    return record
