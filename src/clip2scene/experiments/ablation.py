"""Tables of ablations: every variant of a recipe with every seed, trained, evaluated and compared.

The folder of a table, which can be interrupted and taken up again at any time:

======================  ================================================================================
``runs/VARIANT/seed-S`` a run each; ``done.json`` in it says that it was trained and evaluated, and where
``carried/``            the teacher's pseudo-labels and its features of each image, shared by all runs; may
                        be deleted
``calls.json``          provenance: the calls that worked on the table, and how long
``table.md``            the table; rewritten after every run, as are ``table.csv`` and ``figure.png``
======================  ================================================================================
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from clip2scene.config import Recipe
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.experiments.jobs import SPLIT, Job, check_jobs
from clip2scene.experiments.provenance import Provenance, listed
from clip2scene.experiments.report import write_report
from clip2scene.experiments.results import Results, Row, RunResult
from clip2scene.io import write_json
from clip2scene.parallel import ProgressBar, check_device, file_lock, progress_bar, run_isolated
from clip2scene.runs.checkpoint import versions
from clip2scene.runs.cost import describe_machine, today
from clip2scene.runs.folder import LOCK
from clip2scene.runs.run_files import read_run_json
from clip2scene.training.train import pretrain


def train_and_evaluate(job: Job) -> None:
    """Train a run, or the steps left of it, and evaluate it on all labelled points of ``val``."""
    pretrain(
        job.recipe,
        data_root=job.data_root,
        out=job.folder,
        teacher_weights=job.teacher_weights,
        device=job.device,
        lifted=job.lifted,
    )
    evaluate(job.folder, data_root=job.data_root, split=SPLIT, lifted=job.lifted)


@dataclass(frozen=True)
class Variant:
    """A row of a table.

    Attributes:
        name: Unique in its table; a folder is named after it.
        recipe: What is trained; its seed does not matter.
        published: The paper's mIoU in percent, by layout of the data set.
        note: What it is, in a few words.
    """

    name: str
    recipe: Recipe
    published: Mapping[str, float] | None = None
    note: str = ""

    @property
    def folder(self) -> str:
        """Make a folder's name of the variant's."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.")


@dataclass(frozen=True)
class AblationTable:
    """Variants to compare.

    Attributes:
        name: What it is called on the command line.
        title: Its heading.
        baseline: Name of the variant that others are compared with.
        variants: In the order shown.
        work: What is done for a run; sent to other processes, so a function that a module defines.

    Raises:
        ValueError: If two variants share a name or a folder, or none is the baseline.
    """

    name: str
    title: str
    baseline: str
    variants: tuple[Variant, ...]
    work: Callable[[Job], None] = train_and_evaluate

    def __post_init__(self) -> None:
        """Check the names."""
        folders = [variant.folder for variant in self.variants]
        for folder in folders:
            if not folder or folders.count(folder) > 1:
                raise ValueError(
                    f"variants of table {self.name} need names that differ in their letters and digits, got "
                    f"{', '.join(repr(variant.name) for variant in self.variants)}; rename some"
                )
        if self.baseline not in [variant.name for variant in self.variants]:
            raise ValueError(
                f"the baseline of table {self.name} must be one of its variants, got {self.baseline!r}; "
                "name one of them"
            )

    def only(self, names: Sequence[str]) -> "AblationTable":
        """Keep the baseline and the variants of these names.

        Raises:
            ValueError: If there is no variant of a name.
        """
        known = [variant.name for variant in self.variants]
        for name in names:
            if name not in known:
                raise ValueError(
                    f"table {self.name} has no variant {name!r}; expected among {', '.join(known)}"
                )
        kept = tuple(each for each in self.variants if each.name in (self.baseline, *names))
        return replace(self, variants=kept)


def ablate(
    table: AblationTable,
    *,
    data_root: Path,
    out: Path,
    seeds: Sequence[int] = (0, 1, 2),
    workers: int = 1,
    teacher_weights: str | None = None,
    device: str = "cpu",
    lifted: Path | None = None,
) -> Path:
    """Train and evaluate every variant with every seed, and write the table.

    All variants are run with the first seed, then with the second, so a whole table is there early; it is
    written anew after every run. Runs that are done are kept, and interrupted ones go on where they stopped.

    Args:
        table: The variants.
        data_root: The data set, with labels to evaluate by.
        out: Folder of the table.
        seeds: One run of each variant for each of them.
        workers: How many runs at a time, 1 or more, each in a process with its share of the cores.
        teacher_weights: Of all variants; as :func:`clip2scene.training.train.pretrain` takes them.
        device: Where to compute, as torch names it.
        lifted: Folder of the teacher's pseudo-labels, which other tables may share; in ``out`` by default.

    Returns:
        ``out/table.md``, mIoU in percent.

    Raises:
        ValueError: Before any training if a recipe, the data, the teacher, the device or ``out`` is unfit.
            At the end if runs failed; the others are in the table, and the same call tries these again.
    """
    _check_options(seeds, workers)
    out, options = Path(out), {"teacher_weights": teacher_weights, "device": device}
    jobs = _jobs_of(table, seeds, out, lifted=lifted or out / "carried", data_root=Path(data_root), **options)
    check_device(device)
    with file_lock(out / LOCK, wait=False):  # first: another call's files are half there
        layout = check_jobs(jobs)
        runner = _Runner(table, jobs, out, layout, workers)
        runner.run()
    runner.require_success()
    return out / "table.md"


def _check_options(seeds: Sequence[int], workers: int) -> None:
    if not seeds or len(set(seeds)) < len(seeds) or workers < 1:
        raise ValueError(
            f"expected one or more different --seeds and one or more --workers, got seeds {list(seeds)} and "
            f"{workers} workers; correct these options"
        )


def _jobs_of(table: AblationTable, seeds: Sequence[int], out: Path, **shared: Any) -> list[Job]:  # noqa: ANN401
    """List the runs of a table: every variant with the first seed, then with the second."""
    return [
        Job(variant.name, replace(variant.recipe, seed=seed), folder, **shared)
        for seed in seeds
        for variant in table.variants
        for folder in [out / "runs" / variant.folder / f"seed-{seed}"]
    ]


class _Runner:
    """Does the runs of a table and writes their results.

    Args:
        table: The variants.
        jobs: Every run, in the order they are done.
        out: Folder of the table.
        layout: Of the data set, if published values are for it.
        workers: How many runs at a time.
    """

    def __init__(
        self, table: AblationTable, jobs: Sequence[Job], out: Path, layout: str | None, workers: int
    ) -> None:
        self.table, self.jobs, self.out, self.layout, self.workers = table, jobs, out, layout, workers
        self.provenance = Provenance(out / "calls.json", workers=workers)
        self.failures: dict[Job, str] = {}

    def run(self) -> None:
        """Do the runs that are not done."""
        waiting = [job for job in self.jobs if not job.is_done]
        self.provenance.worked = bool(waiting)
        self.write_up()
        with self._bar() as bar:
            show = partial(self._show, bar, waiting)
            try:
                with closing(
                    run_isolated(self.table.work, waiting, workers=self.workers, meanwhile=show)
                ) as ended:
                    for job, reason in ended:
                        if reason:
                            self.failures[job] = reason
                        else:
                            _mark_done(job)
                        show()
                        self.write_up()
            finally:
                self.provenance.save()

    def _bar(self) -> ProgressBar:
        """Make a progress bar over the steps of all runs."""
        total, done = sum(job.recipe.steps for job in self.jobs), sum(job.steps_done() for job in self.jobs)
        return progress_bar(total=total, initial=done, desc=self.table.name, unit="step", smoothing=0)

    def _show(self, bar: ProgressBar, waiting: Sequence[Job]) -> None:
        """Bring the progress bar up to date: the logs of the runs tell how far they are."""
        done = sum(job.is_done for job in self.jobs)
        bar.set_postfix(runs=f"{done}/{len(self.jobs)}", failed=len(self.failures), refresh=False)
        others = sum(job.recipe.steps for job in self.jobs if job not in waiting)
        bar.update(others + sum(job.steps_done() for job in waiting) - bar.n)

    def require_success(self) -> None:
        """Report runs that failed.

        Raises:
            ValueError: If there are any; it names the first, and what to do.
        """
        for job, reason in self.failures.items():
            raise ValueError(
                f"{len(self.failures)} of {len(self.jobs)} runs failed, {job.variant} with seed "
                f"{job.recipe.seed} because: {reason}. All reasons are in {self.out / 'table.md'}; the same "
                "command tries them again"
            )

    def write_up(self) -> None:
        """Write the table as it stands."""
        runs = tuple(self._result(job) for job in self.jobs)
        rows = tuple(self._row(variant) for variant in self.table.variants)
        results = Results(self.table.title, self.table.baseline, rows, runs, self._facts())
        write_report(results, self.out)

    def _result(self, job: Job) -> RunResult:
        if job not in self.failures and job.is_done:
            minutes = read_run_json(job.folder / "done.json")["minutes"]
            metrics = read_run_json(job.folder / "metrics.json")
            return RunResult(job.variant, job.recipe.seed, metrics, math.nan if minutes is None else minutes)
        failure = self.failures.get(job, "")
        for path in (self.out, job.data_root):  # the table is for others, who have no use for our paths
            for shown in (str(path.resolve()), str(path)):
                failure = failure.replace(shown, path.resolve().name)
        return RunResult(job.variant, job.recipe.seed, failure=failure)

    def _row(self, variant: Variant) -> Row:
        return Row(
            variant.name,
            variant.note,
            variant.recipe.supervision == "label-free",
            variant.recipe.teacher.trained_on_2d_labels,
            (variant.published or {}).get(self.layout or ""),
        )

    def _facts(self) -> dict[str, str]:
        """Say how the table was made, without a path of the machine."""
        done = [read_run_json(job.folder / "done.json") for job in self.jobs if job.is_done]
        facts = self.provenance.describe()
        facts["data"] = f"{self.jobs[0].data_root.resolve().name}, evaluated on split {SPLIT}"
        facts["seeds"] = listed(job.recipe.seed for job in self.jobs)
        if done:
            facts["machine"] = listed(each["machine"] for each in done)
            facts["versions"] = listed(
                (" ".join(f"{name} {number}" for name, number in each["versions"].items()) for each in done),
                "or",
            )
            facts["date"] = listed(sorted(each["date"] for each in done))
        return facts


def _mark_done(job: Job) -> None:
    minutes = job.minutes()
    about = {
        "minutes": None if math.isnan(minutes) else minutes,
        "machine": describe_machine(job.device),
        "versions": versions(),
        "date": today(),
    }
    write_json(job.folder / "done.json", about)
