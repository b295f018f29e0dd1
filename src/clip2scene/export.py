"""A run's answers for whole data sets, to be written in the layouts of benchmarks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene import build
from clip2scene.carry import gather_sweeps
from clip2scene.run import Run

Dataset = build.NuScenes | build.PandaSet


def open_split(run: Run, data_root: Path, split: str) -> Dataset:
    """Open a split without labels, each sample with the sweeps that the run's student sees in use."""
    data = run.recipe.data
    sweeps = data.sweeps if data.merge_sweeps else 1
    return build.build_dataset(data, data_root, split=split, with_labels=False, sweeps=sweeps)


def predictions(
    run: Run, dataset: Dataset, numbers: Sequence[int] | None = None
) -> Iterator[tuple[str, Int[Tensor, "points"]]]:
    """Answer for every point of the keyframes, one sample after another; no image is looked at.

    Every point gets an answer: words that are none of the judged classes are not asked for.

    Args:
        run: Whose student answers.
        dataset: The samples, as :func:`open_split` opens them.
        numbers: Which of them; all if left out.

    Yields:
        A sample's token, and the train id of each point of its keyframe in the data set's classes.

    Raises:
        ValueError: If the run has no checkpoint, a sample cannot be read, or no word of the run is a class of
            the data set.
    """
    student, of_words = run.student(), run.judged.of_words
    foreign = of_words < 0
    if foreign.all():
        raise ValueError(
            f"no word of run {run.folder} is a class of {dataset.class_set.name!r}; train it in others"
        )
    settings = {**run.carry_settings, "viewpoint": dataset.viewpoint}
    for number in range(len(dataset.tokens)) if numbers is None else numbers:
        sample = dataset[number]
        with torch.inference_mode():
            cloud = gather_sweeps(sample, settings)[0]  # the keyframe's points come first
            logits = run.prompts.class_logits(student.embed_cloud(cloud.positions, cloud.features))
            answers = logits[: len(sample.cloud)].masked_fill(foreign, -torch.inf).argmax(1)
        yield sample.token, of_words[answers]
