"""A student's answers in the files that benchmarks ask for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

from clip2scene import build
from clip2scene.datasets import Dataset
from clip2scene.datasets.kitti.labels import prediction_path, raw_ids, write_labels
from clip2scene.distill.lift import gather_sweeps
from clip2scene.io import hash_files, read_json, write_json
from clip2scene.runs.run import Run, open_run

_OF_RUN = ("checkpoint.safetensors", "prompts.json", "prompts.safetensors", "recipe.json")


def open_split(run: Run, data_root: Path, split: str) -> Dataset:
    """Open a split without labels, each sample with the sweeps that the run's student sees in use."""
    data = run.recipe.data
    sweeps = data.sweeps if data.merge_sweeps else 1
    return build.open_dataset(data, data_root, split=split, sweeps=sweeps)


def predictions(
    run: Run, dataset: Dataset, numbers: Sequence[int] | None = None
) -> Iterator[tuple[str, Int[Tensor, " points"]]]:
    """Answer for every point of the keyframes, one sample after another; no image is looked at.

    Every point gets an answer: words that are none of the judged classes are not asked for.

    Args:
        run: Whose student answers.
        dataset: The samples, as :func:`open_split` opens them.
        numbers: Which of them; all if left out.

    Yields:
        A sample's token, and the train id of each point of its keyframe in the data set's classes.

    Raises:
        ValueError: If the run has no checkpoint, a sample cannot be read, an answer is not finite, or no word
            of the run is a class of the data set.
    """
    student, of_words = run.student(), run.judged.of_words
    foreign = of_words < 0
    if foreign.all():
        wanted = dataset.class_set.name
        raise ValueError(f"no word of run {run.folder} is a class of {wanted!r}; train it in other words")
    settings = {**run.carry_settings, "viewpoint": dataset.viewpoint}
    for number in range(len(dataset.tokens)) if numbers is None else numbers:
        sample = dataset[number]
        with torch.inference_mode():
            cloud, *_ = gather_sweeps(sample, settings)  # the keyframe's points come first
            logits = student.answer(cloud.positions, cloud.features, run.prompts).logits[: len(sample.cloud)]
            if not logits.isfinite().all():
                raise ValueError(
                    f"the student of run {run.folder} answers {sample.token} with numbers that are not "
                    "finite; restore its checkpoint, or train anew"
                )
            answers = logits.masked_fill(foreign, -torch.inf).argmax(1)
        yield sample.token, of_words[answers]


def export_labels(run: Path, *, data_root: Path, split: str, out: Path) -> list[Path]:
    """Write a run's answers for every point of a split as SemanticKITTI's benchmark asks for them.

    A file that an earlier call of the same run left is kept, so an interrupted call goes on where it stopped.
    No label and no image is read.

    Args:
        run: Folder that ``pretrain`` wrote, on data in SemanticKITTI's layout.
        data_root: The data set.
        split: Which of its splits.
        out: Folder for ``sequences/XX/predictions/NNNNNN.label``. Beside ``sequences/``, ``export.json`` says
            which run answered.

    Returns:
        The files, one a sample.

    Raises:
        ValueError: If the run, the data or what already lies in ``out`` is unfit.
    """
    opened = open_run(run)
    data = opened.recipe.data
    if data.layout != "semantic-kitti":
        raise ValueError(
            f"{run} was trained on data in the layout {data.layout!r}; label files are for runs of "
            "semantic-kitti: train one with --data.layout semantic-kitti"
        )
    classes = build.evaluation_classes(data)
    raw_ids(classes)
    dataset = open_split(opened, data_root, split)
    claim(opened, out, holds="sequences")
    paths = [prediction_path(out, token) for token in dataset.tokens]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    answered = predictions(opened, dataset, missing)
    bar = tqdm(answered, desc=f"label {split}", total=len(missing), unit="sample", disable=not missing)
    for number, (_, answers) in zip(missing, bar, strict=True):
        write_labels(paths[number], answers, classes)
    return paths


def claim(run: Run, out: Path, *, holds: str) -> None:
    """Note in ``export.json`` whose answers lie in a folder; refuse to mix those of two runs.

    Args:
        run: Who answers.
        out: The folder.
        holds: Name of what the answers lie in there.

    Raises:
        ValueError: If the folder holds such answers of another run, or of nobody knows whom.
    """
    note = {"run": run.folder.name, "hash": hash_files(run.folder, [run.folder / name for name in _OF_RUN])}
    path = Path(out) / "export.json"
    if path.exists():
        if read_json(path) != note:
            raise ValueError(
                f"{out} holds the answers of another run; name another folder or delete that one"
            )
    elif (Path(out) / holds).exists():
        raise ValueError(f"{out} holds {holds} that no export wrote; name a new folder")
    else:
        write_json(path, note)
