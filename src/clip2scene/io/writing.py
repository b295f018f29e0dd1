"""Files and folders that are either whole or absent."""

import errno
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from clip2scene.io.reading import in_a_sentence

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial-"
"""What names of files begin with that are being written."""
_ABANDONED_S = 15 * 60.0
"""Seconds without a change after which a file that nobody has locked is one of a killed process."""
_ABANDONED_FOLDER_S = 24 * 3600.0
"""The same of a folder, which does not change when files in its own folders do."""
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_cleared: set[Path] = set()


@contextmanager
def write_atomically(path: Path, *, fresh: bool = False) -> Iterator[Path]:
    """Lend a temporary file that takes ``path``'s place only when the block ends well.

    The data are flushed to the disk before the name is changed, and the folder after it, so a crash leaves
    the old file or the new one, never a part. Missing parent folders are made. What killed processes left in
    the folder is removed.

    Args:
        path: The file to write.
        fresh: Whether there must be no such file yet: of many who write it at once, one succeeds.

    Yields:
        A path in the same folder with the same suffixes, to write to.

    Raises:
        FileExistsError: If the file is to be ``fresh`` and is not.
        ValueError: If the disk is full; the old file is still there.
    """
    path = Path(path)
    with telling_of_a_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_partials(path.parent.resolve())
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL, suffix="".join(path.suffixes))
        temporary = Path(name)
        try:
            with suppress(OSError):  # a disk that knows no locks
                _lock(handle)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            if fresh:
                _link(temporary, path)
            else:
                os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    """Give a whole file a second name that nothing has yet; raises a FileExistsError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if os.stat(temporary).st_nlink < 2:  # else it was done, and NFS has lost the answer
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with path.open("xb") as file, temporary.open("rb") as whole:
            shutil.copyfileobj(whole, file)


@contextmanager
def telling_of_a_full_disk(path: Path) -> Iterator[None]:
    """Turn what writers raise on a full disk into one sentence that names the file.

    Raises:
        ValueError: If ``path`` could not be written for want of room.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in _NO_ROOM or any(
            f"(os error {number})" in str(error) for number in _NO_ROOM
        )
        if not full and isinstance(error, OSError):
            raise
        what = "the disk is full, or a limit of size is reached" if full else in_a_sentence(error)
        raise ValueError(
            f"{path} cannot be written: {what}; free some space, and run the same command again: what was "
            "there before is whole"
        ) from None


def _clear_partials(folder: Path) -> None:
    """Remove files that killed processes have left half written; once a folder and process.

    A file that somebody writes is locked and young. Both are asked for: some disks know no locks.
    """
    if folder in _cleared:
        return
    _cleared.add(folder)
    for path in list(folder.glob(f"{PARTIAL}*")):
        if path.is_file() and not path.is_symlink():
            _remove_abandoned(path, _ABANDONED_S)


def _remove_abandoned(path: Path, seconds: float) -> None:
    """Remove a file or folder that has not changed for so long and that nobody has locked."""
    with suppress(OSError):
        if time.time() - path.stat().st_mtime < seconds:
            return
        handle = os.open(path, os.O_RDONLY)
        try:
            _lock(handle)
            path.unlink() if path.is_file() else shutil.rmtree(path)
        finally:
            os.close(handle)


def _lock(handle: int | None) -> None:
    """Lock an open file or folder until it is closed; raises an OSError if another process has."""
    if fcntl is not None and handle is not None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _open_folder(folder: Path) -> int | None:
    """Open a folder, where the system can; to be closed by the caller."""
    with suppress(OSError):
        return os.open(folder, os.O_RDONLY)
    return None


def _sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the system can."""
    handle = _open_folder(folder)
    if handle is not None:
        with suppress(OSError):
            os.fsync(handle)
        os.close(handle)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Lend a hidden folder beside ``out`` that takes its name only when the block ends well.

    Nothing is left of a block that fails or is interrupted.

    Args:
        out: The folder to make: a new name, an empty folder, or a link to one of these, which stays a link.

    Yields:
        A folder to write into.

    Raises:
        ValueError: If ``out`` is in use: not empty, the current folder, or where a disk is mounted. This is
            found out before any work is done.
    """
    target = Path(out).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{out} already exists; remove it or name another folder")
    if target == Path.cwd() or target.is_mount():
        raise ValueError(
            f"{out} cannot be replaced, as it is the current folder or a disk; name a new folder in it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{PARTIAL}{glob.escape(target.name)}-*"):
        _remove_abandoned(left, _ABANDONED_FOLDER_S)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{PARTIAL}{target.name}-"))
    handle = _open_folder(temporary)
    try:
        with suppress(OSError):
            _lock(handle)
        temporary.chmod(0o755)
        yield temporary
        temporary.replace(target)
        _sync_folder(target.parent)
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write ``content`` as indented JSON, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
