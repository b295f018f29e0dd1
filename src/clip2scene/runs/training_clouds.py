"""What a run's training clouds were like (``clouds.json``), and whether others are like them.

A student labels any cloud; it is right only on those that are like the ones it was trained on: in metres, z
up, with the ground as far below the sensor, and intensities in the same unit. So a run keeps the statistics
of some of its training clouds, and every door that takes others compares (:mod:`clip2scene.geometry.unlike`).
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from clip2scene import build
from clip2scene.config import Recipe
from clip2scene.datasets import Dataset
from clip2scene.geometry.cloud_statistics import CloudSpread, describe_cloud
from clip2scene.geometry.remarks import NOTHING, Remark, Tolerance
from clip2scene.geometry.unlike import find_unlike
from clip2scene.io import read_json, write_json
from clip2scene.runs.run import Run
from clip2scene.runs.run_files import read_recipe
from clip2scene.types import PointCloud

CLOUDS = "clouds.json"
"""The file in a run's folder."""

Unlike = Literal["refuse", "accept"]
"""Whether clouds of which nothing right can come are refused."""

_MOST = 64
"""Training clouds that are looked at, spread evenly."""
_FEW = 8
"""Clouds of a split that are compared."""

_log = logging.getLogger(__name__)


def say(sentence: str) -> None:
    """Tell a user something that stops nothing, on a line that begins with "note:"."""
    _log.warning("note: %s", sentence)


def keep_statistics(folder: Path, dataset: Dataset) -> None:
    """Write the statistics of a run's training clouds into its folder, unless they are there.

    Clouds that cannot be read are passed over; whatever needs them says so.

    Args:
        folder: The run.
        dataset: Its train split.
    """
    if (folder / CLOUDS).exists():
        return
    found = [describe_cloud(cloud, indoors=dataset.indoors) for cloud in _some_clouds(dataset, _MOST)]
    if found:
        write_json(folder / CLOUDS, CloudSpread.of(found, indoors=dataset.indoors).to_json())


def complete_statistics(run: Run, data_root: Path) -> None:
    """Write the statistics of a run of an earlier version, where its own data are at hand."""
    if (run.folder / CLOUDS).exists() or str(Path(data_root).resolve()) != run.sources.data_root:
        return
    try:
        keep_statistics(run.folder, build.open_dataset(run.recipe.data, data_root, split="train", sweeps=1))
    except ValueError:  # the train split is not there any more
        return


def read_statistics(folder: Path) -> CloudSpread | None:
    """Read what :func:`keep_statistics` wrote; None where nothing lies, as in runs of earlier versions.

    Raises:
        ValueError: If the file is damaged.
    """
    path = folder / CLOUDS
    if not path.exists():
        return None
    try:
        return CloudSpread.from_json(read_json(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete it, and train with the same command to write it") from None


def tolerance_of(recipe: Recipe) -> Tolerance:
    """Say what a recipe's student is indifferent to: by its inputs, and by how its clouds were augmented."""
    inputs, augment = build.input_options(recipe), recipe.augment
    return Tolerance(
        height_m=math.inf if inputs.needs_ground else augment.height,
        tilt_deg=math.inf if inputs.level else augment.tilt,
        intensity_factor=math.exp(augment.intensity) if inputs.intensity == "value" else math.inf,
        no_intensity=inputs.intensity == "none" or augment.drop_intensity > 0,
    )


class CloudCheck:
    """Compares clouds with those that a run was trained on.

    Args:
        folder: The run.
        mount_known: Whether the user has said how the sensor is mounted, so that height and tilt of the
            ground need not be found.
        note: Takes a sentence that a user should read; by default it goes to the log.
        unlike: Whether clouds of which nothing right can come are refused.

    Raises:
        ValueError: If the run's statistics are damaged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        mount_known: bool = False,
        note: Callable[[str], None] = say,
        unlike: Unlike = "refuse",
    ) -> None:
        self.note, self.unlike = note, unlike
        self.passed_over = ("ground", "tilt") if mount_known else ()
        self.trained = read_statistics(folder)
        if self.trained is None:
            note(
                f"{folder} keeps no statistics of its training clouds ({CLOUDS}), so clouds are compared "
                "with nothing; the command that trained it, or evaluate on the same data, writes them"
            )
        else:
            self.tolerance = tolerance_of(read_recipe(folder))

    def remarks(self, cloud: PointCloud) -> list[Remark]:
        """Find in what a cloud is unlike the training clouds."""
        if self.trained is None:
            return []
        found = find_unlike(self.trained, cloud, self.tolerance)
        return [each for each in found if each.severe or each.kind not in self.passed_over]

    def refuses(self, remarks: Sequence[Remark]) -> bool:
        """Tell whether :meth:`tell` refuses one of some remarks."""
        return self.unlike == "refuse" and any(each.severe for each in remarks)

    def tell(self, where: str, remark: Remark, *, remedy: str | None = None) -> None:
        """Say in what a cloud is unlike the training clouds.

        Args:
            where: Which cloud or clouds, the subject of the sentence.
            remark: What was found.
            remedy: What to do, if not what the remark says.

        Raises:
            ValueError: If nothing right can come of it, and that is to be refused.
        """
        sentence = f"{where}: unlike the training clouds, {remark.sentence}; {remedy or remark.remedy}"
        if self.refuses([remark]):
            raise ValueError(f"{sentence}, or go on all the same with --unlike accept")
        self.note(sentence)

    def split(self, dataset: Dataset, name: str) -> None:
        """Say in what most clouds of a split are unlike the training clouds; a few are looked at.

        Raises:
            ValueError: If nothing right can come of them, and that is to be refused.
        """
        if self.trained is None:
            return
        remarks, count = compare_split(self.trained, dataset, self.tolerance)
        for remark, times in remarks:
            self.tell(f"{times} of {count} clouds of split {name!r}", remark, remedy="see to the data")


def compare_split(
    trained: CloudSpread, dataset: Dataset, tolerance: Tolerance = NOTHING
) -> tuple[list[tuple[Remark, int]], int]:
    """Compare a few clouds of a split with others.

    Args:
        trained: What they should be like.
        dataset: The split.
        tolerance: What is passed over.

    Returns:
        The remarks that hold for more than half of them: the first of each kind, and how often; and how many
        clouds were looked at.
    """
    looked = [find_unlike(trained, cloud, tolerance) for cloud in _some_clouds(dataset, _FEW)]
    kinds: dict[str, list[Remark]] = {}
    for remark in (each for remarks in looked for each in remarks):
        kinds.setdefault(remark.kind, []).append(remark)
    common = [(same[0], len(same)) for same in kinds.values() if len(same) > len(looked) / 2]
    return common, len(looked)


def _some_clouds(dataset: Dataset, most: int) -> Iterator[PointCloud]:
    """Read some clouds of a split that can be read, spread evenly."""
    count = len(dataset.tokens)
    for number in np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist():
        try:
            cloud = dataset[number].cloud
        except ValueError:
            continue
        if len(cloud) and cloud.positions.isfinite().all():
            yield cloud
