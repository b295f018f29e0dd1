"""Copies of a store's contents on the local disk, for what never changes under its name."""

import hashlib
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clip2scene.io.store import MOST_BYTES, FolderStore, Store
from clip2scene.io.writing import PARTIAL

_LEFT = 0.9
"""Share of the most bytes that stays when copies are removed."""
_added: dict[Path, int] = {}
"""Bytes that this process has added to a folder since it counted them."""


@dataclass(frozen=True)
class LocalCopies:
    """A store whose contents are kept on the local disk once they were read, the least recently used removed.

    Only for contents that are named by what they are: a copy is not compared with the store again. Several
    processes may share the folder; each counts it after it has added a fiftieth of ``most_bytes``, and
    removes what is too much. A copy that is damaged or has gone is read from the store.

    Attributes:
        store: The store.
        folder: Of the copies; whatever else lies in it under two digits is taken for a copy.
        most_bytes: That copies may have together; each process may exceed it by a fiftieth and one content.
    """

    store: Store
    folder: Path
    most_bytes: int

    @property
    def address(self) -> str:
        """The store's."""
        return self.store.address

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """See :meth:`Store.read`."""
        key = self._key(name)
        content = self._recall(key)
        if content is None or len(content) > most:
            content = self.store.read(name, most)
            self._remember(key, content)
        return content

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """See :meth:`Store.read_range`."""
        key = self._key(name, start, length)
        content = self._recall(key)
        if content is None:
            content = self.store.read_range(name, start, length)
            self._remember(key, content)
        return content

    def write(self, name: str, content: bytes) -> None:
        """See :meth:`Store.write`; the copy is forgotten."""
        self._here.remove(self._key(name))
        self.store.write(name, content)

    def write_file(self, name: str, path: Path) -> None:
        """See :meth:`Store.write_file`; the copy is forgotten."""
        self._here.remove(self._key(name))
        self.store.write_file(name, path)

    def create(self, name: str, content: bytes) -> bool:
        """See :meth:`Store.create`."""
        return self.store.create(name, content)

    def names(self, prefix: str = "") -> list[str]:
        """See :meth:`Store.names`."""
        return self.store.names(prefix)

    def size(self, name: str) -> int:
        """See :meth:`Store.size`."""
        return self.store.size(name)

    def exists(self, name: str) -> bool:
        """See :meth:`Store.exists`."""
        return self._here.exists(self._key(name)) or self.store.exists(name)

    def remove(self, name: str) -> None:
        """See :meth:`Store.remove`."""
        self._here.remove(self._key(name))
        self.store.remove(name)

    @property
    def _here(self) -> FolderStore:
        return FolderStore(self.folder)

    def _key(self, name: str, *place: int) -> str:
        text = "|".join(map(str, (self.store.address, name, *place)))
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        return f"{digest[:2]}/{digest[2:]}"

    def _recall(self, key: str) -> bytes | None:
        """Give a copy, if there is a whole one, and note that it was used now."""
        try:
            kept = self._here.read(key)
        except ValueError:  # absent, or removed just now
            return None
        content = kept[4:]
        if len(kept) < 4 or zlib.crc32(content) != int.from_bytes(kept[:4], "little"):
            return None
        with suppress(OSError):
            os.utime(self.folder / key)
        return content

    def _remember(self, key: str, content: bytes) -> None:
        """Keep a copy, and room for it; a disk that is full or may not be written keeps none."""
        if len(content) > self.most_bytes:
            return
        with suppress(ValueError):
            self._here.write(key, zlib.crc32(content).to_bytes(4, "little") + content)
        _added[self.folder] = _added.get(self.folder, self.most_bytes) + len(content)
        if _added[self.folder] > self.most_bytes / 50:
            _added[self.folder] = 0
            self._make_room()

    def _make_room(self) -> None:
        """Remove the least recently used copies, if there are too many bytes."""
        found, total = [], 0
        for folder in self.folder.glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError), os.scandir(folder) as files:  # another process may remove it meanwhile
                for file in files:
                    with suppress(OSError):
                        state = file.stat()
                        total += state.st_size
                        if not file.name.startswith(PARTIAL):
                            found.append((state.st_mtime_ns, state.st_size, file.path))
        if total <= self.most_bytes:
            return
        for _, size, path in sorted(found):
            if total <= self.most_bytes * _LEFT:
                return
            with suppress(OSError):
                os.unlink(path)
            total -= size
