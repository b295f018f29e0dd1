"""Parts done by a pool of processes of this machine, each of which holds the model."""

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from clip2scene.inference.fleet.manifest import Unit
from clip2scene.inference.fleet.part import Done, Task, Worker
from clip2scene.parallel import end_with_parent, environment_of_worker

_MOST_DEATHS = 6
"""Of processes, one after another, without a sample done in between; a bad sample takes three."""
_SAMPLE = "a sample is done"


@dataclass
class _Member:
    """A process of the pool, and the part that it does."""

    process: SpawnProcess
    pipe: Connection
    device: str
    unit: Unit | None = None


def label_in_pool(
    task: Task, units: Sequence[Unit], *, workers: int, device: str = "cpu"
) -> Generator[Done | None, None, None]:
    """Do parts with a pool of processes.

    A process that dies takes along the sample that it was at: another one goes on with its part.

    Args:
        task: What to do.
        units: The parts.
        workers: How many processes, each of which computes with one thread.
        device: What torch computes on; with ``cuda``, each process has a GPU of its own in turn (*not run*).

    Yields:
        What came of a part; None when a sample is done.

    Raises:
        ValueError: If processes die again and again.
    """
    waiting, members, deaths = deque(units), list[_Member](), 0
    try:
        members += [_start(task, _device(device, n)) for n in range(min(workers, len(units)))]
        while waiting or any(member.unit for member in members):
            for member in members:
                if member.unit is None and waiting:
                    member.unit = waiting.popleft()
                    with suppress(OSError):  # it died; that is seen below
                        member.pipe.send(member.unit)
            by_pipe = {member.pipe: member for member in members if member.unit is not None}
            for pipe in wait(list(by_pipe)):
                assert isinstance(pipe, Connection)  # as it was put in
                member = by_pipe[pipe]
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    deaths += 1
                    _check_deaths(deaths, member)
                    assert member.unit is not None
                    waiting.appendleft(member.unit)
                    members[members.index(member)] = _start(task, member.device)
                    continue
                deaths = 0
                if message != _SAMPLE:
                    member.unit = None
                yield None if message == _SAMPLE else message
    finally:
        _stop(members)


def _device(device: str, number: int) -> str:
    """Choose the GPU of a process, where there are several."""
    return f"cuda:{number % max(1, torch.cuda.device_count())}" if device == "cuda" else device


def _start(task: Task, device: str) -> _Member:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, task, device))
    with environment_of_worker(1):
        process.start()
    theirs.close()  # the process has it; with ours open, its end would never be noticed
    return _Member(process, ours, device)


def _stop(members: Sequence[_Member]) -> None:
    """End the processes: those that wait, by a word; those that work, by a signal."""
    for member in members:
        if member.unit is None:
            with suppress(OSError):
                member.pipe.send(None)
        else:
            member.process.terminate()
    for member in members:
        member.process.join()
        member.pipe.close()


def _check_deaths(deaths: int, member: _Member) -> None:
    if deaths < _MOST_DEATHS:
        return
    member.process.join()
    raise ValueError(
        f"{deaths} processes died one after another, the last with code {member.process.exitcode}, most "
        "often for want of memory; free some, or start fewer with --workers, and run again: what is done is "
        "kept"
    )


def _serve(pipe: Connection, task: Task, device: str) -> None:
    """Do parts in a process of its own, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides when to stop
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=end_with_parent, daemon=True).start()
    worker = Worker(task, device)
    with suppress(KeyboardInterrupt, EOFError):
        while (unit := pipe.recv()) is not None:
            reply: Any = worker.do(unit, lambda: pipe.send(_SAMPLE))
            pipe.send(reply)
