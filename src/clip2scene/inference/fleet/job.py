"""The command ``label``: the samples of a data set, labelled by many workers, some of which may die."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from clip2scene.inference.fleet import local, on_ray
from clip2scene.inference.fleet.label import Labeller, LabelOptions
from clip2scene.inference.fleet.manifest import Manifest, Others, Unit
from clip2scene.inference.fleet.parquet import check_library
from clip2scene.inference.fleet.part import Done, Task
from clip2scene.io.store import open_store
from clip2scene.parallel import check_device, count_cores, progress_bar
from clip2scene.runs.training_clouds import CloudCheck, Unlike, say

Engine = Literal["local", "ray"]
"""Who does the parts: a pool of processes of this machine, or actors of Ray."""

_POLL_S = 1.0
_NAMED = 5  # samples that failed, in the message


@dataclass
class Fleet:
    """What a job did.

    Attributes:
        out: Address of the store.
        samples: How many samples there are.
        labelled: How many this job labelled.
        points: Points of the samples of the parts that it did.
        seconds: How long it took.
        failed: Why samples could not be labelled, by their names; those of other jobs are among them.
    """

    out: str
    samples: int
    labelled: int
    points: int
    seconds: float
    failed: Mapping[str, str]

    def sentence(self) -> str:
        """Say what was done, and which samples failed."""
        before = self.samples - self.labelled - len(self.failed)
        others = f", {before} were labelled before or by another job" if before else ""
        said = (
            f"labelled {self.labelled} of {self.samples} samples in {self.seconds:.1f} s{others}: {self.out}"
        )
        if not self.failed:
            return said
        some = [f"{token} ({reason})" for token, reason in list(self.failed.items())[:_NAMED]]
        more = f" and {len(self.failed) - _NAMED} more" if len(self.failed) > _NAMED else ""
        return (
            f"{said}\n{len(self.failed)} could not be labelled: {'; '.join(some)}{more}. Mend them, and give "
            "the same command: the others are kept"
        )


@dataclass(frozen=True)
class Crew:
    """Who labels.

    Attributes:
        engine: A pool of processes of this machine, or actors of Ray.
        workers: How many; by default as many as this machine has cores, each computing with one thread.
        device: What torch computes on; with cuda, each worker has a GPU (not run).
    """

    engine: Engine = "local"
    workers: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers is {self.workers}, expected 1 or more")

    def start(self, task: Task, units: list[Unit]) -> Generator[Done | None, None, None]:
        """Set the workers to some parts."""
        label: Callable[..., Generator[Any, None, None]] = (
            on_ray.label_on_ray if self.engine == "ray" else local.label_in_pool
        )
        return label(task, units, workers=self.workers or count_cores(), device=self.device)


def label_samples(
    run: Path,
    *,
    data_root: Path,
    out: str,
    split: str = "val",
    how: LabelOptions = LabelOptions(),  # noqa: B008 - frozen
    crew: Crew = Crew(),  # noqa: B008 - frozen
    unlike: Unlike = "refuse",
    note: Callable[[str], None] = say,
) -> Fleet:
    """Label the samples of a split, each once, with all their labels, scores and statistics in one store.

    A call that was killed is given again and goes on. Several calls at a time, here or elsewhere, share the
    work.

    Args:
        run: Folder of the run, or ``builtin``.
        data_root: The data set.
        out: Where everything goes: a folder, or the address of a store (``s3://bucket/folder``).
        split: Which of its splits.
        how: How samples are labelled.
        crew: Who labels.
        unlike: Whether clouds so unlike the training clouds that nothing right can come of them are refused.
        note: Takes what a user should know.

    Raises:
        ValueError: If the run, the data, a word or what lies in ``out`` is unfit, the store cannot be used,
            or no worker can work. A sample that cannot be labelled is no reason to stop.
    """
    begun = time.perf_counter()
    check_library()
    if crew.engine == "ray":
        on_ray.check_ray()
    else:
        check_device(crew.device)
    labeller = Labeller(run, data_root, split, how)
    CloudCheck(labeller.run.folder, unlike=unlike, note=note).split(labeller.dataset, split)
    key, store = labeller.key(), open_store(out)
    manifest = Manifest.open(store, key, len(labeller.tokens), _asked(labeller, split))
    task = Task(
        *(run, Path(data_root).resolve(), split, how, key, _absolute(out), manifest.job, manifest.size),
        precision=torch.get_float32_matmul_precision(),
    )
    del labeller  # the workers have one each
    with manifest.at_work():
        done = _work(manifest, task, crew, note)
    labelled, points = sum(each.labelled for each in done), sum(each.points for each in done)
    seconds = time.perf_counter() - begun
    return Fleet(store.address, manifest.samples, labelled, points, seconds, manifest.reasons())


def _work(manifest: Manifest, task: Task, crew: Crew, note: Callable[[str], None]) -> list[Done]:
    """Do all parts that nobody has done, and wait for those that others do."""
    mine, others = dict[int, Done](), Others(manifest.store)
    told, counted = set[str](), 0
    with progress_bar(desc="label", total=manifest.samples, unit="sample") as bar:
        while True:
            units, held = _free(manifest, others, mine)
            if not units and not held:
                return list(mine.values())
            if not units:
                time.sleep(_POLL_S)
                continue
            unfit, moved = [], False
            with closing(crew.start(task, units)) as found:  # workers end here, whatever is raised
                for done in found:
                    if done is None:
                        bar.update()
                    elif done.state == "done":
                        mine[done.part], moved = done, True
                        counted += done.labelled + done.kept + done.failed
                        bar.update(max(0, counted - bar.n))
                    elif done.state == "store":
                        raise ValueError(f"{done.reason}; the same command goes on with what is done")
                    elif done.state == "held":
                        moved = True
                    else:
                        unfit.append(done.reason)
            for reason in set(unfit) - told:
                note(reason)
            told |= set(unfit)
            if unfit and not moved:
                raise ValueError(f"no worker can work: {unfit[0]}")


def _free(manifest: Manifest, others: Others, mine: Mapping[int, Done]) -> tuple[list[Unit], bool]:
    """List the parts that may be done now, and tell whether others are at work on some.

    Parts with samples that failed are done again once, if whoever did them is not at work any more.
    """
    done, failed, claims = manifest.done(), manifest.failed(), manifest.claims()
    units, held, alive = list[Unit](), False, dict[str, bool]()
    for part in range(manifest.num_parts):
        if part in mine or (part in done and part not in failed):
            continue
        unit = Unit(part, claims.get(part, 0))
        if part in claims:
            owner = manifest.owner(unit)
            if owner != manifest.job:
                if owner not in alive:
                    alive[owner] = others.is_alive(owner)
                if alive[owner]:
                    held |= part not in done
                    continue
                unit = Unit(part, claims[part] + 1)
        units.append(unit)
    return units, held


def _asked(labeller: Labeller, split: str) -> dict[str, Any]:
    """Say what labels follow from, for people."""
    how = labeller.how
    background = how.background if isinstance(how.background, str) else list(how.background)
    return {
        "run": labeller.run.folder.name,
        "split": split,
        "classes": list(labeller.classes),
        "words": how.prompts is not None,
        "background": background,
        "abstain": how.abstain,
        "quality": how.quality,
    }


def _absolute(out: str) -> str:
    """Make a folder's name one that other processes find; addresses of stores are so already."""
    return out if "://" in out else str(Path(out).resolve())
