"""Files that are either whole or absent; and strangers' files, read with suspicion.

Tensors are kept in safetensors files, readable by any reader of those, with a checksum: the format notices a
file that is cut short, but not a number that has changed.
"""

import codecs
import errno
import glob
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

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
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_cleared: set[Path] = set()

_CHECKSUM = "crc32"
"""The name of the checksum in the header of a safetensors file."""

_ALWAYS_UNPACKED, _MOST_RATIO = 1 << 28, 100
"""Bytes that any archive may unpack to, and times its own size that a larger one may."""


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Lend a temporary file that takes ``path``'s place only when the block ends well.

    The data are flushed to the disk before the name is changed, and the folder after it, so a crash leaves
    the old file or the new one, never a part. Missing parent folders are made. What killed processes left in
    the folder is removed.

    Args:
        path: The file to write.

    Yields:
        A path in the same folder with the same suffixes, to write to.

    Raises:
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
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)


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


def regular_file(path: Path) -> Path:
    """Give ``path`` back if a plain file lies there, or a link to one.

    A pipe would be waited for, a device read without end.

    Raises:
        ValueError: If it is missing or anything else.
    """
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; check the path") from None
    except (OSError, ValueError) as error:  # the latter: a name with a zero byte
        raise ValueError(f"{path} cannot be opened ({in_a_sentence(error)}); check the path") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a device or a socket"
        raise ValueError(f"{path} is {kind}; name a plain file")
    return Path(path)


def read_torch(path: Path) -> Any:  # noqa: ANN401 - tensors and plain values, nested as the file has it
    """Read a torch archive of plain tensors and plain values; nothing in it is run.

    The memory it takes is bounded by its size: torch never compresses, and a tensor that repeats the numbers
    of a few is none that was saved.

    Raises:
        ValueError: If the file is missing or damaged, unpacks to more than it is, or holds anything else.
    """
    path = regular_file(path)
    try:
        with path.open("rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
        if zipped:
            _check_stored(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        check_plain_tensors(content, path.stat().st_size)
    except Exception as error:  # torch raises many kinds, and all mean that the file is not to be trusted
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} holds something else than tensors and plain values, or is damaged ({reason}); fetch it "
            "anew, or where it was made save the network's state_dict() alone"
        ) from None
    return content


def check_plain_tensors(content: Any, size: int) -> None:  # noqa: ANN401 - whatever torch's reader gives
    """Refuse tensors that stand for more numbers than a file of ``size`` bytes can hold, and strange ones.

    Weights that two names share are fine.

    Raises:
        ValueError: If one is no plain tensor of real numbers, or all take more than twice the file's size.
    """
    waiting, seen, total = [content], set[int](), 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list | tuple | set):
            waiting += each
        elif isinstance(each, Tensor):
            if (
                each.layout != torch.strided
                or each.device.type != "cpu"
                or each.is_quantized
                or each.is_complex()
            ):
                raise ValueError(
                    f"one of its tensors is of the kind {each.layout}, {each.dtype}, {each.device}"
                )
            total += each.numel() * each.element_size()
    if total > 2 * size:
        raise ValueError(f"its tensors stand for {total:,} bytes, the file has {size:,}")


def _check_stored(path: Path) -> None:
    """Refuse an archive that would unpack to more than it is."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked = sum(each.file_size for each in entries)
    if unpacked > path.stat().st_size or any(each.compress_type != zipfile.ZIP_STORED for each in entries):
        raise ValueError(
            f"it is compressed, as torch's files never are, and would unpack to {unpacked:,} bytes"
        )


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write ``content`` as indented JSON, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, which is left out.

    Raises:
        ValueError: If the file is missing, is no plain file, or is no text in UTF-8; the message names it.
    """
    try:
        return regular_file(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        wide = error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        what = "text in UTF-16" if wide else f"no text ({error})"
        raise ValueError(f"{path} is {what}, expected UTF-8; save it as that, or restore it") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); restore the file") from None


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: If the file is missing or is not JSON, or an object has a key twice; the message names it.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=without_repeats)
    except (ValueError, RecursionError) as error:  # no JSON, a number or nesting beyond all measure
        raise ValueError(f"{path} is not valid JSON ({error}); restore the file or write it anew") from None


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its pairs, as a hook of a JSON decoder.

    Raises:
        ValueError: If a key stands twice: nobody knows which value is meant.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return found


def read_array(path: Path, *, records: bool = False) -> np.ndarray:
    """Read numbers from an ``.npy`` file, in its shape and dtype, never a pickle.

    Args:
        path: The file.
        records: Whether records with named fields will do too.

    Raises:
        ValueError: If the file is missing or broken, or holds no numbers; the message names it.
    """
    size = regular_file(path).stat().st_size
    try:
        with Path(path).open("rb") as stream:
            array = _parse_array(stream, size)
    except Exception as error:  # NumPy reads the header as Python's syntax: a damaged one fails in many ways
        raise ValueError(
            f"{path} cannot be read as a NumPy array ({in_a_sentence(error)}); restore it"
        ) from None
    if array.dtype.kind not in "fiu" and not (records and array.dtype.names):
        raise ValueError(
            f"{path} should be an array of numbers, got values of type {array.dtype}; write it anew"
        )
    return array


def read_arrays(
    path: Path, names: Sequence[str], *, perhaps: Sequence[str] = (), texts: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read named arrays from an ``.npz`` file, in their shape and dtype, never a pickle.

    Args:
        path: The file.
        names: Arrays of numbers that must be there.
        perhaps: Arrays of numbers that may be.
        texts: Arrays of texts that must be there.

    Raises:
        ValueError: If the file is missing or broken, lacks an array, one holds something else, or they would
            unpack to far more than data compress to; this is found out before anything is unpacked.
    """
    size = regular_file(path).stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
            chosen = {name: entries[name] for name in (*names, *texts, *perhaps) if name in entries}
            _refuse_bomb(size, sum(each.file_size for each in chosen.values()))
            arrays = {name: _parse_entry(archive, each) for name, each in chosen.items()}
    except Exception as error:  # the same, and whatever zip archives fail with
        raise ValueError(f"{path} cannot be read ({in_a_sentence(error)}); restore it") from None
    wanted = [*names, *texts]
    lacking = [name for name in wanted if name not in arrays]
    if lacking:
        raise ValueError(f"{path} lacks an array ({', '.join(lacking)}); expected {', '.join(wanted)}")
    for name, array in arrays.items():
        kinds, what = ("U", "texts") if name in texts else ("fiu", "numbers")
        if array.dtype.kind not in kinds:
            raise ValueError(f"array {name} of {path} should hold {what}, got {array.dtype}; write it anew")
    return arrays


def _refuse_bomb(packed: int, unpacked: int) -> None:
    """Refuse an archive that unpacks to much more than measured data ever do."""
    if unpacked > max(_ALWAYS_UNPACKED, _MOST_RATIO * packed):
        raise ValueError(
            f"its {packed / 1e6:.1f} MB would unpack to {unpacked / 1e9:.1f} GB, over {_MOST_RATIO} times "
            "as much, which measured data do not"
        )


def _parse_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as stream:
        return _parse_array(stream, entry.file_size)


def _parse_array(stream: Any, size: int) -> np.ndarray:  # noqa: ANN401 - a file, or a part of an archive
    """Read an array of a file of ``size`` bytes, which must be what the header makes of its shape."""
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_2_0
    if version == (1, 0):
        read_header = np.lib.format.read_array_header_1_0
    shape, _, dtype = read_header(stream)
    named, left = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or dtype.hasobject or not 0 < dtype.itemsize or named > left:
        raise ValueError(f"its header names {shape} values of type {dtype}, and {left} bytes follow")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def save_checksummed(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any shape and dtype with their checksum, atomically."""
    own = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with write_atomically(path) as temporary:
        save_file(own, temporary, metadata={_CHECKSUM: _checksum(own)})


def sort_header(path: Path) -> None:
    """Sort the texts in a safetensors file's header, which its writer leaves in random order.

    So equal tensors and texts give equal bytes. The header's length stays, and the tensors are not moved.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > size:  # its writer has shorter escapes: then the order stays as it is
            return
        file.seek(8)
        file.write(text.ljust(size))


def load_checksummed(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_checksummed` wrote, shape and dtype kept; earlier versions wrote no checksum.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    try:
        with safe_open(regular_file(path), framework="pt") as opened:
            expected = (opened.metadata() or {}).get(_CHECKSUM)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (ValueError, OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and run again") from None
    if expected is not None and expected != _checksum(tensors):
        raise ValueError(f"{path} is damaged: it is not what was written; delete it and run again")
    return tensors


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Hash named tensors: names, types, shapes and bytes, whatever their order.

    Returns:
        A SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_files(folder: Path, paths: Iterable[Path] | None = None) -> str:
    """Hash files: their contents and their names within ``folder``, whatever their order.

    Args:
        folder: What names are taken relative to.
        paths: The files, inside it; all files below it when None.

    Returns:
        A SHA-256 in hexadecimal digits.

    Raises:
        ValueError: If there is no file to hash, or one is missing.
    """
    folder = Path(folder)
    chosen = sorted(path for path in folder.rglob("*") if path.is_file()) if paths is None else sorted(paths)
    if not chosen:
        raise ValueError(f"{folder} holds no files to hash; check the folder")
    digest = hashlib.sha256()
    for path in chosen:
        if not path.is_file():
            raise ValueError(f"{path} is missing; check the folder")
        content = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
        digest.update(f"{path.relative_to(folder).as_posix()}|{content.hexdigest()}\n".encode())
    return digest.hexdigest()


def in_a_sentence(error: Exception) -> str:
    """Say on one line what went wrong; faults that are nobody's but ours with the name of their kind.

    Example:
        >>> in_a_sentence(ValueError("no data"))
        'no data'
        >>> in_a_sentence(KeyError("lidar"))
        "KeyError: 'lidar'"
    """
    text = " ".join(str(error).split())
    expected = isinstance(error, (ValueError, OSError)) and text
    return (text if expected else f"{type(error).__name__}: {text}")[:600]


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Sum up names, kinds, shapes and numbers."""
    found = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.numpy().data, found)
    return f"{found:08x}"
