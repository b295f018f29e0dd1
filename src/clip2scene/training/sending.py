"""Sending a training's log to sinks while it goes on, without ever holding it up.

``log.jsonl`` is the one truth. A thread for each sink reads what was added to it, every few seconds, and
sends it on; ``sinks.json`` says up to which step that has come. So a sink may fail and come back, a run may
be killed and go on, and each step arrives once: the next call sends what is missing.
"""

import importlib.util
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clip2scene.io import in_a_sentence, write_json
from clip2scene.runs.log import last_step, read_steps
from clip2scene.runs.run import Run
from clip2scene.runs.run_files import read_run_json
from clip2scene.runs.training_clouds import say
from clip2scene.training.sinks import OPENERS, PACKAGES, TENSORBOARD, Sink

EVERY_S = 5.0
"""Seconds between looks at the log; the first comes after as many."""
LONGEST_PAUSE_S = 120.0
"""The same after failures, each of which doubles it."""
PATIENCE_S = 30.0
"""Seconds that the end of training waits for the last steps to arrive."""

NOTES = "sinks.json"
_AT_ONCE = 500  # steps


def check_sinks(names: Sequence[str]) -> None:
    """Refuse sinks that are not known, or whose package is not installed; nothing is imported.

    Raises:
        ValueError: If there is one; the message says how to install it.
    """
    for name in names:
        if name not in OPENERS:
            raise ValueError(f"--log takes {', '.join(OPENERS)}, got {name!r}; name some of these")
        package, extra = PACKAGES[name]
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:  # the latter: a mere folder of that name
            raise ValueError(
                f"--log {name} needs the package {package}; install it by pip install '{extra}', or leave "
                f"--log {name} out"
            )


@contextmanager
def sending(run: Run, names: Sequence[str]) -> Iterator[None]:
    """Send the log of a run to sinks while the block trains; what was not sent before comes first.

    What fails is said once, tried again, and stops nothing.

    Args:
        run: The run; its log is whole up to its last line.
        names: Of the sinks, some of :data:`~clip2scene.training.sinks.OPENERS`.
    """
    notes = _Notes(run.folder) if names else None
    senders = [_Sender(run, name, notes) for name in dict.fromkeys(names) if notes is not None]
    for each in senders:
        each.start()
    try:
        yield
    finally:
        until = time.monotonic() + PATIENCE_S
        for each in senders:
            each.ended.set()
        for each in senders:
            each.join(max(0.0, until - time.monotonic()))
            each.tell_what_is_missing()


class _Notes:
    """Up to which step each sink has a run's log, and its key; shared by threads."""

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / NOTES, threading.Lock()
        self._content: dict[str, Any] = {}
        if self._path.exists():
            self._content = read_run_json(self._path)
        if not any((folder / TENSORBOARD).glob("events.*")):  # they were deleted: all steps are wanted again
            self._content.pop("tensorboard", None)

    def read(self, name: str) -> tuple[str, int]:
        """Give the key of a sink, and the last step that it has."""
        found = self._content.get(name, {})
        return found.get("key", ""), found.get("sent", 0)

    def write(self, name: str, key: str, sent: int) -> None:
        with self._lock:
            self._content[name] = {"key": key, "sent": sent}
            write_json(self._path, self._content)


class _Sender(threading.Thread):
    """Brings the lines of a log to one sink."""

    def __init__(self, run: Run, name: str, notes: _Notes) -> None:
        super().__init__(name=f"log to {name}", daemon=True)  # a server that hangs must not hold up the exit
        self.ended = threading.Event()
        self._run, self._name, self._notes = run, name, notes
        self._key, self._sent = notes.read(name)
        self._log = run.folder / "log.jsonl"
        self._place = 0  # in the log, in bytes
        self._sink: Sink | None = None
        self._fault = ""

    def run(self) -> None:
        """Look at the log now and then, and once more at the end."""
        pause = EVERY_S
        while not self.ended.wait(pause):
            pause = EVERY_S if self._forward() else min(2 * pause, LONGEST_PAUSE_S)
        if self._forward() and self._sink is not None:
            with suppress(Exception):  # all steps are there
                self._sink.close(finished=self._sent >= self._run.recipe.steps)
                self._sink = None

    def _forward(self) -> bool:
        """Send what has been added to the log; False if that failed."""
        try:
            if self._sink is None:
                self._sink = OPENERS[self._name](self._run, self._key, self._sent)
                self._key = self._sink.key
                self._notes.write(self._name, self._key, self._sent)
            while self._send_some():
                pass
        except Exception as error:  # noqa: BLE001 - whatever a library raises, training goes on
            self._fail(textwrap.shorten(in_a_sentence(error), 300, placeholder=" ..."))
            return False
        return True

    def _send_some(self) -> bool:
        """Send some steps that are due; False if there was nothing more to read."""
        assert self._sink is not None
        steps, place = read_steps(self._log, self._place)
        due, last = [], self._sent
        for step in steps:  # a run that was killed has done some steps twice, with the same result
            if step["step"] > last:
                due.append(step)
                last = int(step["step"])
        for first in range(0, len(due), _AT_ONCE):
            some = due[first : first + _AT_ONCE]
            self._sink.send(some)
            self._sent = int(some[-1]["step"])
            self._notes.write(self._name, self._key, self._sent)
        more, self._place = place > self._place, place
        return more

    def _fail(self, why: str) -> None:
        """Leave a sink that has failed, to be opened anew; say so the first time."""
        sink, self._sink = self._sink, None
        if sink is not None:
            with suppress(Exception):
                sink.close(finished=False)
        if not self._fault:
            say(f"{self._name} takes no log ({why}); training goes on, log.jsonl has all, it is tried again")
        self._fault = why

    def tell_what_is_missing(self) -> None:
        """Say at the end what a sink has not taken."""
        last = last_step(self._log)
        if self._sent < last:
            say(f"{self._name} has the steps up to {self._sent} of {last}; the same command sends the others")
