"""LAS 1.4, for CloudCompare and GIS: a file a cloud, classes as ``classification``, scores as ExtraBytes.

::

    OUT/SCENE/TOKEN.las         point format 7: intensity, classification, the colours of the classes
    OUT/classes.json            what the numbers stand for

Classes are numbered from 64 on, which the standard leaves to users; 1 is unclassified. Coordinates are whole
numbers of tenths of a millimetre.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.clouds.labelled import LabelCodes
from clip2scene.datasets.clouds.labelled.codes import las_codes, read_codes
from clip2scene.datasets.clouds.las import CHUNK, open_las
from clip2scene.handover.found import FoundLabels
from clip2scene.handover.frames import Frame, with_none
from clip2scene.io import write_atomically

SCALE_M = 1e-4
"""The unit of the coordinates."""

NEVER_CLASSIFIED = 0
"""What the standard calls points that no tool has looked at; counted as without a label."""

_POINT_FORMAT = 7
_CODES = "classes.json"


def codes_of(classes: ClassSet) -> LabelCodes:
    """Give the number of each class.

    Raises:
        ValueError: If there are more classes than numbers.
    """
    return las_codes(classes.classes, with_none(classes), _POINT_FORMAT, Path("*.las"))


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write what the numbers stand for; refuse more classes than there are numbers."""
    codes_of(classes).write(folder / _CODES, "*.las")


def write_scene(folder: Path, frames: Iterator[Frame], classes: ClassSet) -> None:
    """Write the clouds of a scene."""
    import laspy

    codes = codes_of(classes)
    for frame in frames:
        header = laspy.LasHeader(version="1.4", point_format=_POINT_FORMAT)
        header.scales, header.offsets = np.full(3, SCALE_M), np.zeros(3)
        if frame.confidence is not None:
            header.add_extra_dim(laspy.ExtraBytesParams("confidence", "f4", "score of the label"))
        las = laspy.LasData(header)
        las.xyz = frame.positions.astype(np.float64)
        if frame.intensity is not None:
            las.intensity = np.round(frame.intensity.clip(0, 1) * 65_535).astype(np.uint16)
        las.classification = codes.of(frame.labels).astype(np.uint8)
        shades = codes.colours[frame.labels].astype(np.uint16) * 257  # 255 becomes 65535
        las.red, las.green, las.blue = shades.T
        if frame.confidence is not None:
            las.confidence = frame.confidence
        with write_atomically(folder / frame.scene / f"{frame.name}.las") as temporary:
            las.write(str(temporary))


def read_labels(source: Path, tokens: Sequence[str]) -> Iterator[FoundLabels]:
    """Read the classification of LAS and LAZ files named by their samples, some points at a time.

    Raises:
        ValueError: If a file is broken, or two are of one sample.
    """
    names, none, _ = read_codes(source / _CODES)
    wanted, met = set(tokens), dict[str, Path]()
    for path in sorted(path for path in source.rglob("*.la[sz]") if path.stem in wanted):
        if met.setdefault(path.stem, path) != path:
            raise ValueError(f"{met[path.stem]} and {path} are of the same sample; keep one of them")
        ids, positions = [np.zeros(0, np.uint8)], [np.zeros((0, 3))]
        with open_las(path) as reader:
            for points in reader.chunk_iterator(CHUNK):
                ids.append(np.array(points.classification, dtype=np.uint8))
                positions.append(np.stack([np.asarray(points[axis]) for axis in "xyz"], axis=1))
        classified = np.concatenate(ids).astype(np.int64)
        nobody = frozenset([none, NEVER_CLASSIFIED])
        yield FoundLabels(path.stem, path, classified, names, nobody, np.concatenate(positions))
