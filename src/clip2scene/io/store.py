"""Named contents in one place that many processes and machines read and write: a folder, or an object store.

A store is opened from an address: a folder, or ``s3://bucket/folder``, ``gs://``, ``memory://`` and whatever
else fsspec has a driver for. Everything in it is written whole or not at all.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable
from urllib.parse import unquote

from clip2scene.io.addresses import plain_name, protocol_of
from clip2scene.io.reading import in_a_sentence
from clip2scene.io.writing import PARTIAL, write_atomically

MOST_BYTES = 1 << 30
"""Bytes that a content may have, unless its reader says otherwise."""


class AbsentError(ValueError):
    """There is nothing of that name in the store."""


@runtime_checkable
class Store(Protocol):
    """Contents by name. Names are relative, their parts divided by ``/``; see :func:`plain_name`.

    Whatever a method cannot do is a ValueError that names the place, without passwords in it.
    """

    @property
    def address(self) -> str:
        """Where it is, without secrets: for messages."""

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """Give a content.

        Raises:
            AbsentError: If there is none of that name.
            ValueError: If it has more than ``most`` bytes, which are not read, or the place does not answer.
        """

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Give ``length`` bytes from byte ``start`` on; fewer where the content ends.

        Raises:
            AbsentError: If there is none of that name.
        """

    def write(self, name: str, content: bytes) -> None:
        """Write a content, or put it in the place of an earlier one; readers see the one or the other."""

    def write_file(self, name: str, path: Path) -> None:
        """Write the content of a local file, without having it in memory."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a content only if there is none of that name: of many who try, one succeeds.

        What is written must be the caller's alone (have a random number in it, say): an attempt whose answer
        is lost is known by it.

        Returns:
            Whether this call wrote it.
        """

    def names(self, prefix: str = "") -> list[str]:
        """List the names that begin so, sorted."""

    def size(self, name: str) -> int:
        """Count a content's bytes.

        Raises:
            AbsentError: If there is none of that name.
        """

    def exists(self, name: str) -> bool:
        """Tell whether there is a content of that name."""

    def remove(self, name: str) -> None:
        """Remove a content; nothing happens where there is none."""


def open_store(address: str | Path) -> Store:
    """Open a store; a folder need not exist before something is written to it.

    Args:
        address: A folder, ``file://folder``, or the address of a store that fsspec knows, such as
            ``s3://bucket/folder``. Credentials are looked for where its driver looks: files and environment.

    Raises:
        ValueError: If the protocol is unknown or its driver is not installed, or there is no such bucket.
    """
    text = str(address)
    if "::" in text:
        raise ValueError(f"{text.split('://')[0]!r}: addresses in chains are not taken; give one without ::")
    protocol = protocol_of(text)
    if protocol in ("file", "local"):
        scheme, divider, path = text.partition("://")
        return FolderStore(Path(unquote(path) if divider else scheme))
    from clip2scene.io.object_store import ObjectStore  # fsspec is imported where it is needed

    store = ObjectStore(text)
    store.check()
    return store


@dataclass(frozen=True)
class FolderStore:
    """A store in a folder, which may be on a disk that machines share.

    ``create`` makes a hard link to a whole file, which of many succeeds for one, over NFS too. On a disk
    without links the file is opened exclusively, so that a reader may meet it before its content is there.
    Nothing is tried twice here and there is no time limit: a shared disk that hangs is waited for, as the
    system does.

    Attributes:
        folder: Where the files lie.
    """

    folder: Path

    @property
    def address(self) -> str:
        """The folder."""
        return str(self.folder)

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """See :meth:`Store.read`."""
        with self._open(name) as file:
            size = os.fstat(file.fileno()).st_size
            content = b"" if size > most else file.read(most + 1)
        if max(size, len(content)) > most:
            raise ValueError(too_large(f"{self.folder / name}", most))
        return content

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """See :meth:`Store.read_range`."""
        with self._open(name) as file:
            file.seek(start)
            return file.read(length)

    def write(self, name: str, content: bytes) -> None:
        """See :meth:`Store.write`."""
        self._put(name, lambda temporary: temporary.write_bytes(content))

    def write_file(self, name: str, path: Path) -> None:
        """See :meth:`Store.write_file`."""
        self._put(name, lambda temporary: shutil.copyfile(path, temporary))

    def create(self, name: str, content: bytes) -> bool:
        """See :meth:`Store.create`."""
        try:
            self._put(name, lambda temporary: temporary.write_bytes(content), fresh=True)
        except FileExistsError:
            return False
        return True

    def names(self, prefix: str = "") -> list[str]:
        """See :meth:`Store.names`."""
        top = self.folder / plain_name(prefix.rpartition("/")[0]) if "/" in prefix else self.folder
        found = []
        with self._telling(prefix):
            for folder, _, files in os.walk(top, onerror=_unless_absent):
                inside = Path(folder).relative_to(self.folder)
                found += [(inside / name).as_posix() for name in files if not name.startswith(PARTIAL)]
        return sorted(name for name in found if name.startswith(prefix))

    def size(self, name: str) -> int:
        """See :meth:`Store.size`."""
        with self._telling(name):
            return self._path(name).stat().st_size

    def exists(self, name: str) -> bool:
        """See :meth:`Store.exists`."""
        with self._telling(name):
            return self._path(name).is_file()

    def remove(self, name: str) -> None:
        """See :meth:`Store.remove`; folders that are empty then are removed too, but for the store's own."""
        path = self._path(name)
        with self._telling(name):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            for parent in path.relative_to(self.folder).parents[:-1]:
                (self.folder / parent).rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / plain_name(name)

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        """Open a plain file: a pipe would be waited for."""
        path = self._path(name)
        with self._telling(name):
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError(f"{path} is no plain file; remove it, or name another folder")
            with path.open("rb") as file:
                yield file

    def _put(self, name: str, fill: Callable[[Path], object], *, fresh: bool = False) -> None:
        """Write a file; with ``fresh`` it must be a new one, or a FileExistsError is raised."""
        path = self._path(name)
        with self._telling(name):
            for attempts_left in (2, 1, 0):
                try:
                    with write_atomically(path, fresh=fresh) as temporary:
                        fill(temporary)
                    return
                except FileNotFoundError:  # another process removed its folder just then, as empty
                    if not attempts_left:
                        raise

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Turn what the system says into one sentence."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise AbsentError(f"{self.folder / name} is missing; check the path") from None
        except FileExistsError:
            raise
        except PermissionError:
            raise ValueError(
                f"{self.folder / name}: access denied; change the rights of the folder, or name another"
            ) from None
        except OSError as error:
            raise ValueError(
                f"{self.folder / name} cannot be used ({in_a_sentence(error)}); check the disk, run again"
            ) from None


def too_large(place: str, most: int) -> str:
    """Say that a content is larger than its reader takes."""
    return (
        f"{place} has more than the {most:,} bytes that are expected at most; it is another file, or damaged"
    )


def _unless_absent(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
