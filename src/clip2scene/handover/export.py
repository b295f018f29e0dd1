"""The command ``export``: labels of a split on their way to a tool."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clip2scene.handover.formats import FORMATS
from clip2scene.handover.frames import Frame, LabelledSplit
from clip2scene.io import new_folder
from clip2scene.parallel import progress_bar


@dataclass
class Exported:
    """What was written.

    Attributes:
        lost: What the format does not hold, in half a sentence.
        scenes: How many scenes.
        clouds: How many clouds.
        points: How many points.
        labelled: How many of them have a label.
    """

    lost: str
    scenes: int = 0
    clouds: int = 0
    points: int = 0
    labelled: int = 0

    def sentence(self, out: Path) -> str:
        """Say what was written and what the format lost."""
        none = self.points - self.labelled
        return (
            f"wrote {self.clouds} clouds of {self.scenes} scenes, {self.points:,} points, {none:,} of them "
            f"without a label, to {out}\nnot in this format: instances, {self.lost}"
        )


def export_split(labelled: LabelledSplit, to: str, out: Path) -> Exported:
    """Write a split in a tool's format.

    Args:
        labelled: The split.
        to: Name of the format, one of :data:`~clip2scene.handover.formats.FORMATS`.
        out: A new folder; nothing is left of an export that fails.

    Raises:
        ValueError: If the format has no room for the classes, its library is not installed, a sample cannot
            be read, or the folder is in use.
    """
    form = FORMATS[to]
    form.check_library(to)
    done = Exported(form.lost, scenes=len(labelled.scenes))
    total = sum(map(len, labelled.scenes.values()))
    with new_folder(out) as folder, progress_bar(desc=f"export {to}", total=total, unit="sample") as bar:
        form.write_classes(folder, labelled.class_set)

        def counted(scene: str) -> Iterator[Frame]:
            for frame in labelled.frames(scene):
                done.clouds += 1
                done.points += len(frame.labels)
                done.labelled += int((frame.labels >= 0).sum())
                yield frame
                bar.update()

        for scene in labelled.scenes:
            form.write_scene(folder, counted(scene), labelled.class_set)
    return done
