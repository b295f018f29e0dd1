"""Runs that are trained on a mixture of data sets: what they keep of it, and how often each is drawn."""

from collections.abc import Sequence
from pathlib import Path

from clip2scene.datasets import Dataset
from clip2scene.datasets.mixed.loader import Mixed, source_of
from clip2scene.datasets.mixed.table import MIX, read_sources, sources_to_json
from clip2scene.distill.shares import Shares, shares_of
from clip2scene.io import read_json
from clip2scene.runs.run import Run


def require_same_sources(run: Run, data_root: Path) -> None:
    """Refuse to go on with a run whose mixture has other sources, weights or classes than it began with.

    Raises:
        ValueError: If they differ, or ``mix.json`` cannot be read.
    """
    data = run.recipe.data
    if data.layout != "mix":
        return
    now = sources_to_json(read_sources(data_root, data.classes))
    if read_json(run.folder / MIX) != now:
        raise ValueError(
            f"{run.folder} was begun with other sources, weights or classes than {data_root / MIX} has "
            f"now; restore that file ({run.folder / MIX} holds what it was), or give another --out"
        )


def require_labels_alike(dataset: Dataset) -> None:
    """Refuse to train on labels of sources with different classes; any other data set is well.

    A point of a class that its source does not name has another label there, which would be taught as right.

    Raises:
        ValueError: If a source names a class that another does not.
    """
    if not isinstance(dataset, Mixed):
        return
    first, *others = dataset.sources
    theirs = dataset.named_by(first.name)
    for other in others:
        differing = sorted(theirs ^ dataset.named_by(other.name))
        if differing:
            raise ValueError(
                f"sources {first.name!r} and {other.name!r} do not both name the class "
                f"{dataset.class_set.classes[differing[0]]!r}, so the labels of one would teach that it is "
                f'something else; bring both to the same classes under "classes" in {dataset.root / MIX}, or '
                "train without labels"
            )


def shares_of_sources(run: Run, paths: Sequence[Path]) -> Shares | None:
    """Say how often the samples of each source are drawn; None for a run on one data set.

    Args:
        run: Its folder keeps the weights.
        paths: Files of the samples, called by their tokens.
    """
    data = run.recipe.data
    if data.layout != "mix":
        return None
    weights = {each.name: each.weight for each in read_sources(run.folder, data.classes)}
    return shares_of([source_of(path.name) for path in paths], weights)
