"""Work that processes and machines share through a store: each claims parts, a killed one's are taken over.

A claim is a small content that only one can create, ``<part>.<generation>``. Its holder writes it anew four
times a lease. Who has seen one unchanged for a whole lease, by a clock of its own, takes the part over by
creating the next generation. So no clocks are compared, and no machine needs to reach another.
"""

import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from uuid import uuid4

from clip2scene.io.store import AbsentError, Store

LEASE_S = 60.0
"""Seconds without a sign after which a claim counts as one of a killed process."""
_LAST_RENEWAL_S = 5.0
_MOST_BYTES = 1000
_DONE = "done"


@dataclass
class Claims:
    """Parts of a piece of work, by number, as a context in which this process's claims are kept alive.

    What is done is marked. The marks are removed by whoever sees all parts marked; who comes later finds
    nothing, and goes through all parts again. A part may in the end be done twice, if its holder was only
    thought to be killed: what is written for it must be the same then.

    Attributes:
        store: Where those who share the work meet.
        folder: Of the claims, a name in the store: one for each piece of work.
        parts: How many there are.
        lease_s: As :data:`LEASE_S`; the same for all who share the work.
        clock: Gives seconds.
        done: Numbers of the parts that are, as far as was seen.
        others: Who else was at work when it was last looked: machine and process of each.
    """

    store: Store
    folder: str
    parts: int
    lease_s: float = LEASE_S
    clock: Callable[[], float] = time.monotonic
    done: set[int] = field(init=False, default_factory=set)
    others: tuple[str, ...] = field(init=False, default=())
    _held: dict[int, str] = field(init=False, default_factory=dict)
    _live: dict[int, int] = field(init=False, default_factory=dict)
    _signs: dict[str, tuple[bytes, float]] = field(init=False, default_factory=dict)
    _listed_at: float | None = field(init=False, default=None)
    _ended: threading.Event = field(init=False, default_factory=threading.Event)
    _renewals: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._holder = f"{platform.node() or 'unnamed'} {os.getpid()} {uuid4().hex[:12]}"
        self._keeper = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> "Claims":
        """Begin to keep claims alive."""
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is claimed and not done, so that others need not wait for it."""
        self._ended.set()
        self._keeper.join(timeout=_LAST_RENEWAL_S)
        with suppress(ValueError):
            for name in list(self._held.values()):
                self.store.remove(name)
        self._held.clear()

    def take(self) -> int | None:
        """Claim a part that nobody works at.

        Returns:
            Its number; None if all are done or claimed.

        Raises:
            ValueError: If the store cannot be used.
        """
        self.look()
        for part in range(self.parts):
            if part in self.done or part in self._held:
                continue
            generation = self._next_generation(part)
            if generation:  # its holder seems to be gone: look once more
                self.look(at_once=True)
                generation = None if part in self.done else self._next_generation(part)
            if generation is None:
                continue
            name = f"{self.folder}/{part:07}.{generation}"
            if self.store.create(name, self._sign()):
                self._held[part] = name
                return part
            self._live[part] = generation
            self._signs[name] = (b"", self.clock())  # somebody was faster; next time its sign is read
        return None

    def finish(self, part: int) -> None:
        """Mark a part as done.

        Raises:
            ValueError: If the store cannot be used.
        """
        self.store.write(f"{self.folder}/{part:07}.{_DONE}", self._sign())
        self.done.add(part)
        self._held.pop(part, None)

    def look(self, *, at_once: bool = False) -> None:
        """See what others have done and claimed; not again within a twelfth of the lease, unless ``at_once``.

        Raises:
            ValueError: If the store cannot be used.
        """
        now = self.clock()
        if not at_once and self._listed_at is not None and now - self._listed_at < self.lease_s / 12:
            return
        self._listed_at, self._live = now, {}
        for name in self.store.names(f"{self.folder}/"):
            number, _, kind = name.rpartition("/")[2].partition(".")
            if not number.isdecimal() or int(number) >= self.parts:
                continue
            if kind == _DONE:
                self.done.add(int(number))
            elif kind.isdecimal():
                self._live[int(number)] = max(int(kind), self._live.get(int(number), 0))
        holders = set()
        for part, generation in self._live.items():
            if part in self.done or part in self._held:
                continue
            holder = self._read_sign(f"{self.folder}/{part:07}.{generation}")
            if holder is not None and self._next_generation(part) is None:
                holders.add(holder)
        self.others = tuple(sorted(holders))

    def all_done(self) -> bool:
        """Tell whether every part is done; if so, claims and marks are removed.

        Raises:
            ValueError: If the store cannot be used.
        """
        if len(self.done) < self.parts:
            return False
        for name in self.store.names(f"{self.folder}/"):
            self.store.remove(name)
        return True

    def _next_generation(self, part: int) -> int | None:
        """Say which generation of a claim is to be created; None while somebody holds the part."""
        if part not in self._live:
            return 0
        name = f"{self.folder}/{part:07}.{self._live[part]}"
        since = self._signs.get(name, (b"", self.clock()))[1]
        return self._live[part] + 1 if self.clock() - since > self.lease_s else None

    def _read_sign(self, name: str) -> str | None:
        """Read a claim and remember since when it has been like this; give its holder."""
        try:
            sign = self.store.read(name, most=_MOST_BYTES)
        except AbsentError:  # given back just now
            return None
        if self._signs.get(name, (b"",))[0] != sign:
            self._signs[name] = (sign, self.clock())
        return " ".join(sign.decode(errors="replace").split()[:2])

    def _sign(self) -> bytes:
        self._renewals += 1
        return f"{self._holder} {self._renewals}".encode()

    def _keep_alive(self) -> None:
        while not self._ended.wait(self.lease_s / 4):
            for part, name in list(self._held.items()):
                with suppress(ValueError):  # a store that fails for long is noticed where work is written
                    if part in self._held and not self._ended.is_set():
                        self.store.write(name, self._sign())
