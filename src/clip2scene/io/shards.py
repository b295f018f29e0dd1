"""Many small contents in few large ones: shards, each with its index and a checksum of every entry.

A shard is a safetensors file, which any reader of those opens: a tensor of bytes for each entry, by its name,
and the entries' CRC-32 in the header's metadata. It is written in one move, so it is there with its whole
index or not at all, and named by a hash of that index: who writes the same entries writes the same shard.
"""

import hashlib
import json
import logging
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip2scene.io.reading import without_repeats
from clip2scene.io.store import MOST_BYTES, Store
from clip2scene.io.writing import telling_of_a_full_disk

SHARDS = "shards"
"""The folder of the shards in their store."""
_FIRST_READ, _MOST_HEADER = 1 << 16, 1 << 26
_ENTRY = np.dtype([("name", "S32"), ("shard", "i4"), ("start", "i8"), ("length", "i8"), ("crc", "u4")])
"""An entry of the index in memory: 56 bytes, 10 MB for nuScenes."""

_log = logging.getLogger(__name__)


class ShardWriter:
    """Collects entries in a temporary file, and writes them as one shard when there are enough.

    Args:
        store: Where shards are written.
        most_bytes: Bytes of entries after which a shard is full.
    """

    def __init__(self, store: Store, most_bytes: int) -> None:
        self._store, self._most_bytes = store, most_bytes
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the writer
        self._entries: list[tuple[str, int, int]] = []
        self._names: set[str] = set()

    def add(self, name: str, content: bytes) -> bool:
        """Add an entry, unless one of that name waits already.

        Returns:
            Whether the shard is full.

        Raises:
            ValueError: If the disk of temporary files is full.
        """
        if name not in self._names:
            with telling_of_a_full_disk(Path(tempfile.gettempdir())):
                self._spool.write(content)
            self._entries.append((name, len(content), zlib.crc32(content)))
            self._names.add(name)
        return self._spool.tell() >= self._most_bytes

    def flush(self) -> str | None:
        """Write the shard of all entries that wait.

        Returns:
            Its name in the store; None if there are none.

        Raises:
            ValueError: If the store cannot be used.
        """
        if not self._entries:
            return None
        header: dict[str, Any] = {"__metadata__": {name: f"{crc:08x}" for name, _, crc in self._entries}}
        start = 0
        for name, length, _ in self._entries:
            header[name] = {"dtype": "U8", "shape": [length], "data_offsets": [start, start + length]}
            start += length
        text = json.dumps(header, separators=(",", ":")).encode()
        text = text.ljust(-(-len(text) // 8) * 8)
        shard = f"{SHARDS}/{hashlib.sha256(text).hexdigest()[:32]}.safetensors"
        with telling_of_a_full_disk(Path(tempfile.gettempdir())), tempfile.NamedTemporaryFile() as whole:
            whole.write(len(text).to_bytes(8, "little") + text)
            self._spool.seek(0)
            shutil.copyfileobj(self._spool, whole, 1 << 20)
            whole.flush()
            self._store.write_file(shard, Path(whole.name))
        self._spool.seek(0)
        self._spool.truncate()
        self._entries, self._names = [], set()
        return shard

    def close(self) -> None:
        """Drop what waits."""
        self._spool.close()


@dataclass(frozen=True)
class ShardIndex:
    """Where entries lie in the shards of a store, as it was when the index was read.

    Attributes:
        store: Of the shards.
        shards: Their names.
        entries: Sorted by the hashes of their names; an entry may lie in several shards.
    """

    store: Store
    shards: tuple[str, ...]
    entries: np.ndarray

    def __contains__(self, name: str) -> bool:
        """Tell whether a shard has an entry of that name, be it damaged."""
        return len(self._find(name)) > 0

    def read(self, name: str) -> bytes | None:
        """Give an entry.

        Returns:
            Its bytes; None if there is none, or none that is whole.

        Raises:
            ValueError: If the store cannot be used.
        """
        for entry in self._find(name):
            content = self.store.read_range(
                self.shards[entry["shard"]], int(entry["start"]), int(entry["length"])
            )
            if len(content) == entry["length"] and zlib.crc32(content) == entry["crc"]:
                return content
            _log.warning(
                "note: an entry of %s/%s is damaged", self.store.address, self.shards[entry["shard"]]
            )
        return None

    def _find(self, name: str) -> np.ndarray:
        key = _key(name)
        first, last = (np.searchsorted(self.entries["name"], key, side=side) for side in ("left", "right"))
        return self.entries[first:last]


def read_index(store: Store) -> ShardIndex:
    """Read the indexes of all shards; one that is damaged is left out, as if its shard were not there.

    Raises:
        ValueError: If the store cannot be used.
    """
    shards = tuple(store.names(f"{SHARDS}/"))
    tables = []
    for number, shard in enumerate(shards):
        header = _read_header(store, shard)
        try:
            rows = [(name, number, *place) for name, *place in _parse(header)]
            tables.append(np.array(rows, dtype=_ENTRY))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            _log.warning("note: %s/%s has no whole index, and is not used", store.address, shard)
    entries = np.concatenate([np.empty(0, _ENTRY), *tables])
    return ShardIndex(store, shards, entries[np.argsort(entries["name"], kind="stable")])


def _read_header(store: Store, shard: str) -> bytes:
    """Read the header of a shard with the eight bytes before it; cut short where it is too long to be one."""
    begin = store.read_range(shard, 0, _FIRST_READ)
    length = int.from_bytes(begin[:8], "little")
    if len(begin) - 8 < length <= _MOST_HEADER:
        begin += store.read_range(shard, len(begin), length + 8 - len(begin))
    return begin[: 8 + length]


def _parse(text: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Give the hashed name, first byte, length and checksum of each entry of a shard, from its header."""
    if len(text) < 8 or len(text) != 8 + int.from_bytes(text[:8], "little"):
        raise ValueError
    header = json.loads(text[8:], object_pairs_hook=without_repeats)
    for name, crc in header.pop("__metadata__").items():
        start, end = header[name]["data_offsets"]
        if not (0 <= start <= end < 1 << 62 and end - start <= MOST_BYTES):
            raise ValueError  # where the shard ends before, its reader notices
        yield _key(name), len(text) + start, end - start, int(crc, 16)


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest().encode()
