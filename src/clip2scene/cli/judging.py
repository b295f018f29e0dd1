"""Commands that judge runs, labels and data. Arguments that the library describes are not described again."""

import sys
from pathlib import Path
from typing import Literal

from clip2scene.cli.learning import teacher_cache_of
from clip2scene.cli.notes import note
from clip2scene.config import DataConfig
from clip2scene.recipes import named


def evaluate(
    run: Path,
    *,
    data_root: Path,
    split: str = "val",
    out: Path | None = None,
    teacher_cache: str | None = None,
    teacher_cache_copies: Path | None = None,
    teacher_cache_copies_gb: float = 20.0,
    unlike: Literal["refuse", "accept"] = "refuse",
    pictures: int = 2,
) -> None:
    """Evaluate a run per point, beside its teacher and chance.

    Args:
        teacher_cache: Folder of the teacher's features, or address of a store (s3://bucket/folder).
        teacher_cache_copies: Local folder where copies are kept of what is read from that store.
        teacher_cache_copies_gb: That they may take; the least recently used are removed.
        pictures: Samples to draw.
    """
    from clip2scene.evaluation.evaluate import evaluate_split, open_evaluation
    from clip2scene.evaluation.metrics import table
    from clip2scene.evaluation.reliability import Reliability
    from clip2scene.inference.figures import draw_samples
    from clip2scene.ranks import here

    opened = open_evaluation(
        run,
        data_root=data_root,
        split=split,
        out=out,
        teacher_cache=teacher_cache_of(teacher_cache, teacher_cache_copies, teacher_cache_copies_gb),
        unlike=unlike,
    )
    reliability = Reliability()
    print(table(evaluate_split(opened, reliability)))
    print(reliability.sentence())
    print(f"wrote {opened.run.folder / 'metrics.json'}")
    if not here().leads:
        return
    for path in draw_samples(opened.run, opened.student, opened.dataset, opened.paths, count=pictures):
        print(f"drew {path}")


def compare(
    pred: Path,
    truth: Path,
    *,
    pred_classes: str | None = None,
    truth_classes: str | None = None,
    ignore: str = "",
    field: str | None = None,
    out: Path | None = None,
) -> None:
    """Compare two labelled files or folders: the table of evaluate, and a confusion matrix. No run is needed.

    Args:
        pred_classes: What numbers or words of PRED stand for: name of a class set, or a JSON or TOML file
            (docs/words.md).
        ignore: Numbers or classes of TRUTH that are not evaluated, separated by commas.
    """
    from clip2scene.evaluation.compare import compare as run_compare
    from clip2scene.evaluation.metrics import confusion_table, table

    found = run_compare(
        pred,
        truth,
        pred_classes=pred_classes,
        truth_classes=truth_classes,
        ignore=[word.strip() for word in ignore.split(",") if word.strip()],
        field=field,
        out=out,
        note=note,
    )
    print(table(found.scores))
    print(f"\nin percent of each true class:\n{confusion_table(found.scores['prediction'])}")
    if out is not None:
        print(f"wrote {out / 'compare.json'}\nwrote {out / 'confusion.png'}")


def evaluate_point_clip(
    *, data_root: Path, split: str = "val", recipe: str = "toytown", teacher_weights: str | None = None
) -> None:
    """Evaluate PointCLIP, a rival without training: depth maps of superpoints, named by the image-text model.

    Args:
        recipe: Name of the recipe that says what the data set is.
    """
    from clip2scene.evaluation.evaluate import evaluate_point_clip as run_point_clip
    from clip2scene.evaluation.metrics import table

    scores = run_point_clip(
        named(recipe).data,
        data_root=data_root,
        split=split,
        teacher=named(recipe).teacher,
        teacher_weights=teacher_weights,
    )
    print(table(scores))


def evaluate_clip(weights: Path | None = None) -> None:
    """Evaluate a small CLIP on towns that it was not trained on.

    Args:
        weights: Its folder; the one in the package when left out.
    """
    from clip2scene.build_teacher import SMALL_CLIP
    from clip2scene.evaluation.small_clip import evaluate_small_clip

    for name, value in evaluate_small_clip(weights or SMALL_CLIP).items():
        print(f"{name:32} {100 * value:5.1f}")


def doctor(
    *,
    data_root: Path,
    data: DataConfig = DataConfig(),  # noqa: B008 - frozen
    split: str = "train",
    samples: int = 60,
    calibration: bool = True,
    costs: bool = True,
    json: Path | None = None,
    pictures: Path | None = None,
    run: Path | None = None,
    plan: str | None = None,
    teacher_weights: str | None = None,
    budget: float = 60.0,
    within: float | None = None,
    disk: Path = Path(),
) -> None:
    """Check a data set before training: files, times, calibration, labels, costs. Exit code 1 for a fault.

    With --plan, say instead what work on it will take: hours, disk, machines, from a short measurement.

    Args:
        data_root: The data set.
        json: File to write the findings to.
        plan: The work: a recipe with its options, as in "own --steps 500", or "label --clouds 1000000".
        teacher_weights: For the plan: as pretrain takes them.
        budget: For the plan: about how many seconds may be measured.
        within: For the plan: the hours that the work may take, to say how many machines it needs.
        disk: For the plan: a folder on the disk that the run is to lie on.
    """
    from clip2scene.doctor.examine import examine
    from clip2scene.doctor.report import report_json, report_text
    from clip2scene.io import write_json

    if plan is not None:
        from clip2scene.cli.plans import plan_of
        from clip2scene.experiments.plan.figures import Ask, plan_json, plan_text

        planned = plan_of(plan, data, Ask(data_root, teacher_weights, budget, within, disk))
        if json is not None:
            write_json(json, plan_json(planned))
        print(plan_text(planned))
        if any(line.mark == "fault" for line in planned.lines):
            sys.exit(1)
        return
    if samples < 0:
        raise ValueError(f"samples must not be negative, got {samples}; 0 looks at all")
    lines = examine(
        data,
        data_root,
        split=split,
        samples=samples,
        calibration=calibration,
        costs=costs,
        pictures=pictures,
        run=run,
    )
    if json is not None:
        write_json(json, report_json(lines))
    print(report_text(lines))
    if any(line.mark == "fault" for line in lines):
        sys.exit(1)
