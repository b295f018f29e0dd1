"""The formats, by the names that the command line knows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip2scene.classes.class_set import ClassSet
from clip2scene.handover import labelcloud, las, mcap, point_labeler, rrd, segments, supervisely
from clip2scene.handover.found import FoundLabels
from clip2scene.handover.frames import Frame


@dataclass(frozen=True)
class Format:
    """How labels are handed over to a tool.

    Attributes:
        write_classes: Writes what all scenes share into a folder; comes first, and refuses classes that the
            format has no room for.
        write_scene: Writes the clouds of a scene into it, one after another.
        lost: What the format does not hold, in half a sentence.
        read_labels: Reads the labels of some samples out of what the tool saved; None if there is no way
            back.
    """

    write_classes: Callable[[Path, ClassSet], None]
    write_scene: Callable[[Path, Iterator[Frame], ClassSet], None]
    lost: str
    read_labels: Callable[[Path, Sequence[str]], Iterator[FoundLabels]] | None = None


FORMATS = {
    "segments": Format(
        segments.write_classes,
        segments.write_scene,
        "confidence, images",
        segments.read_labels,
    ),
    "supervisely": Format(
        supervisely.write_classes,
        supervisely.write_scene,
        "confidence, times, poses, images",
        supervisely.read_labels,
    ),
    "labelcloud": Format(
        labelcloud.write_classes,
        labelcloud.write_scene,
        "confidence, scenes, times, poses, images",
        labelcloud.read_labels,
    ),
    "point-labeler": Format(
        point_labeler.write_classes,
        point_labeler.write_scene,
        "confidence, colours of points, times, images",
        point_labeler.read_labels,
    ),
    "las": Format(
        las.write_classes,
        las.write_scene,
        "colours of points, times, poses, images; coordinates are rounded to 0.1 mm",
        las.read_labels,
    ),
    "rrd": Format(rrd.write_classes, rrd.write_scene, "intensity, colours of points"),
    "mcap": Format(mcap.write_classes, mcap.write_scene, "colours of points, images"),
}
"""By name; those of benchmarks are in :mod:`clip2scene.inference`."""
