"""A run's predictions for a split: label files for SemanticKITTI's benchmark."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from clip2scene import build
from clip2scene.datasets import Dataset
from clip2scene.datasets.dataset import stamp_sensors
from clip2scene.datasets.kitti.labels import prediction_path, raw_ids, write_labels
from clip2scene.inference.predict import check_abstain, choose_own, open_split, predict_split
from clip2scene.io import hash_files, read_json, write_json
from clip2scene.parallel import progress_bar
from clip2scene.runs.run import Run, open_run
from clip2scene.runs.training_clouds import CloudCheck, Unlike
from clip2scene.types import Sample

_OF_RUN = ("checkpoint.safetensors", "prompts.json", "prompts.safetensors", "recipe.json")


def predictions(
    run: Run, dataset: Dataset, numbers: Sequence[int] | None = None, *, abstain: float = 0.0
) -> Iterator[tuple[str, Int[Tensor, " points"]]]:
    """Predict as :func:`scored_predictions` does, and give the tokens and the train ids alone."""
    for sample, labels, _ in scored_predictions(run, dataset, numbers, abstain=abstain):
        yield sample.token, labels


def scored_predictions(
    run: Run, dataset: Dataset, numbers: Sequence[int] | None = None, *, abstain: float = 0.0
) -> Iterator[tuple[Sample, Int[Tensor, " points"], Float[Tensor, " points"]]]:
    """Predict every point of the keyframes, one sample after another; no image is read.

    Every point gets a class of the data set: the logits of other prompt classes are masked out.

    Args:
        run: Whose student predicts.
        dataset: The samples, as :func:`~clip2scene.inference.predict.open_split` opens them.
        numbers: Which of them; all if left out.
        abstain: Points whose best score is below this, 0..1, get ``IGNORE_LABEL``.

    Yields:
        A sample; the train id of each point of its keyframe in the data set's classes; and the score of the
        best class, 0..1, be it below ``abstain``.

    Raises:
        ValueError: If the run has no checkpoint, a sample cannot be read, a logit is not finite, or no word
            of the run is a class of the data set.
    """
    of_prompts, temperature = run.mapping_to(dataset.class_set).of_words, run.temperature
    if (of_prompts < 0).all():
        wanted = dataset.class_set.name
        raise ValueError(f"no word of run {run.folder} is a class of {wanted!r}; train it in other words")
    for sample, prediction in predict_split(run, dataset, numbers):
        logits = prediction.logits[: len(sample.cloud)]  # the keyframe's points come first
        yield sample, *choose_own(logits, of_prompts, temperature=temperature, abstain=abstain)


def export_labels(
    run: Path,
    *,
    data_root: Path,
    out: Path,
    split: str = "test",
    abstain: float = 0.0,
    unlike: Unlike = "refuse",
) -> list[Path]:
    """Write a run's prediction for every point of a split in the format of SemanticKITTI's benchmark.

    A file that an earlier call of the same run left is kept, so an interrupted call goes on where it stopped.
    No label and no image is read.

    Args:
        run: Folder that ``pretrain`` wrote, on data in SemanticKITTI's layout.
        data_root: The data set.
        split: Which of its splits.
        out: Folder for ``sequences/XX/predictions/NNNNNN.label``. Beside ``sequences/``, ``export.json`` says
            which run they are of.
        abstain: Points whose best score is below this, 0..1, are left unlabelled (raw id 0); the benchmark
            counts those as wrong.
        unlike: Whether clouds so unlike the training clouds that nothing right can come of them are refused.

    Returns:
        The files, one a sample: a uint32 raw id a point.

    Raises:
        ValueError: If the run, the data or what already lies in ``out`` is unfit.
    """
    check_abstain(abstain)
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
    CloudCheck(opened.folder, unlike=unlike).split(dataset, split)
    claim(opened, out, stamp_sensors(Path(data_root), dataset), holds="sequences", abstain=abstain)
    paths = [prediction_path(out, token) for token in dataset.tokens]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    predicted = predictions(opened, dataset, missing, abstain=abstain)
    bar = progress_bar(
        predicted, desc=f"label {split}", total=len(missing), unit="sample", disable=not missing
    )
    for number, (_, labels) in zip(missing, bar, strict=True):
        write_labels(paths[number], labels, classes)
    return paths


def claim(run: Run, out: Path, inputs: str, *, holds: str, abstain: float = 0.0) -> None:
    """Note in ``export.json`` whose predictions of what lie in a folder; refuse to mix those of two.

    Args:
        run: Whose they are.
        out: The folder.
        inputs: Hash of the files that are labelled (:func:`~clip2scene.datasets.dataset.stamp_sensors`).
        holds: Name of the folder in ``out`` that they lie in.
        abstain: Least score of a label.

    Raises:
        ValueError: If the folder holds predictions of another run, or of clouds that were changed since, or
            some without a note.
    """
    note = {"run": run.folder.name, "hash": hash_files(run.folder, [run.folder / name for name in _OF_RUN])}
    if abstain:
        note["abstain"] = str(abstain)
    path = Path(out) / "export.json"
    if path.exists():
        found = read_json(path)
        if found not in (note, {**note, "inputs": inputs}):  # earlier versions did not note the inputs
            raise ValueError(
                f"{out} holds the predictions of another run or --abstain, or of files that were changed "
                "since; name another folder or delete that one"
            )
    elif (Path(out) / holds).exists():
        raise ValueError(f"{out} holds {holds} that no export wrote; name a new folder")
    else:
        write_json(path, {**note, "inputs": inputs})
