"""What is done, and who does what: files in the store that all jobs on it share.

=================================  ===========================================================================
``job.json``                       the key of all that the labels follow from; how samples are put in parts
``labels/TOKEN.labels.npz``        labels and scores of a sample; once it is there, the sample is done
``parts/PART.parquet``             a row a sample; once it is there, the part is done
``failed/PART/TOKEN.json``         a sample that could not be labelled, and why
``claims/PART.GENERATION.json``    which job does a part; the next generation, if that job died
``jobs/JOB.json``                  a job at work: rewritten every few seconds, removed at its end
``tries/NUMBER.TRY.json``          of a sample whose process died before: that it is tried again
=================================  ===========================================================================

A claim is *created*: of many who try, one succeeds. A job that was killed is known to be dead at once on
its own machine, and by a minute without a sign from others; no clocks are compared. If it was not dead but
slow, a part is done by two, who write the same labels.
"""

import json
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from clip2scene.io.store import AbsentError, Store

FORMAT, VERSION = "clip2scene-fleet", 1
SILENT_S = 60.0
"""Seconds without a sign after which another machine's job is taken for dead."""
_SIGN_S = 5.0
_MOST_BYTES = 1 << 20
_MOST_TABLE_BYTES = 1 << 26  # of the rows of 64 samples, which have a column for each class
_TRIES = 2  # of a sample whose process died, beside the one in which it died
_LARGEST_PART = 64
_PARTS = 32  # at least, where there are so many samples


_PART_NAME = re.compile(r"parts/([0-9]{8})\.parquet")
_FAILED_NAME = re.compile(r"failed/([0-9]{8})/.+\.json")
_CLAIM_NAME = re.compile(r"claims/([0-9]{8})\.([0-9]{4,})\.json")


class _DamagedError(ValueError):
    """A file of the manifest holds something else than it should."""


class Unit(NamedTuple):
    """A part to do, and the generation of the claim on it."""

    part: int
    generation: int


Claimed = Literal["new", "again", "mine", "held"]
"""A part is this job's to do; it is, and another job died over it; this job claimed it before; it is another
job's."""


@dataclass(frozen=True)
class Manifest:
    """The files in a store.

    Attributes:
        store: Where they lie.
        job: Name of this job.
        samples: How many samples there are.
        size: How many of them a part has; the last may have fewer.
    """

    store: Store
    job: str
    samples: int
    size: int

    @classmethod
    def open(cls, store: Store, key: str, samples: int, asked: dict[str, Any]) -> "Manifest":
        """Begin a manifest, or open the one that is there.

        Args:
            store: Where it lies.
            key: All that the labels follow from.
            samples: How many samples there are.
            asked: The same, to be read by people.

        Raises:
            ValueError: If the store holds labels of another key, or something else.
        """
        size = max(1, min(_LARGEST_PART, samples // _PARTS))
        job = uuid.uuid4().hex[:12]
        told = {"format": FORMAT, "version": VERSION, "key": key, "samples": samples}
        if not store.exists("job.json"):
            if store.names("labels/") or store.names("parts/"):
                raise ValueError(f"{store.address} holds labels that no job wrote; name another --out")
            content = {**told, "part": size, "asked": asked, "begun_by": job}
            store.create("job.json", json.dumps(content, indent=1).encode())
        found = _read_json(store, "job.json")
        if {name: found.get(name) for name in told} != told:
            raise ValueError(_another(store, found, asked))
        each = found.get("part")
        if type(each) is not int or each < 1:
            raise ValueError(f"job.json of {store.address} is damaged (part {each!r}); name another --out")
        return cls(store, job, samples, each)

    def numbers(self, part: int) -> range:
        """List the samples of a part."""
        return range(part * self.size, min((part + 1) * self.size, self.samples))

    @property
    def num_parts(self) -> int:
        """Count the parts."""
        return -(-self.samples // self.size)

    def done(self) -> frozenset[int]:
        """List the parts that are done, samples that failed among theirs."""
        return frozenset(part for part, _ in _numbered(self.store, "parts/", _PART_NAME))

    def read_part(self, part: int) -> bytes | None:
        """Give the rows of a part; None where it is not done."""
        try:
            return self.store.read(_part(part), _MOST_TABLE_BYTES)
        except AbsentError:
            return None

    def failed(self) -> dict[int, list[str]]:
        """List what is written of samples that failed, by their part."""
        found: dict[int, list[str]] = {}
        for part, match in _numbered(self.store, "failed/", _FAILED_NAME):
            found.setdefault(part, []).append(match.string)
        return found

    def claims(self) -> dict[int, int]:
        """Give the latest generation of the claims on each part."""
        found: dict[int, int] = {}
        for part, match in _numbered(self.store, "claims/", _CLAIM_NAME):
            found[part] = max(int(match[2]), found.get(part, 0))
        return found

    def owner(self, unit: Unit) -> str:
        """Name the job that has claimed a part; empty where the claim cannot be read."""
        try:
            return str(_read_json(self.store, _claim(unit)).get("job", ""))
        except (AbsentError, _DamagedError):
            return ""

    def claim(self, unit: Unit) -> Claimed:
        """Claim a part for this job."""
        mark = {"job": self.job, "mark": uuid.uuid4().hex}
        if self.store.create(_claim(unit), json.dumps(mark).encode()):
            return "new" if unit.generation == 0 else "again"
        return "mine" if self.owner(unit) == self.job else "held"

    def may_try(self, number: int) -> bool:
        """Tell whether a sample may be tried once more, though a process died over its part."""
        mark = uuid.uuid4().hex.encode()
        return any(self.store.create(_try(number, each), mark) for each in range(_TRIES))

    def finish(self, part: int, table: bytes, failed: dict[str, str], *, again: bool) -> None:
        """Note that a part is done.

        Args:
            part: Its number.
            table: Its rows, a Parquet file.
            failed: Why samples could not be labelled, by their names.
            again: Whether it was begun before, so that something may be left of that.
        """
        names = {token: f"failed/{part:08d}/{token}.json" for token in failed}
        for token, name in names.items():
            self.store.write(name, json.dumps({"token": token, "reason": failed[token]}).encode())
        self.store.write(_part(part), table)
        if again:
            left = set(self.store.names(f"failed/{part:08d}/")) - set(names.values())
            tried = [_try(number, each) for number in self.numbers(part) for each in range(_TRIES)]
            for name in [*left, *tried]:
                self.store.remove(name)

    def reasons(self) -> dict[str, str]:
        """Say why samples failed, by their names."""
        found = {}
        for names in self.failed().values():
            for name in names:
                with suppress(AbsentError):  # done meanwhile
                    content = _read_json(self.store, name)
                    found[str(content.get("token"))] = str(content.get("reason"))
        return found

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Give signs of life while the block lasts."""
        name, over = f"jobs/{self.job}.json", threading.Event()
        me = {"place": _place(), "pid": os.getpid(), "started": _started(os.getpid())}

        def give_signs() -> None:
            sign = 0
            while not over.wait(_SIGN_S):
                sign += 1
                with suppress(ValueError):  # whoever works meets the fault of the store, and says so
                    self.store.write(name, json.dumps({**me, "sign": sign}).encode())

        self.store.write(name, json.dumps({**me, "sign": 0}).encode())
        thread = threading.Thread(target=give_signs, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with suppress(ValueError):
                self.store.remove(name)


@dataclass
class Others:
    """The other jobs on a store, watched for signs of life.

    Attributes:
        store: Where they give them.
    """

    store: Store
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def is_alive(self, job: str) -> bool:
        """Tell whether a job is at work, as far as can be known."""
        try:
            about = _read_json(self.store, f"jobs/{job}.json")
        except (AbsentError, _DamagedError):
            return False
        pid, sign, now = about.get("pid"), about.get("sign", 0), time.monotonic()
        if type(pid) is not int or type(sign) is not int:
            return False
        if about.get("place") == _place() and _place():
            return bool(_started(pid) == about.get("started"))
        last, since = self._seen.get(job, (-1, now))
        if sign != last:
            self._seen[job] = (sign, now)
            return True
        return now - since < SILENT_S


def _another(store: Store, found: dict[str, Any], asked: dict[str, Any]) -> str:
    """Say what a store holds the labels of."""
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        return f"job.json of {store.address} is of something else; name another --out"
    before = found.get("asked")
    before = before if isinstance(before, dict) else {}
    differ = [name for name in asked if before.get(name) != asked[name]]
    what = ", ".join(f"{name} {before.get(name)!r}, not {asked[name]!r}" for name in differ)
    return (
        f"{store.address} holds labels of another run, words, settings or samples "
        f"({what or 'other content under the same names'}); name another --out, or give the same command"
    )


def _read_json(store: Store, name: str) -> dict[str, Any]:
    text = store.read(name, _MOST_BYTES)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise _DamagedError(f"{name} of {store.address} is damaged; remove it, and run again")
    return content


def _part(part: int) -> str:
    return f"parts/{part:08d}.parquet"


def _claim(unit: Unit) -> str:
    return f"claims/{unit.part:08d}.{unit.generation:04d}.json"


def _try(number: int, each: int) -> str:
    return f"tries/{number:010d}.{each}.json"


def _numbered(store: Store, prefix: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, re.Match[str]]]:
    """Give the files of parts with their numbers, without what other programs left there (``.DS_Store``)."""
    for name in store.names(prefix):
        if match := pattern.fullmatch(name):
            yield int(match[1]), match


def _place() -> str:
    """Name what process numbers are of: this boot of this machine, and this container; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Say when a process began, in the system's own count; empty if none of that number lives."""
    try:
        after_name = (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2]
        )
    except OSError:
        return ""
    state, *numbers = after_name.split()
    return "" if state in "ZX" else numbers[18]
