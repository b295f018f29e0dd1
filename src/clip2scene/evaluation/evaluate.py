"""Judging: the student, its teacher and chance on the same points of a split, per point."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

from clip2scene import build
from clip2scene.classes.mapping import ClassMapping
from clip2scene.config import DataConfig, TeacherConfig
from clip2scene.distill.lifted import LiftedSample, hash_clouds, load_lifted
from clip2scene.evaluation.metrics import Confusion, Scores, random_baseline
from clip2scene.io import write_json
from clip2scene.runs.run import Run, open_run
from clip2scene.student.model import Embedder
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.pointclip import TEMPLATES as POINT_CLIP_TEMPLATES
from clip2scene.teacher.pointclip import point_clip
from clip2scene.teacher.prompts import embed_prompts
from clip2scene.types import IGNORE_LABEL, Prompts

COLUMNS = ("student", "student_seen", "student_unseen", "teacher", "teacher_seen", "voted", "voted_seen")
"""Who is judged on which points; "seen" are those that at least one camera sees, no suffix means all.

The teacher answers on seen points only: on all points, those it does not see count as wrong. "voted" is the
teacher after the superpoints' vote, which is what the student was taught if its recipe says so.
"""


WORD_COLUMNS = ("words", "words_seen")
"""What a student says that has a classifier and knows words, when it is asked by words instead."""


def evaluate(
    run: Path,
    *,
    data_root: Path,
    split: str = "val",
    lifted: Path | None = None,
    teacher_cache: Path | None = None,
) -> dict[str, Scores]:
    """Score a run on a split and write ``metrics.json`` into its folder.

    Args:
        run: Folder that ``pretrain`` wrote.
        data_root: The data set, with labels.
        split: Which of its splits to judge.
        lifted: Folder with the teacher's answers, which other runs may share; the run's own by default.
        teacher_cache: Folder of what the teacher saw in each image.

    Returns:
        Scores by column: those of :data:`COLUMNS`, and ``random``.

    Raises:
        ValueError: If the run or the data cannot be read, or the split has no labels.
    """
    opened = open_run(run)
    student = opened.student()  # first: without a checkpoint, the teacher need not look at anything
    paths = opened.carry(data_root, split=split, with_labels=True, into=lifted, teacher_cache=teacher_cache)
    _refuse_overlap(opened, paths)
    samples = (load_lifted(path) for path in tqdm(paths, desc=f"judge {split}", unit="sample"))
    scores = judge(student, opened.prompts, samples, opened.judged, knows_words=opened.knows_words)
    if not scores["student"].num_points:
        raise ValueError(f"split {split!r} of {data_root} has no labelled point to judge by")
    write_metrics(opened, split, scores)
    return scores


@torch.inference_mode()
def judge(
    student: Embedder,
    prompts: Prompts,
    samples: Iterable[LiftedSample],
    judged: ClassMapping | None = None,
    *,
    knows_words: bool = True,
) -> dict[str, Scores]:
    """Score answers on every point of every sample; see :data:`COLUMNS`.

    Args:
        student: The trained network.
        prompts: The words it answers in.
        samples: With labels.
        judged: The classes of those labels, where they are others than the words'.
        knows_words: Whether its layer into the text space has learnt any; else it is not judged by words.
    """
    judged = judged or ClassMapping(prompts.classes, torch.arange(len(prompts.classes)))
    columns = COLUMNS if student.classifier is None or not knows_words else (*COLUMNS, *WORD_COLUMNS)
    confusions = {column: Confusion(len(judged.classes)) for column in columns}
    for sample in samples:
        if sample.labels is None:
            raise ValueError("judging needs a data set with labels; this split has none")
        answered = predict(student, prompts, sample)
        answers = {
            "student": answered[0],
            "words": answered[1],
            "teacher": sample.teacher_labels(),
            "voted": sample.voted_labels(),
        }
        answers = {who: judged.translate(answer) for who, answer in answers.items()}
        seen = sample.seen()
        everywhere = torch.ones_like(seen)
        for column, confusion in confusions.items():
            who, _, where = column.partition("_")
            chosen = {"": everywhere, "seen": seen, "unseen": ~seen}[where]
            confusion.update(answers[who], torch.where(chosen, sample.labels, IGNORE_LABEL))
    scores = {column: confusion.scores(judged.classes) for column, confusion in confusions.items()}
    truth = confusions["student"].counts.sum(1)
    scores["random"] = random_baseline(truth).scores(judged.classes)
    return scores


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
        data: Which classes the data set at ``data_root`` is judged in.
        data_root: The data set, with labels.
        split: Which of its splits.
        teacher: Decides the sentences around the names, where the model does not know the paper's.
        teacher_weights: Folder or hub id of the image-text model; None takes the small one in the package.

    Returns:
        Scores of ``point_clip`` as published, of ``centred`` embeddings (see
        :func:`clip2scene.teacher.pointclip.point_clip`), and of ``random``.

    Raises:
        ValueError: If the data or the model cannot be read, or the split has no labels.
    """
    classes = build.evaluation_classes(data, data_root)
    dataset = build.open_dataset(data, data_root, split=split, labels=True, sweeps=1)
    clip = load_clip(teacher_weights or build.SMALL_CLIP)
    prompts = build.build_prompts(teacher, clip, classes)
    if not clip.unknown_words(POINT_CLIP_TEMPLATES[0].format("")):
        prompts = embed_prompts(clip, classes.classes, classes.prompts, POINT_CLIP_TEMPLATES)
    confusions = {name: Confusion(len(classes)) for name in ("point_clip", "centred")}
    for number in tqdm(range(len(dataset.tokens)), desc=f"judge {split}", unit="sample"):
        sample = dataset[number]
        if sample.labels is None:
            raise ValueError("judging needs a data set with labels; this split has none")
        for name, confusion in confusions.items():
            answers = point_clip(clip, prompts, sample.cloud.positions, centred=name == "centred")
            confusion.update(answers, sample.labels)
    scores = {name: confusion.scores(classes.classes) for name, confusion in confusions.items()}
    scores["random"] = random_baseline(confusions["centred"].counts.sum(1)).scores(classes.classes)
    return scores


def predict(
    student: Embedder, prompts: Prompts, sample: LiftedSample
) -> tuple[Int[Tensor, " points"], Int[Tensor, " points"]]:
    """Give every point its class, and the class whose text it is closest to.

    The two differ where the student has a classifier. Where a sample's sweeps are items of their own, every
    one is answered alone.
    """
    sizes = sample.sweep_sizes or (len(sample.cloud),)
    items = zip(sample.cloud.positions.split(sizes), sample.cloud.features.split(sizes), strict=True)
    answers = [student.answer(*item, prompts) for item in items]
    return (
        torch.cat([each.logits.argmax(1) for each in answers]),
        torch.cat([each.by_words.argmax(1) for each in answers]),
    )


def _refuse_overlap(run: Run, paths: Sequence[Path]) -> None:
    """Refuse to judge a run by samples whose labels it, or its start, has learnt from."""
    seen = run.seen()
    if not seen:  # nothing to look for
        return
    again = {token: cloud for token, cloud in hash_clouds(paths).items() if cloud in seen}
    if again:
        first = min(again)
        name = "" if seen[again[first]] == first else f" (as {seen[again[first]]})"
        raise ValueError(
            f"{run.folder} learnt from the labels of {len(again)} of these {len(paths)} samples, such as "
            f"{first}{name}; judge it by a split that it has not seen"
        )


def write_metrics(run: Run, split: str, scores: dict[str, Scores]) -> None:
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
            "columns": {name: column.to_json() for name, column in scores.items()},
        },
    )
