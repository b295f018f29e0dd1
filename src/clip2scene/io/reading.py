"""Texts, JSON and NumPy arrays of strangers, read with suspicion."""

import codecs
import hashlib
import json
import math
import stat
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

_ALWAYS_UNPACKED, _MOST_RATIO = 1 << 28, 100
"""Bytes that any archive may unpack to, and times its own size that a larger one may."""


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


def read_text(path: Path, *, most: int | None = None) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, which is left out.

    Args:
        path: The file.
        most: Bytes that it may have; any number if left out.

    Raises:
        ValueError: If the file is missing, is no plain file, is too large, or is no text in UTF-8; the
            message names it.
    """
    try:
        size = regular_file(path).stat().st_size
        if most is not None and size > most:
            raise ValueError(
                f"{path} has {size / 1e6:.0f} MB, expected {most / 1e6:.0f} MB at most; cut it into several"
            )
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        wide = error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        what = "text in UTF-16" if wide else f"no text ({error})"
        raise ValueError(f"{path} is {what}, expected UTF-8; save it as that, or restore it") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); restore the file") from None


def read_json(path: Path, *, most: int | None = None) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        most: Bytes that it may have; any number if left out.

    Raises:
        ValueError: If the file is missing, too large or not JSON, or an object has a key twice; the message
            names it.
    """
    text = read_text(path, most=most)
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
    path: Path,
    names: Sequence[str],
    *,
    perhaps: Sequence[str] = (),
    texts: Sequence[str] = (),
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
    return _named_arrays(path, regular_file(path).stat().st_size, path, (names, perhaps, texts))


def parse_arrays(
    content: bytes, place: str, names: Sequence[str], *, texts: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Read named arrays from the bytes of an ``.npz`` file, as :func:`read_arrays` does from the file.

    Args:
        content: The bytes.
        place: Where they were, for the message.
        names: Arrays of numbers that must be there.
        texts: Arrays of texts that must be there.

    Raises:
        ValueError: As there.
    """
    return _named_arrays(BytesIO(content), len(content), place, (names, (), texts))


def _named_arrays(
    source: Path | BytesIO, size: int, place: Path | str, wished: tuple[Sequence[str], ...]
) -> dict[str, np.ndarray]:
    """Read arrays of an archive: those that must be there, those that may be, and those of texts."""
    names, perhaps, texts = wished
    try:
        with zipfile.ZipFile(source) as archive:
            entries = _entries(archive)
            chosen = {name: entries[name] for name in (*names, *texts, *perhaps) if name in entries}
            refuse_bomb(size, sum(each.file_size for each in chosen.values()))
            arrays = {name: _parse_entry(archive, each) for name, each in chosen.items()}
    except Exception as error:  # the same, and whatever zip archives fail with
        raise ValueError(f"{place} cannot be read ({in_a_sentence(error)}); restore it") from None
    wanted = [*names, *texts]
    lacking = [name for name in wanted if name not in arrays]
    if lacking:
        raise ValueError(f"{place} lacks an array ({', '.join(lacking)}); expected {', '.join(wanted)}")
    for name, array in arrays.items():
        kinds, what = ("U", "texts") if name in texts else ("fiu", "numbers")
        if array.dtype.kind not in kinds:
            raise ValueError(f"array {name} of {place} should hold {what}, got {array.dtype}; write it anew")
    return arrays


def read_all_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read every array of numbers, truth values or texts of an ``.npz`` file; what else it holds is left out.

    Raises:
        ValueError: If the file is missing or broken, or would unpack to far more than data compress to; this
            is found out before anything is unpacked.
    """
    size = regular_file(path).stat().st_size
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive)
            refuse_bomb(size, sum(each.file_size for each in entries.values()))
            for name, each in entries.items():
                with suppress(ValueError):  # a pickle, or no array at all
                    arrays[name] = _parse_entry(archive, each)
    except Exception as error:  # whatever zip archives fail with
        raise ValueError(f"{path} cannot be read ({in_a_sentence(error)}); restore it") from None
    return {name: array for name, array in arrays.items() if array.dtype.kind in "fiubcU"}


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Give the entries by the names of their arrays."""
    return {each.filename.removesuffix(".npy"): each for each in archive.infolist()}


def refuse_bomb(packed: int, unpacked: int) -> None:
    """Refuse what unpacks to much more than measured data ever do.

    Args:
        packed: Bytes of a file.
        unpacked: Bytes that it would become.

    Raises:
        ValueError: If that is over 268 MB and over 100 times as much.
    """
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
