"""Filling a teacher cache together: samples are claimed, computed, written and marked as done."""

import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from clip2scene.io.claims import Claims
from clip2scene.io.shards import ShardWriter
from clip2scene.parallel import ProgressBar, count_processes, prefetch, progress_bar
from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.kept_maps import KeptMaps
from clip2scene.types import Samples

_FEWEST_PARTS, _LARGEST_PART = 64, 16
"""Parts that a data set is divided into at least; samples that a part has at most."""
_WAIT_S = 2.0


def fill_cache(
    dataset: Samples, teacher: CachedTeacher, kept: KeptMaps, *, shard_bytes: int | None = None
) -> None:
    """Compute what a cache lacks of all images, together with all others who do so now.

    It ends when all is done: it waits for others, and does what a killed one has left.

    Args:
        dataset: The samples; the same for all who share the work.
        teacher: The teacher.
        kept: Its cache.
        shard_bytes: Bytes after which a shard is written; None for a file an image.

    Raises:
        ValueError: If a sample cannot be read, or the cache cannot be used or is full.
    """
    samples = len(dataset.tokens)
    size = max(1, min(_LARGEST_PART, samples // _FEWEST_PARTS))
    claims = Claims(kept.store, f"claims/{teacher.work_name(dataset, size)}", -(-samples // size))
    shard = None if shard_bytes is None else ShardWriter(kept.store, shard_bytes)
    share = _Share(dataset, teacher, kept, claims, size, shard)
    bar = progress_bar(total=samples, desc="teacher features", unit="sample")
    with claims, closing(bar), nullcontext() if shard is None else closing(shard):
        while True:
            part = claims.take()
            if part is not None:
                for _ in share.compute_from(part):
                    _show(bar, share)
            elif claims.all_done():
                break
            else:
                time.sleep(min(_WAIT_S, claims.lease_s / 4))
                claims.look(at_once=True)
            _show(bar, share, waits=part is None)


@dataclass
class _Share:
    """This process's share of the work.

    Attributes:
        size: Samples of a part, but for the last.
        under_way: Samples of each part that was begun here and are not computed yet.
        unmarked: Parts that are computed; where there is a shard, their maps may still wait in it.
    """

    dataset: Samples
    teacher: CachedTeacher
    kept: KeptMaps
    claims: Claims
    size: int
    shard: ShardWriter | None
    under_way: dict[int, int] = field(default_factory=dict)
    unmarked: list[int] = field(default_factory=list)
    rounds: int = 0

    def compute_from(self, part: int) -> Iterator[None]:
        """Compute a part and whatever can be claimed after it; yields after each sample."""
        kept = self.kept if self.rounds == 0 else self.kept.reopened()  # with what others have written since
        self.rounds += 1
        left = len(self.dataset.tokens) - len(self.claims.done) * self.size
        alone = self.teacher.teacher.device.type != "cpu"
        processes = count_processes(left, alone=alone)
        compute = partial(_compute, self.dataset, self.teacher, kept, self.shard is None)
        try:
            for number, entries in prefetch(
                compute, self._numbers(part), processes=processes, title="teacher features"
            ):
                self._take_in(number, entries)
                yield
        except KeyboardInterrupt:
            self._mark()
            raise
        self._mark()

    def computed(self) -> int:
        """Count the samples that are computed, here or elsewhere."""
        begun = sum(self._samples_of(part) - left for part, left in self.under_way.items())
        parts = self.claims.done.union(self.unmarked)
        return begun + sum(map(self._samples_of, parts))

    def _samples_of(self, part: int) -> int:
        return min(self.size, len(self.dataset.tokens) - part * self.size)

    def _numbers(self, part: int | None) -> Iterator[int]:
        while part is not None:
            self.under_way[part] = self._samples_of(part)
            yield from range(part * self.size, part * self.size + self._samples_of(part))
            part = self.claims.take()

    def _take_in(self, number: int, entries: dict[str, bytes]) -> None:
        """Note that a sample is computed, and put its maps into the shard, if there is one."""
        full = False
        for name, content in entries.items():
            assert self.shard is not None
            full = self.shard.add(name, content) or full
        part = number // self.size
        self.under_way[part] -= 1
        if not self.under_way[part]:
            del self.under_way[part]
            self.unmarked.append(part)
        if self.shard is None or full:
            self._mark()

    def _mark(self) -> None:
        """Mark what is computed as done, once it is written."""
        if self.shard is not None:
            self.shard.flush()
        while self.unmarked:
            self.claims.finish(self.unmarked.pop())


def _compute(
    dataset: Samples, teacher: CachedTeacher, kept: KeptMaps, write: bool, number: int
) -> tuple[int, dict[str, bytes]]:
    """Compute what is missing of a sample; write it, or give it back with the sample's number."""
    missing = replace(teacher, kept=kept).missing(dataset[number])
    if not write:
        return number, missing
    for name, content in missing.items():
        kept.store.write(name, content)
    return number, {}


def _show(bar: ProgressBar, share: _Share, *, waits: bool = False) -> None:
    """Show how many samples are computed, and who else is at work."""
    others = share.claims.others
    if others:
        who = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        bar.set_postfix_str(f"{'waits for' if waits else 'beside'} {who}", refresh=False)
    else:
        bar.set_postfix_str("", refresh=False)
    bar.update(share.computed() - bar.n)
