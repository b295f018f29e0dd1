"""A store that fsspec has a driver for: S3, Google Cloud Storage, SFTP, memory and others."""

import errno
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.registry import known_implementations

from clip2scene.io.addresses import hide_secrets, plain_name, protocol_of, without_secrets
from clip2scene.io.reading import in_a_sentence
from clip2scene.io.store import MOST_BYTES, AbsentError, too_large
from clip2scene.io.writing import PARTIAL

Result = TypeVar("Result")

_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "obs")
"""Protocols where a put is seen whole or not at all, and whose first part is a bucket. That is never made."""
_SLOWEST = 250_000.0
"""Bytes a second below which a store counts as stalled."""
_SURELY = 1 << 26
"""Bytes that any content may have without being given up as stalled for it."""
_DEFINITE = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_NOT_TRANSIENT = (ImportError, NotImplementedError, TypeError)
_connected: dict[tuple[int, str], tuple[Any, str]] = {}


@dataclass(frozen=True)
class ObjectStore:
    """A store behind a driver of fsspec.

    What fails for a moment is tried again, with longer and longer pauses, and what does not answer is given
    up after a time; a thread that waits for it is left behind. It may be sent to other processes.

    ``create`` asks the store itself where its driver does: s3fs (2025 and later; servers that know
    ``If-None-Match``, as Amazon's do) and gcsfs. Other drivers look first and write then, so that of two who
    try within the same moment both may succeed.

    ``write`` is one put on object stores. Elsewhere (sftp, hdfs) another name is written, and then renamed.

    Attributes:
        raw: The address with its secrets.
        limit_s: Seconds that an answer may take, and a second more for every 250 kB.
        attempts: How often something is tried.
        pause_s: Seconds before the second attempt; twice as many before each further one.
    """

    raw: str = field(repr=False)
    limit_s: float = 60.0
    attempts: int = 4
    pause_s: float = 0.5

    @property
    def address(self) -> str:
        """See :class:`clip2scene.io.store.Store`."""
        return without_secrets(self.raw)

    def check(self) -> None:
        """Refuse an address that leads nowhere.

        Raises:
            ValueError: If its driver is not installed, or its bucket is not there or does not answer.
        """
        protocol = protocol_of(self.raw)
        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            package = known_implementations.get(protocol, {}).get("err") or in_a_sentence(error)
            raise ValueError(f"{self.address} needs a driver that is not installed: {package}") from None
        except ValueError:
            raise ValueError(
                f"{self.address}: nothing is known of the protocol {protocol}://; expected a folder, s3://, "
                "gs:// or another that fsspec has a driver for"
            ) from None
        if protocol in _BUCKETS and not self._ask(None, _bucket_is_there):
            raise ValueError(f"{self.address}: there is no such bucket; make it, or check the address")

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """See :meth:`clip2scene.io.store.Store.read`."""
        moved = min(most, _SURELY)  # its size is not asked for, which would take as long
        content = self._ask(name, lambda files, path: _read(files, path, 0, most + 1), moved=moved)
        if len(content) > most:
            raise ValueError(too_large(f"{self.address}/{name}", most))
        return content

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """See :meth:`clip2scene.io.store.Store.read_range`."""
        return self._ask(name, lambda files, path: _read(files, path, start, length), moved=length)

    def write(self, name: str, content: bytes) -> None:
        """See :meth:`clip2scene.io.store.Store.write`."""
        self._put(name, lambda files, path: files.pipe_file(path, content), len(content))

    def write_file(self, name: str, path: Path) -> None:
        """See :meth:`clip2scene.io.store.Store.write_file`."""
        self._put(name, lambda files, there: files.put_file(str(path), there), path.stat().st_size)

    def create(self, name: str, content: bytes) -> bool:
        """See :meth:`clip2scene.io.store.Store.create`."""
        attempts = 0

        def put(files: Any, path: str) -> bool:  # noqa: ANN401 - fsspec has no types
            nonlocal attempts
            attempts += 1
            _make_folders(files, path)
            try:
                files.pipe_file(path, content, mode="create")
            except FileExistsError:
                return attempts > 1 and _read(files, path, 0, len(content) + 1) == content
            return True

        try:
            return self._ask(name, put, moved=len(content))
        except AbsentError:
            raise ValueError(self._nowhere(name)) from None

    def names(self, prefix: str = "") -> list[str]:
        """See :meth:`clip2scene.io.store.Store.names`."""
        folder = prefix.rpartition("/")[0]

        def find(files: Any, path: str) -> list[str]:  # noqa: ANN401 - fsspec has no types
            files.invalidate_cache()
            root = path[: len(path) - len(folder)].rstrip("/") if folder else path
            return [each[len(root) :].lstrip("/") for each in files.find(path)]

        try:
            found = self._ask(folder or None, find)
        except AbsentError:
            return []
        return sorted(
            each
            for each in found
            if each.startswith(prefix) and not each.rpartition("/")[2].startswith(PARTIAL)
        )

    def size(self, name: str) -> int:
        """See :meth:`clip2scene.io.store.Store.size`."""
        return self._ask(name, _size)

    def exists(self, name: str) -> bool:
        """See :meth:`clip2scene.io.store.Store.exists`."""
        try:
            self._ask(name, _size)
        except AbsentError:
            return False
        return True

    def remove(self, name: str) -> None:
        """See :meth:`clip2scene.io.store.Store.remove`."""
        try:
            self._ask(name, lambda files, path: files.rm_file(path))
        except AbsentError:
            return

    def _put(self, name: str, put: Callable[[Any, str], None], moved: int) -> None:
        """Put a content in its place in one move."""

        def write(files: Any, path: str) -> None:  # noqa: ANN401 - fsspec has no types
            if protocol_of(self.raw) in (*_BUCKETS, "memory"):
                put(files, path)
                return
            folder, _, last = path.rpartition("/")
            temporary = f"{folder}/{PARTIAL}{secrets.token_hex(8)}-{last}"
            _make_folders(files, path)
            put(files, temporary)
            files.mv(temporary, path)

        try:
            self._ask(name, write, moved=moved)
        except AbsentError:
            raise ValueError(self._nowhere(name)) from None

    def _ask(self, name: str | None, work: Callable[[Any, str], Result], *, moved: int = 0) -> Result:
        """Have the driver do something, within a time and more than once if need be."""
        place = self.address if name is None else f"{self.address}/{plain_name(name)}"
        allowed_s = self.limit_s + moved / _SLOWEST
        failure: Exception = TimeoutError()
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.pause_s * 2 ** (attempt - 1))
            try:
                return _within(allowed_s, lambda: work(*_connect(self.raw, name)))
            except FileNotFoundError:
                raise AbsentError(f"{place} is missing; check the address") from None
            except PermissionError as error:
                said = hide_secrets(in_a_sentence(error), self.raw)
                raise ValueError(
                    f"{place}: access denied ({said}); check the credentials and what they allow"
                ) from None
            except Exception as error:  # noqa: BLE001 - drivers raise what their libraries raise
                failure = error
                if isinstance(error, (*_DEFINITE, *_NOT_TRANSIENT)) or _full(error):
                    break
        said = hide_secrets(in_a_sentence(failure), self.raw)
        if isinstance(failure, _StalledError):
            said = f"no answer within {allowed_s:.3g} s"
        raise ValueError(
            f"{place} cannot be used: {said}, in {attempt + 1} attempt{'s' * (attempt > 0)}; "
            "run the same command again when the store answers: what is done is kept"
        )

    def _nowhere(self, name: str) -> str:
        return f"{self.address}/{name} cannot be written: there is no such bucket or folder; make it first"


class _StalledError(Exception):
    """A store has not answered in time."""


def _within(seconds: float, work: Callable[[], Result]) -> Result:
    """Do something in a thread of its own, which is left behind if it takes too long."""
    done: list[Result] = []
    failed: list[BaseException] = []

    def go() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=go, daemon=True)  # one that hangs shall not keep the process
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not done:
        raise _StalledError
    return done[0]


def _connect(address: str, name: str | None) -> tuple[Any, str]:
    """Give the driver, one in each process as its threads are not copied, and the path of a name in it."""
    key = (os.getpid(), address)
    if key not in _connected:
        _connected[key] = fsspec.core.url_to_fs(address)
    files, root = _connected[key]
    root = root.rstrip("/")
    return files, f"{root}/{name}" if name else root


def _bucket_is_there(files: Any, path: str) -> bool:  # noqa: ANN401 - fsspec has no types
    """Tell whether a bucket is there; where that may not be asked, whoever reads from it will see."""
    try:
        files.ls(path.split("/")[0], refresh=True)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    return True


def _read(files: Any, path: str, start: int, length: int) -> bytes:  # noqa: ANN401 - fsspec has no types
    """Read a range, which may lie beyond the end: object stores have another answer to that than files."""
    try:
        return files.cat_file(path, start=start, end=start + length)
    except OSError as error:
        if error.errno == errno.EINVAL and files.info(path)["size"] <= start:
            return b""
        raise


def _size(files: Any, path: str) -> int:  # noqa: ANN401 - fsspec has no types
    """Ask for a size, not for what is remembered of it; a folder is nothing."""
    files.invalidate_cache()
    found = files.info(path)
    if found["type"] == "directory":
        raise FileNotFoundError(path)
    return int(found["size"])


def _make_folders(files: Any, path: str) -> None:  # noqa: ANN401 - fsspec has no types
    """Make the folders of a path where there are such; a bucket would be made by it, so there nothing is."""
    protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
    if not set(protocols) & {*_BUCKETS, "memory"}:
        files.makedirs(path.rpartition("/")[0], exist_ok=True)


def _full(error: Exception) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
