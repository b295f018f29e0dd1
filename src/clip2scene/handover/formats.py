"""The formats, by the names that the command line knows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
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
        needs: The module that it is written with, and the extra that brings it; None for none.
        read_labels: Reads the labels of some samples out of what the tool saved; None if there is no way
            back.
    """

    write_classes: Callable[[Path, ClassSet], None]
    write_scene: Callable[[Path, Iterator[Frame], ClassSet], None]
    lost: str
    read_labels: Callable[[Path, Sequence[str]], Iterator[FoundLabels]] | None = None
    needs: tuple[str, str] | None = None

    def check_library(self, name: str) -> None:
        """Refuse to begin without the library.

        Args:
            name: What the format is called.

        Raises:
            ValueError: If it is not installed.
        """
        if self.needs is not None and find_spec(self.needs[0]) is None:
            module, extra = self.needs
            raise ValueError(f"--to {name} needs the library {module}; install clip2scene[{extra}]")


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
        needs=("laspy", "las"),
    ),
    "rrd": Format(
        rrd.write_classes,
        rrd.write_scene,
        "intensity, colours of points",
        needs=("rerun", "rerun"),
    ),
    "mcap": Format(
        mcap.write_classes,
        mcap.write_scene,
        "colours of points, images",
        needs=("rosbags", "ros"),
    ),
}
"""By name; those of benchmarks are in :mod:`clip2scene.inference`."""
