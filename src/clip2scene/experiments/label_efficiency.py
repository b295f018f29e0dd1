"""Label efficiency: ways to initialise a network, fine-tuned with more and more of the labels, over seeds.

The folder of a table, which can be interrupted and taken up again at any time:

======================  ================================================================================
``pretraining/``        an ablation: every method's label-free training, evaluated without any label
``1-percent/`` ...      an ablation for each amount of labels, compared with random initial weights
``carried/``            clouds, labels and the teacher's pseudo-labels, shared by all; may be deleted
``table.md``            all together; beside it ``table.csv`` and ``figure.png``
======================  ================================================================================
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from clip2scene import build
from clip2scene.config import LabelsConfig, Recipe
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.experiments.ablation import AblationTable, Variant, ablate
from clip2scene.experiments.efficiency_report import SCRATCH, Cell, write_efficiency
from clip2scene.experiments.jobs import SPLIT, Job, check_data
from clip2scene.experiments.variants import contrasting, full
from clip2scene.recipes import fine_tuned
from clip2scene.runs.init_weights import init_weights_of
from clip2scene.runs.run_files import read_run_json
from clip2scene.training.train import finetune

PROBE = "linear probe"
"""The amount that trains a linear layer on all labels, and nothing below it."""
AMOUNTS = (PROBE, "1 %", "5 %", "10 %", "25 %", "100 %")
"""What the papers' tables have."""
OURS = "ours"


@dataclass(frozen=True)
class Method:
    """A way to initialise the network that is fine-tuned.

    Attributes:
        name: Unique in the table.
        pretraining: How it is pretrained without labels; None for random initial weights.
        begins_with_words: Whether its classifier is initialised with its prompts' text embeddings, or at
            random as in the papers.
    """

    name: str
    pretraining: Recipe | None
    begins_with_words: bool = False


def methods_of(recipe: Recipe) -> dict[str, Method]:
    """List the methods: random weights, the rivals, the paper's method, and the recipe itself.

    The InfoNCE of PPKT and SLidR takes features of the teacher's image tower before its pooling, as their
    papers do with a frozen backbone; class maps have none, so it takes the text embeddings (SLidR: not run).
    """
    tower = "own" if recipe.teacher.kind == "maskclip" else None
    ways = [Method(SCRATCH, None), Method("PPKT", contrasting(recipe, "pixel-infonce", tower))]
    if tower:
        ways.append(Method("SLidR", contrasting(recipe, "superpixel-infonce", tower)))
    ways += [Method("CLIP2Scene", full(recipe)), Method(OURS, recipe, begins_with_words=True)]
    return {way.name: replace(way, pretraining=_with_inputs_of(recipe, way.pretraining)) for way in ways}


def _with_inputs_of(recipe: Recipe, pretraining: Recipe | None) -> Recipe | None:
    """Give a pretraining the inputs that its network is fine-tuned with; weights fit no others."""
    if pretraining is None:
        return None
    student, ours = pretraining.student, recipe.student
    student = replace(student, height=ours.height, level=ours.level, intensity=ours.intensity)
    return replace(pretraining, student=student)


def labels_of(amount: str, by: Literal["scene", "keyframe"]) -> LabelsConfig:
    """Read an amount of labels: ``1 %`` is a share in percent, ``3`` a number of scenes or keyframes.

    Raises:
        ValueError: If it is neither.
    """
    base = LabelsConfig(by=by, draw=None, absent="allow")
    if amount == PROBE:
        return base
    matched = re.fullmatch(r"(\d+(?:\.\d+)?) ?%|(\d+)", amount)
    if matched is None:
        raise ValueError(
            f"expected an amount of labels such as '1 %' or 3 or '{PROBE}', got {amount!r}; correct --amounts"
        )
    share, count = matched.groups()
    return replace(base, fraction=float(share) / 100) if share else replace(base, count=int(count))


def tuning_recipe(
    recipe: Recipe, method: Method, amount: str, *, by: Literal["scene", "keyframe"], steps: int | None = None
) -> Recipe:
    """Make the recipe of a method's fine-tuning; all but the initial weights is the same for all methods."""
    tuned = fine_tuned(recipe, from_chance=method.pretraining is None)
    begin: Literal["words", "random"] = "words" if method.begins_with_words else "random"
    tuning = replace(tuned.tuning, start=begin, freeze=amount == PROBE)
    return replace(
        tuned,
        name=method.name,
        labels=labels_of(amount, by),
        tuning=tuning,
        steps=tuned.steps if steps is None else steps,
    )


def finetune_and_evaluate(starts: Mapping[str, Path], job: Job) -> None:
    """Fine-tune a run from its method's own run of the same seed, and evaluate it on all labelled points."""
    folder = starts.get(job.variant)
    finetune(
        job.recipe,
        data_root=job.data_root,
        out=job.folder,
        start=None if folder is None else init_weights_of(folder / f"seed-{job.recipe.seed}"),
        teacher_weights=job.teacher_weights,
        device=job.device,
        lifted=job.lifted,
    )
    evaluate(job.folder, data_root=job.data_root, split=SPLIT, lifted=job.lifted)


def label_efficiency(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    methods: Sequence[str] | None = None,
    amounts: Sequence[str] = AMOUNTS,
    by: Literal["scene", "keyframe"] = "scene",
    seeds: Sequence[int] = (0, 1, 2),
    tuning_steps: int | None = None,
    **calls: Any,  # noqa: ANN401
) -> Path:
    """Pretrain, fine-tune and evaluate every method with every amount of labels and every seed.

    Each seed draws its own scenes, the same for all methods, and a smaller share is part of a larger one.

    Args:
        recipe: Ours; the others have its network and inputs, teacher, and schedule.
        data_root: The data set, with labels.
        out: Folder of the table.
        methods: Some of :func:`methods_of`; all by default. Random initial weights are always there.
        amounts: See :func:`labels_of`.
        by: Whether whole scenes are labelled, or keyframes.
        seeds: One run of each method and amount for each.
        tuning_steps: Of fine-tuning; by default those of :func:`clip2scene.recipes.fine_tuned`.
        calls: ``workers``, ``teacher_weights`` and ``device``, as ``ablate`` takes them.

    Returns:
        ``out/table.md``, mIoU in percent.

    Raises:
        ValueError: If a name or an amount is unknown; and as ``ablate`` does.
    """
    ways = _choose(methods_of(recipe), methods, amounts)
    recipes = {
        amount: [tuning_recipe(recipe, way, amount, by=by, steps=tuning_steps) for way in ways]
        for amount in amounts
    }
    layout = _check(recipe, [each[0] for each in recipes.values()], Path(data_root), seeds)
    for table in _tables(ways, recipes, by, out):
        ablate(table, data_root=data_root, out=out / table.name, seeds=seeds, lifted=out / "carried", **calls)
        if table.baseline == SCRATCH:
            cells = read_cells(out, [way.name for way in ways], amounts, seeds)
            write_efficiency(cells, out, by=by, layout=layout)
    return out / "table.md"


def _tables(
    ways: Sequence[Method], recipes: Mapping[str, Sequence[Recipe]], by: str, out: Path
) -> Iterator[AblationTable]:
    """List the ablations: label-free training first, then fine-tuning with each amount of labels."""
    pretrained = tuple(Variant(way.name, way.pretraining) for way in ways if way.pretraining is not None)
    if pretrained:
        yield AblationTable("pretraining", "Without labels", pretrained[-1].name, pretrained)
    starts = {each.name: out / "pretraining" / "runs" / each.folder for each in pretrained}
    for amount, tuned in recipes.items():
        variants = tuple(Variant(each.name, each) for each in tuned)
        work, title = partial(finetune_and_evaluate, starts), f"Labels: {amount}, by {by}"
        yield AblationTable(folder_of(amount), title, SCRATCH, variants, work)


def _choose(known: Mapping[str, Method], names: Sequence[str] | None, amounts: Sequence[str]) -> list[Method]:
    """Pick methods by name, random initial weights first."""
    wanted = list(dict.fromkeys([SCRATCH, *(known if names is None else names)]))
    foreign = [name for name in wanted if name not in known]
    if foreign or not amounts:
        raise ValueError(
            f"expected amounts of labels, and methods among {', '.join(known)}, got {foreign or 'no amount'}"
        )
    return [known[name] for name in wanted]


def _check(recipe: Recipe, tuned: Sequence[Recipe], data_root: Path, seeds: Sequence[int]) -> str | None:
    """Refuse an amount that labels nothing, or what has no labels, before anything is trained.

    Returns:
        The layout of the data, as :func:`clip2scene.experiments.jobs.check_data` gives it.
    """
    dataset = build.open_dataset(recipe.data, data_root, split="train", sweeps=1)
    chosen = [build.choose_labels(replace(each, seed=seed), dataset) for each in tuned for seed in seeds]
    tokens = {token for subset in chosen for token in subset.tokens}
    build.open_dataset(recipe.data, data_root, split="train", labels=tokens, sweeps=1)
    return check_data([Job(OURS, recipe, data_root, data_root, data_root, None, "cpu")])


def folder_of(amount: str) -> str:
    """Make a folder's name of an amount.

    Example:
        >>> folder_of("1 %"), folder_of("0.1%"), folder_of("30"), folder_of(PROBE)
        ('1-percent', '0.1-percent', '30', 'linear-probe')
    """
    return re.sub(r"[^a-z0-9.]+", "-", amount.replace("%", " percent").lower()).strip("-")


def read_cells(out: Path, methods: Sequence[str], amounts: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Read the scores (0..1) of every run of a table that is done."""
    cells = []
    for amount in ("none", *amounts):
        table = "pretraining" if amount == "none" else folder_of(amount)
        for method in methods:
            for seed in seeds:
                run = out / table / "runs" / Variant(method, Recipe(method)).folder / f"seed-{seed}"
                if (run / "done.json").exists():
                    labels = read_run_json(run / "labels.json") if amount != "none" else {}
                    done, metrics = read_run_json(run / "done.json"), read_run_json(run / "metrics.json")
                    cells.append(Cell(method, amount, seed, metrics, done, labels))
    return cells
