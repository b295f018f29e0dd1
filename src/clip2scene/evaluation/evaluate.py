"""Evaluation: IoU of the student, its teacher and chance on the same points of a split."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from clip2scene import build, build_teacher
from clip2scene.classes.mapping import ClassMapping
from clip2scene.config import DataConfig, TeacherConfig
from clip2scene.datasets import Dataset
from clip2scene.datasets.mixed.loader import Mixed, source_of
from clip2scene.distill.lifted import LiftedSample, hash_clouds, load_lifted
from clip2scene.evaluation.counting import Counts
from clip2scene.evaluation.metrics import Confusion, Scores, random_baseline
from clip2scene.evaluation.reliability import Reliability
from clip2scene.io import write_json
from clip2scene.parallel import progress_bar
from clip2scene.ranks import here
from clip2scene.runs.copies import copy_run, require_own_folder
from clip2scene.runs.cost import Cost
from clip2scene.runs.reopen import lift_run, reopen
from clip2scene.runs.run import Run, open_run
from clip2scene.runs.training_clouds import CloudCheck, Unlike, complete_statistics
from clip2scene.student.model import Embedder
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.kept_maps import TeacherCache
from clip2scene.teacher.pointclip import TEMPLATES as POINT_CLIP_TEMPLATES
from clip2scene.teacher.pointclip import point_clip
from clip2scene.teacher.prompts import embed_prompts
from clip2scene.types import Prompts


@dataclass(frozen=True)
class EvaluationSplit:
    """A run and a split with labels, opened once for scores and pictures.

    Attributes:
        run: The run.
        student: Its trained network.
        dataset: The data set.
        paths: A file a sample: its cloud, labels and pseudo-labels, in the data set's order.
        split: The split's name.
        data_root: Where the data set lies.
        cost: What opening it has cost.
    """

    run: Run
    student: Embedder
    dataset: Dataset
    paths: Sequence[Path]
    split: str
    data_root: Path
    cost: Cost


def evaluate(
    run: Path,
    *,
    data_root: Path,
    split: str = "val",
    out: Path | None = None,
    lifted: Path | None = None,
    teacher_cache: TeacherCache | Path | str | None = None,
    unlike: Unlike = "refuse",
) -> dict[str, Scores]:
    """Score a run on a split and write ``metrics.json`` into its folder.

    Args:
        run: Folder that ``pretrain`` wrote; or ``builtin``, the student in the package.
        data_root: The data set, with labels.
        split: Which of its splits to evaluate on, all of its labelled points.
        out: Folder that the run is copied into first, and everything is written to; by default the run's own.
            ``builtin`` needs one.
        lifted: Folder with the teacher's pseudo-labels, which other runs may share; the run's own by default.
        teacher_cache: Folder or store of the teacher's features of each image.
        unlike: Whether clouds so unlike the training clouds that nothing right can come of them are refused.

    Returns:
        Scores by column, IoU in 0..1: those of :data:`~.counting.COLUMNS`, and ``random``.

    Raises:
        ValueError: If the run or the data cannot be read, the split has no labels, or its clouds are not in
            the unit, axes or frame of the training clouds.
    """
    opened = open_evaluation(
        run,
        data_root=data_root,
        split=split,
        out=out,
        lifted=lifted,
        teacher_cache=teacher_cache,
        unlike=unlike,
    )
    return evaluate_split(opened)


def open_evaluation(
    run: Path,
    *,
    data_root: Path,
    split: str = "val",
    out: Path | None = None,
    lifted: Path | None = None,
    teacher_cache: TeacherCache | Path | str | None = None,
    unlike: Unlike = "refuse",
) -> EvaluationSplit:
    """Open a run and the lifted points of a split for :func:`evaluate`, whose arguments and errors it has.

    Of several ranks, the first lifts; the others wait for it.
    """
    here().require_same(
        {
            "RUN": str(run),
            "--data-root": str(Path(data_root).resolve()),
            "--split": split,
            "--out": str(out),
            "--unlike": unlike,
        },
        "start all by one command",
    )
    if not here().leads:
        return _follow(Path(data_root), split)
    opened = open_run(run)
    if out is None:
        require_own_folder(opened)
    else:
        opened = copy_run(opened, out)
    student = opened.student()  # first: without a checkpoint, the teacher need not be run
    cost = Cost(opened.folder, "evaluate", student.head.weight.device)
    experiment = reopen(opened, data_root, split=split, labels=True)
    complete_statistics(opened, data_root)
    CloudCheck(opened.folder, unlike=unlike).split(experiment.dataset, split)
    cost.begin("lift")
    paths = lift_run(opened, experiment, into=lifted, teacher_cache=teacher_cache)
    here().share([str(opened.folder.resolve()), [str(path.resolve()) for path in paths]])
    return EvaluationSplit(opened, student, experiment.dataset, paths, split, data_root, cost)


def _follow(data_root: Path, split: str) -> EvaluationSplit:
    """Open, as another rank than the first, what that says it has lifted; nothing is written."""
    folder, names = here().share(None)
    run = open_run(Path(folder))
    student, data = run.student(), run.recipe.data
    cost = Cost(run.folder, "evaluate", student.head.weight.device)
    dataset = build.open_dataset(data, data_root, split=split, labels=True, sweeps=data.seen_sweeps)
    return EvaluationSplit(run, student, dataset, [Path(name) for name in names], split, data_root, cost)


def evaluate_split(opened: EvaluationSplit, reliability: Reliability | None = None) -> dict[str, Scores]:
    """Score an opened run on all labelled points of its split and write ``metrics.json`` (:func:`evaluate`).

    Several ranks share the samples and add up what they count; the first writes.

    Args:
        opened: The run and the split.
        reliability: Takes the student's scores and whether it is right.

    Raises:
        ValueError: If a sample cannot be read, the run was trained on labels of one, or there is no label.
    """
    run, split, cost = opened.run, opened.split, opened.cost
    if here().leads:
        _refuse_overlap(run, opened.paths)
    cost.begin("score")
    reliability = Reliability() if reliability is None else reliability
    mixed = opened.dataset if isinstance(opened.dataset, Mixed) else None
    counts = Counts(
        opened.student,
        run.prompts,
        run.class_mapping,
        knows_words=run.knows_words,
        reliability=reliability,
        temperature=run.temperature,
        sources=() if mixed is None else [each.name for each in mixed.parts],
    )
    mine = opened.paths[here().rank :: here().size]
    for path in progress_bar(mine, desc=f"evaluate {split}", unit="sample"):
        source = None if mixed is None else source_of(path.name)
        named = None if mixed is None or source is None else mixed.named_by(source)
        counts.add([load_lifted(path)], source=source, named=named)
    counts.add_up()
    scores = counts.scores()
    if not scores["student"].num_points:
        raise ValueError(f"split {split!r} of {opened.data_root} has no labelled point to evaluate on")
    if here().leads:
        write_metrics(run, split, scores, reliability)
        cost.save()
    return scores


def evaluate_samples(
    student: Embedder,
    prompts: Prompts,
    samples: Iterable[LiftedSample],
    mapping: ClassMapping | None = None,
    *,
    knows_words: bool = True,
    reliability: Reliability | None = None,
    temperature: float = 1.0,
) -> dict[str, Scores]:
    """Score predictions on every labelled point of every sample; see :data:`~.counting.COLUMNS`.

    Args:
        student: The trained network.
        prompts: The prompt classes, which it predicts.
        samples: With labels.
        mapping: From the prompts' classes to those of the labels; None if they are the same.
        knows_words: Whether the text head was ever trained; else it is not scored beside a classifier.
        reliability: Takes the student's scores and whether it is right.
        temperature: What its logits are divided by to make scores.

    Returns:
        Scores by column; IoU and accuracy in 0..1.
    """
    counts = Counts(
        student,
        prompts,
        mapping,
        knows_words=knows_words,
        reliability=reliability,
        temperature=temperature,
    )
    counts.add(samples)
    return counts.scores()


@torch.inference_mode()
def evaluate_point_clip(
    data: DataConfig,
    *,
    data_root: Path,
    split: str = "val",
    teacher: TeacherConfig = TeacherConfig(),  # noqa: B008 - frozen
    teacher_weights: str | None = None,
) -> dict[str, Scores]:
    """Score PointCLIP, which needs no training, on every point of a split.

    Args:
        data: Which classes the data set at ``data_root`` is evaluated in.
        data_root: The data set, with labels.
        split: Which of its splits.
        teacher: Decides the sentences around the names, where the model does not know the paper's.
        teacher_weights: Folder of the image-text model, or hf:owner/name; None takes the package's small one.

    Returns:
        Scores in 0..1 of ``point_clip`` as published, of ``centred`` embeddings (see
        :func:`clip2scene.teacher.pointclip.point_clip`), and of ``random``.

    Raises:
        ValueError: If the data or the model cannot be read, or the split has no labels.
    """
    classes = build.evaluation_classes(data, data_root)
    build.require_classes(classes, data_root)
    dataset = build.open_dataset(data, data_root, split=split, labels=True, sweeps=1)
    clip = load_clip(teacher_weights or build_teacher.SMALL_CLIP)
    prompts = build_teacher.build_prompts(teacher, clip, classes)
    if not clip.unknown_words(POINT_CLIP_TEMPLATES[0].format("")):
        prompts = embed_prompts(clip, classes.classes, classes.prompts, POINT_CLIP_TEMPLATES)
    confusions = {name: Confusion(len(classes)) for name in ("point_clip", "centred")}
    for number in progress_bar(range(len(dataset.tokens)), desc=f"evaluate {split}", unit="sample"):
        sample = dataset[number]
        if sample.labels is None:
            raise ValueError("evaluation needs a data set with labels; this split has none")
        positions = sample.cloud.positions - torch.tensor(dataset.viewpoint or (0.0, 0.0, 0.0))
        for name, confusion in confusions.items():
            labels = point_clip(clip, prompts, positions, centred=name == "centred")
            confusion.update(labels, sample.labels)
    scores = {name: confusion.scores(classes.classes) for name, confusion in confusions.items()}
    scores["random"] = random_baseline(confusions["centred"].counts.sum(1)).scores(classes.classes)
    return scores


def _refuse_overlap(run: Run, paths: Sequence[Path]) -> None:
    """Refuse samples whose labels the run, or the run that it began with, was trained on."""
    labels_used = run.labels_used()
    if not labels_used:
        return
    again = {token: cloud for token, cloud in hash_clouds(paths).items() if cloud in labels_used}
    if again:
        first = min(again)
        name = "" if labels_used[again[first]] == first else f" (as {labels_used[again[first]]})"
        raise ValueError(
            f"{run.folder} was trained on the labels of {len(again)} of these {len(paths)} samples, such as "
            f"{first}{name}; evaluate it on a split without them"
        )


def write_metrics(run: Run, split: str, scores: dict[str, Scores], reliability: Reliability) -> None:
    """Write ``metrics.json``: the student on all points, then every column under its name."""
    write_json(
        run.folder / "metrics.json",
        {
            **scores["student"].to_json(),
            "split": split,
            "recipe": run.recipe.name,
            "seed": run.recipe.seed,
            "label_free": run.recipe.supervision == "label-free",
            "teacher_trained_on_2d_labels": run.recipe.teacher.trained_on_2d_labels,
            "confidence": {"temperature": run.temperature, **reliability.to_json()},
            "columns": {name: column.to_json() for name, column in scores.items()},
        },
    )
