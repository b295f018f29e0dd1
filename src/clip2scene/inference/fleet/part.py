"""A part of the samples done by one worker: read ahead, labelled, written behind."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from clip2scene.inference.fleet.label import Labeller, LabelOptions, Row, labels_name
from clip2scene.inference.fleet.manifest import Manifest, Unit
from clip2scene.inference.fleet.parquet import read_rows, table_of
from clip2scene.io import in_a_sentence
from clip2scene.io.store import AbsentError, open_store
from clip2scene.types import Sample

_WAIT_S = 2.0  # of a worker that can do nothing, so that others take the parts


@dataclass(frozen=True)
class Task:
    """All that a worker has to know; it is sent to other processes and machines.

    Attributes:
        run: Folder of the run, or ``builtin``.
        data_root: The data set.
        split: Which of its splits.
        how: How samples are labelled.
        key: What the worker's own run, words and samples must come to.
        out: Address of the store.
        job: Name of the job.
        size: Samples of a part.
        precision: Of products of float32, as torch names it.
    """

    run: Path
    data_root: Path
    split: str
    how: LabelOptions
    key: str
    out: str
    job: str
    size: int
    precision: str


@dataclass(frozen=True)
class Done:
    """What came of a part.

    Attributes:
        part: Its number.
        state: It is done; another job has it; this worker cannot do any; or the store does not let it.
        labelled: Samples that were labelled now.
        kept: Samples that were labelled before.
        failed: Samples that could not be.
        points: Points of all of them.
        reason: Why it is not done.
    """

    part: int
    state: Literal["done", "held", "unfit", "store"]
    labelled: int = 0
    kept: int = 0
    failed: int = 0
    points: int = 0
    reason: str = ""


class Worker:
    """A process that holds the model and does parts, one after another.

    Args:
        task: What to do.
        device: What torch computes on.
    """

    def __init__(self, task: Task, device: str = "cpu") -> None:
        torch.set_num_threads(1)  # so that bits do not depend on how many cores a machine has
        torch.set_float32_matmul_precision(task.precision)
        self.task, self.device = task, device
        self.name = f"{platform.node()}:{os.getpid()}"
        self._opened: tuple[Labeller, Manifest] | None = None

    def open(self) -> tuple[Labeller, Manifest]:
        """Open the run, the data and the store, once.

        Raises:
            ValueError: If they are not there, or others than the job is about.
        """
        if self._opened is None:
            task = self.task
            labeller = Labeller(task.run, task.data_root, task.split, task.how, device=self.device)
            if labeller.key() != task.key:
                raise ValueError(
                    f"{task.run} or {task.data_root} are others here than where the job was begun, or of "
                    "another version of clip2scene; copy them, or share a disk"
                )
            manifest = Manifest(open_store(task.out), task.job, len(labeller.tokens), task.size)
            self._opened = labeller, manifest
        return self._opened

    def do(self, unit: Unit, told: Callable[[], None] = lambda: None) -> Done:
        """Do a part: what is labelled already is kept, what cannot be labelled is noted.

        Args:
            unit: The part.
            told: Called after each sample.
        """
        try:
            labeller, manifest = self.open()
        except (ValueError, OSError) as error:
            time.sleep(_WAIT_S)
            return Done(unit.part, "unfit", reason=f"worker {self.name}: {in_a_sentence(error)}")
        try:
            claimed = manifest.claim(unit)
            if claimed == "held":
                return Done(unit.part, "held")
            if claimed == "mine" and (table := manifest.read_part(unit.part)) is not None:
                return _summed_up(unit.part, read_rows(table))  # whoever asked for it did not hear of it
            again, rows = claimed != "new", list[Row]()
            for row in self._rows(labeller, manifest, manifest.numbers(unit.part), again=again):
                rows.append(row)
                told()
            failed = {row.token: row.error for row in rows if row.error}
            manifest.finish(unit.part, table_of(rows, labeller.classes), failed, again=again)
        except ValueError as error:  # of the store; what is wrong with a sample is in its row
            return Done(unit.part, "store", reason=in_a_sentence(error))
        return _summed_up(unit.part, [(row.points, row.worker, row.error) for row in rows])

    def _rows(
        self, labeller: Labeller, manifest: Manifest, numbers: Sequence[int], *, again: bool
    ) -> Iterator[Row]:
        """Label samples, in order: one is read while another is labelled and a third is written.

        Where a process died before, a sample is noted before it is touched, and nothing is read ahead.
        """
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead: Future[_Read] | None = None
            behind: Future[None] | None = None
            for place, number in enumerate(numbers):
                if ahead is None:
                    ahead = reader.submit(self._read, labeller, manifest, number, again)
                read, following = ahead.result(), None
                if not again and place + 1 < len(numbers):
                    following = reader.submit(self._read, labeller, manifest, numbers[place + 1], again)
                row, content = self._label(labeller, number, read)
                if behind is not None:
                    behind.result()
                behind = None
                if content is not None:
                    behind = writer.submit(manifest.store.write, labels_name(row.token), content)
                    if again:
                        behind.result()
                yield row
                ahead = following
            if behind is not None:
                behind.result()

    def _read(self, labeller: Labeller, manifest: Manifest, number: int, again: bool) -> "_Read":
        """Read a sample, unless it is labelled already."""
        since = time.perf_counter()
        try:
            content = manifest.store.read(labels_name(labeller.tokens[number]))
            return _Read(since, row=labeller.row(number, content))
        except AbsentError:
            pass
        except ValueError:  # damaged; if it is the store, writing says so
            pass
        if again and not manifest.may_try(number):
            return _Read(
                since, error="each process that began to label it died, most often for want of memory"
            )
        try:
            return _Read(since, sample=labeller.read(number))
        except Exception as error:  # noqa: BLE001 - one damaged sample must not stop the others
            return _Read(since, error=in_a_sentence(error))

    def _label(self, labeller: Labeller, number: int, read: "_Read") -> tuple[Row, bytes | None]:
        """Label a sample that was read; no content where there is nothing to write."""
        if read.row is not None:
            return read.row, None
        error = read.error
        if read.sample is not None:
            try:
                content = labeller.label(read.sample)
                return labeller.row(number, content, since=read.since, worker=self.name), content
            except Exception as fault:  # noqa: BLE001 - the same
                error = in_a_sentence(fault)
        return labeller.blank(number, worker=self.name, error=error), None


def _summed_up(part: int, rows: Sequence[tuple[int | None, str | None, str | None]]) -> Done:
    """Sum up the points, workers and errors of the samples of a part."""
    failed = sum(error is not None for _, _, error in rows)
    kept = sum(worker is None for _, worker, _ in rows)
    points = sum(points or 0 for points, _, _ in rows)
    return Done(part, "done", len(rows) - kept - failed, kept, failed, points)


@dataclass(frozen=True)
class _Read:
    """A sample on its way: read at a moment; or labelled before; or why it cannot be read."""

    since: float
    sample: Sample | None = None
    row: Row | None = None
    error: str = ""
