"""Processes: whole tasks in their own, many small parts shared among a few, file locks, progress bars.

A task's process that dies, for want of memory say, takes nothing along but its own task.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet

import torch
from filelock import FileLock, Timeout
from torch.utils.data import DataLoader
from tqdm import tqdm

from clip2scene.io import in_a_sentence

Task = TypeVar("Task")
Result = TypeVar("Result")

_SECONDS_BETWEEN_POLLS = 2.0
_KILLED = -9  # the exit code; Windows does not know this signal
_WORTH_A_PROCESS = 4  # parts; for fewer, none is started
ProgressBar: TypeAlias = tqdm
_SECONDS_BETWEEN_LINES = 30.0  # of a progress bar in a log file
_bars: WeakSet[ProgressBar] = WeakSet()
_TORCH_SAYS_OF_THE_KILLED = ("exited unexpectedly", "is killed by signal")


def run_isolated(
    work: Callable[[Task], None],
    tasks: Sequence[Task],
    *,
    workers: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> Generator[tuple[Task, str], None, None]:
    """Do tasks, in order and several at a time; give each back when it has ended.

    Args:
        work: What to do. With more than one worker it is sent to other processes, so it must be a function
            that a module defines.
        tasks: What to do it with.
        workers: How many at a time. One works in this process, where its progress bars are visible.
        meanwhile: Called every 2 seconds while others work.

    Yields:
        A task, and in a sentence why it failed; an empty text when it did not.

    Raises:
        KeyboardInterrupt: If the user interrupts; the tasks under way are stopped first.
    """
    if workers == 1:
        for task in tasks:
            yield task, _try(work, task)
        return
    waiting, running = deque(tasks), dict[int, tuple[Task, SpawnProcess, Connection]]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task = waiting.popleft()
                process, reply = _start(work, task, max(1, count_cores() // workers))
                running[process.sentinel] = (task, process, reply)
            for sentinel in wait(list(running), timeout=_SECONDS_BETWEEN_POLLS):
                assert isinstance(sentinel, int)  # as it was put in
                task, process, reply = running.pop(sentinel)
                yield task, _ending(process, reply)
            meanwhile()
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.join()


def parallel_for(
    work: Callable[[int], None], parts: Sequence[int], *, title: str, unit: str, alone: bool = False
) -> None:
    """Do the parts of a piece of work, shared among as many processes as torch may use threads here.

    Each process computes with one thread: over many images that is faster than many threads over each.

    Args:
        work: Does the part of a number. Other processes get a copy, so its result has to be a file.
        parts: Their numbers.
        title: Shown beside the progress bar.
        unit: What a part is.
        alone: Whether this process does it all, as where a GPU computes, which no copy of a process can use.

    Raises:
        ValueError: The first that a part raised, in its own words, a full disk among them; or if a process
            died.
    """
    done = prefetch(work, parts, processes=count_processes(len(parts), alone=alone), title=title)
    for _ in progress_bar(done, desc=title, unit=unit, total=len(parts)) if parts else ():
        pass


def count_processes(parts: int, *, alone: bool = False) -> int:
    """Say how many processes share so many parts of a piece of work; 0 where this one does it all."""
    processes = 1 if alone else min(torch.get_num_threads(), parts // _WORTH_A_PROCESS)
    return processes if processes > 1 else 0


def prefetch(
    read: Callable[[int], Result],
    numbers: Iterable[int],
    *,
    processes: int,
    title: str,
    pin_memory: bool = False,
) -> Generator[Result, None, None]:
    """Read things in order, ahead of whoever uses them.

    Args:
        read: Gives the thing of a number. Other processes get a copy.
        numbers: Their numbers; asked for in this process, as they are needed.
        processes: How many read, two things ahead each; 0 reads in this process, on demand.
        title: What the processes are for.
        pin_memory: Whether tensors are put where a GPU fetches them fastest. Never run on a GPU.

    Yields:
        What ``read`` gives.

    Raises:
        ValueError: The first that a read raised, in its own words, a full disk among them; or if a process
            died.
    """
    loader: DataLoader[tuple[Result | None, str]] = DataLoader(
        _Readings(read),  # type: ignore[arg-type]  # it has what torch asks of a data set
        batch_size=None,
        sampler=numbers,
        num_workers=processes,
        pin_memory=pin_memory,
    )
    try:
        for result, wrong in loader:
            if wrong:
                raise ValueError(wrong)
            yield result
    except RuntimeError as error:
        if not any(words in str(error) for words in _TORCH_SAYS_OF_THE_KILLED):
            raise  # a fault of ours in one of the processes, with its traceback
        raise ValueError(
            f"a process of {title!r} was killed, most often for want of memory; free some, or start "
            "fewer with OMP_NUM_THREADS, and run again: what is done is kept"
        ) from None


@dataclass(frozen=True)
class _Readings:
    """Things to read as torch's loader wants them: a data set of results, or what went wrong instead."""

    read: Callable[[int], Any]

    def __getitem__(self, number: int) -> tuple[Any, str]:
        try:
            return self.read(number), ""
        except (ValueError, OSError) as error:  # from another process they would come with its traceback
            return None, str(error) or type(error).__name__


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Let one process at a time into the block, for work that the next one then finds done.

    A process that dies in the block lets the next one in.

    Args:
        path: File that stands for the block; made with its folder, and removed at the end, as is the folder
            if it was made here and nothing else is in it.
        wait: Whether to wait for the one inside.

    Raises:
        ValueError: If another is inside and ``wait`` is off.
    """
    made, lock = not path.parent.exists(), FileLock(path, blocking=wait)
    while not lock.is_locked:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise ValueError(
                f"another process works in {path.parent}; wait until it is done, or stop it"
            ) from None
        except (FileNotFoundError, FileExistsError):  # who was inside removes the folder just now
            if path.parent.exists() and not path.parent.is_dir():
                raise
    try:
        yield
    finally:
        with suppress(PermissionError):  # on Windows, where the lock removes its file itself
            path.unlink(missing_ok=True)  # while it is held: who waits for it will see that it is gone
        lock.release()
        if made:
            with suppress(OSError):
                path.parent.rmdir()


def progress_bar(things: Iterable[Any] | None = None, **options: Any) -> ProgressBar:  # noqa: ANN401 - tqdm's
    """Make a progress bar; all that the package shows are made here.

    In a log file it is a line now and then: at the start, every half minute and at the end.

    Args:
        things: What to go through; None for a bar that its maker moves on.
        options: As tqdm takes them.
    """
    if not sys.stderr.isatty():
        options |= {"file": _Lines(), "mininterval": _SECONDS_BETWEEN_LINES, "miniters": 1}
    bar = tqdm(things, **options)
    _bars.add(bar)
    return bar


def end_progress() -> None:
    """Close the bars that a fault left open, so that a message begins on a line of its own."""
    for bar in list(_bars):
        bar.close()


class _Lines:
    """Where bars are written that nobody watches: each state has a line of its own."""

    def write(self, text: str) -> None:
        state = text.replace("\x1b[A", "").strip()
        if state:
            sys.stderr.write(f"{state}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def count_cores() -> int:
    """Count the cores that this process may use, 1 or more."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _try(work: Callable[[Task], None], task: Task) -> str:
    try:
        work(task)
    except Exception as error:  # noqa: BLE001 - one task's fault must not stop the others
        return in_a_sentence(error)
    return ""


# No library's pool here: pebble's keeps spare processes, each of which imports torch, and breaks when one of
# these is killed; and what it stops it kills three seconds later, so that half-written files stay.
def _start(work: Callable[[Task], None], task: Task, threads: int) -> tuple[SpawnProcess, Connection]:
    """Start a process for one task."""
    spawn = multiprocessing.get_context("spawn")
    reply, ours = spawn.Pipe(duplex=False)
    precision = torch.get_float32_matmul_precision()
    process = spawn.Process(target=_work_isolated, args=(ours, work, task, precision))
    with environment_of_worker(threads):
        process.start()
    ours.close()  # the other process has it; with ours open, its end would never be noticed
    return process, reply


@contextmanager
def environment_of_worker(threads: int) -> Iterator[None]:
    """Set what libraries read when they are imported, and put it back."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    changes = {
        "OMP_NUM_THREADS": str(min(threads, int(given)) if given.isdigit() and int(given) else threads),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TQDM_DISABLE": "1",  # bars of several processes would write over each other
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _work_isolated(reply: Connection, work: Callable[[Any], None], task: Any, precision: str) -> None:  # noqa: ANN401
    """Do one task in a process of its own, and report how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides when to stop
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_float32_matmul_precision(precision)
    try:
        reply.send(_try(work, task))
    except KeyboardInterrupt:
        sys.exit(130)


def end_with_parent() -> None:
    """Stop when the process that began this one is gone: a second call would find this one in its folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(130)


def _ending(process: SpawnProcess, reply: Connection) -> str:
    """Read how a process ended."""
    process.join()
    with reply, suppress(EOFError):
        if reply.poll():
            return reply.recv()
    killed = ": it was killed, most often for want of memory" if process.exitcode == _KILLED else ""
    return f"its process ended with code {process.exitcode}{killed}"


def check_device(device: str) -> torch.device:
    """Give the device of a name; refuse one that is not there.

    Raises:
        ValueError: If torch cannot compute on it.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch says the latter where it was built without CUDA
        raise ValueError(
            f"cannot compute on device {device!r} ({str(error).splitlines()[0]}); expected a name such as "
            "cpu or cuda:0"
        ) from None
