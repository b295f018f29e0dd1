"""Point clouds as files, in the formats people have.

| suffix | what is expected |
|---|---|
| ``.pcd.bin`` | nuScenes: float32 x y z intensity ring, with x right and y forward, intensity 0..255 |
| ``.bin`` | KITTI: float32 x y z reflectance, reflectance 0..1 |
| ``.npy`` | an array of 3 or more columns x y z (intensity) |
| ``.npz`` | arrays ``xyz`` and perhaps ``intensity`` |
| ``.ply`` | vertices with x y z and perhaps ``intensity``; ascii or binary |
| ``.pcd`` | fields x y z and perhaps intensity; ascii, binary or binary_compressed |
| ``.las``, ``.laz`` | x y z in the sensor's frame, and intensity; needs ``laspy`` |

PLY and PCD are read here and not by plyfile and pypcd4: these make room for as many points as a header tells
before they look whether the file holds them, and a PCD file that is cut short passes as a smaller cloud.
"""

import re
import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped, UInt8
from torch import Tensor

from clip2scene.datasets.lasfiles import read_las
from clip2scene.io import read_array, read_arrays, write_atomically
from clip2scene.types import PointCloud

SUFFIXES = (".bin", ".npy", ".npz", ".ply", ".pcd", ".las", ".laz")
INTENSITIES = (
    *("intensity", "intensities", "scalar_intensity"),
    *("reflectance", "reflectivity", "i", "signal"),
)
"""Columns taken for the intensity, the first of them that a cloud has."""

FARTHEST_M = 1e5
"""No sensor sees this far; beyond it, float32 no longer holds centimetres."""

_MAX_HEADER = 1 << 16
_MOST_NUMBERS = 4096  # of a point
_MOST_PACKED = 128  # bytes of a compressed PCD that come of one; LZF makes 88
_COUNT = re.compile("[0-9]{1,15}")

Columns = dict[str, np.ndarray]


def read_cloud(path: Path, *, intensity_max: float | None = None) -> PointCloud:
    """Read a point cloud with one channel of intensity in 0..1.

    Intensity is taken as it is when it does not exceed 1, else as counts: up to 255 it is divided by 255,
    above by 65535; unless ``intensity_max`` says what to divide by. nuScenes' own files are always divided
    by 255. A file without intensity gets zeros. nuScenes' clouds are turned so that x points forward; all
    others are left in their frame.

    Args:
        path: The file; its suffix tells the format (see the module's table).
        intensity_max: The intensity that becomes 1; a file that holds a higher one is refused.

    Returns:
        The cloud, in the file's order.

    Raises:
        ValueError: If the file is missing, of an unknown format, truncated or empty, or holds NaN or infinite
            coordinates, an intensity that is NaN, infinite, negative or higher, or if what its format needs
            is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} has an unknown suffix, expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path} is missing or no file; check its name")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty; restore it")
    of_nuscenes = path.name.lower().endswith(".pcd.bin")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".ply": read_ply, ".pcd": _read_pcd}
    readers |= {".las": read_las, ".laz": read_las}
    if path.suffix.lower() == ".bin":
        columns = _read_bin(path, 5 if of_nuscenes else 4)
    else:
        columns = readers[path.suffix.lower()](path)
    return _cloud(path, columns, of_nuscenes, intensity_max)


def write_ply(
    path: Path, positions: Float[Tensor, "points 3"], colours: UInt8[Tensor, "points 3"] | None = None
) -> None:
    """Write a cloud as binary PLY, which every viewer opens.

    Args:
        path: The file to write; it appears only when it is complete.
        positions: Metres, written as float32.
        colours: Red, green and blue of each point.
    """
    columns = {axis: positions[:, number].detach().float() for number, axis in enumerate("xyz")}
    if colours is not None:
        columns |= {name: colours[:, number] for number, name in enumerate(("red", "green", "blue"))}
    table = np.empty(len(positions), [(name, "<f4" if name in "xyz" else "u1") for name in columns])
    for name, values in columns.items():
        table[name] = values.cpu().numpy()
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(positions)}"]
    header += [f"property {'float' if name in 'xyz' else 'uchar'} {name}" for name in columns]
    lines = [*header, "end_header", ""]
    with write_atomically(Path(path)) as temporary:
        temporary.write_bytes("\n".join(lines).encode() + table.tobytes())


def _cloud(path: Path, columns: Columns, of_nuscenes: bool, intensity_max: float | None) -> PointCloud:
    """Check the columns of a file and make a cloud of them."""
    lacking = [axis for axis in "xyz" if axis not in columns]
    if lacking:
        raise ValueError(f"{path} has no {' '.join(lacking)}, only {', '.join(columns)}; expected x, y and z")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        positions = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float32)
    if not len(positions):
        raise ValueError(f"{path} holds no points; restore it")
    bad = int((~np.isfinite(positions)).any(axis=1).sum())
    if bad:
        raise ValueError(
            f"{path} holds {bad} points of {len(positions)} with NaN or infinite coordinates; drop them"
        )
    if np.abs(positions).max() > FARTHEST_M:
        raise ValueError(
            f"{path} has coordinates beyond {FARTHEST_M / 1000:g} km, so they are a map's or broken; "
            "expected a cloud in its sensor's frame: bring it there first"
        )
    found = [columns[name] for name in INTENSITIES if name in columns]
    with np.errstate(over="ignore"):
        raw = found[0].astype(np.float32) if found else np.zeros(len(positions), dtype=np.float32)
    strange = int((~(np.isfinite(raw) & (raw >= 0))).sum())
    if strange:
        raise ValueError(
            f"{path} holds {strange} intensities of {len(raw)} that are NaN, infinite or negative; drop "
            "those points, or leave the intensity out"
        )
    highest = float(raw.max())
    if intensity_max is not None and highest > intensity_max:
        raise ValueError(
            f"{path} holds an intensity of {highest:g}, expected at most {intensity_max:g}; say "
            "which intensity is to become 1"
        )
    unit = 255 if of_nuscenes or 1 < highest <= 255 else 1 if highest <= 1 else 65535
    intensity = raw / np.float32(unit if intensity_max is None else intensity_max)
    if of_nuscenes:
        positions = positions[:, [1, 0, 2]] * np.array([1, -1, 1], dtype=np.float32)
    return PointCloud(torch.from_numpy(positions), torch.from_numpy(intensity.clip(max=1))[:, None])


def _read_bin(path: Path, width: int) -> Columns:
    """Read float32 records of ``width`` numbers."""
    content = path.read_bytes()
    if len(content) % (4 * width):
        raise ValueError(
            f"{path} is truncated or of another kind: {len(content)} bytes are not a whole number of records "
            f"of {width} float32 numbers (KITTI has 4 in .bin, nuScenes 5 in .pcd.bin)"
        )
    return _by_position(np.frombuffer(content, dtype="<f4").reshape(-1, width))


def _read_npy(path: Path) -> Columns:
    """Read a NumPy array, never a pickle."""
    array = read_array(path)
    if array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(f"{path} should be an array of numbers with 3 or more columns, got {array.shape}")
    return _by_position(array)


def _read_npz(path: Path) -> Columns:
    """Read the arrays ``xyz`` and perhaps ``intensity``."""
    arrays = read_arrays(path, ("xyz",), perhaps=("intensity",))
    xyz = arrays.pop("xyz")
    if xyz.ndim != 2 or xyz.shape[1] != 3 or any(each.shape != xyz.shape[:1] for each in arrays.values()):
        raise ValueError(f"{path} should hold an array xyz of 3 columns and intensity of the same length")
    return {**_by_position(xyz), **arrays}


def _by_position(array: Shaped[np.ndarray, "points columns"]) -> Columns:
    """Name the columns of a plain array."""
    return dict(zip(("x", "y", "z", "intensity"), array.T, strict=False))


_PLY_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2"},
    **{"ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}


def read_ply(path: Path) -> Columns:
    """Read all that the vertices of a PLY file have; they must be its first element, as is usual.

    Raises:
        ValueError: If its header is none, it is truncated, or a vertex has something other than numbers.
    """
    content = path.read_bytes()
    end = re.search(rb"^end_header\r?\n", content[:_MAX_HEADER], re.MULTILINE)
    if not content.startswith(b"ply") or end is None:
        raise ValueError(f"{path} is not a PLY file: it has no header")
    form, count = "", -1
    fields: list[tuple[str, str]] = []
    for line in content[: end.start()].decode("ascii", "replace").splitlines()[1:]:
        words = line.split()
        if words[:1] == ["format"]:
            form = words[1] if len(words) > 1 else ""
        elif words[:1] == ["element"]:
            if count >= 0:
                break  # the vertices end here
            if len(words) != 3 or words[1] != "vertex" or not _COUNT.fullmatch(words[2]):
                raise ValueError(f"{path}: expected the vertices first, got {line!r}")
            count = int(words[2])
        elif words[:1] == ["property"]:
            if len(words) != 3 or words[1] not in _PLY_TYPES:
                raise ValueError(f"{path}: a vertex has an unreadable {line!r}; expected plain numbers")
            fields.append((words[2], _PLY_TYPES[words[1]]))
    return _table(path, content[end.end() :], count, fields, form)


def _read_pcd(path: Path) -> Columns:
    """Read a PCD file of version 0.7."""
    content = path.read_bytes()
    end = re.search(rb"^DATA (\S+)\r?\n", content[:_MAX_HEADER], re.MULTILINE)
    if end is None:
        raise ValueError(f"{path} is not a PCD file: it has no DATA line")
    header = {}
    for line in content[: end.start()].decode("ascii", "replace").splitlines():
        words = line.split()
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
    form = end[1].decode("ascii", "replace")
    try:
        counts = [int(word) for word in header.get("COUNT", ["1"] * len(header["FIELDS"]))]
        if min(counts) < 0 or sum(counts) > _MOST_NUMBERS or not set(header["SIZE"]) <= set("1248"):
            raise ValueError(f"fields of {counts} numbers of {header['SIZE']} bytes")
        kinds = [
            {"F": "f", "I": "i", "U": "u"}[kind] + size
            for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)
        ]
        points = int(header["POINTS"][0])
        fields: list[tuple[str, str]] = []
        for number, (name, kind, count) in enumerate(zip(header["FIELDS"], kinds, counts, strict=True)):
            for part in range(count):  # a field of several numbers, or padding: columns nobody asks for
                plain = count == 1 and name != "_" and name not in dict(fields)
                fields.append((name if plain else f"_{number}.{part}", kind))
        np.dtype(fields)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} has a broken PCD header ({error!r}); restore it") from None
    if form == "binary_compressed":
        return _unpack(path, content[end.end() :], points, fields)
    return _table(path, content[end.end() :], points, fields, form)


def _unpack(path: Path, body: bytes, count: int, fields: list[tuple[str, str]]) -> Columns:
    """Read the body of a compressed PCD: two sizes, then all values of the first field, of the second, ..."""
    import lzf

    expected = count * np.dtype(fields).itemsize
    packed, plain = struct.unpack_from("<II", body.ljust(8, b"\0"))
    content = b""
    if plain == expected and 8 + packed <= len(body) and plain <= _MOST_PACKED * packed:
        try:
            content = lzf.decompress(body[8 : 8 + packed], plain) or b""
        except ValueError:
            content = b""
    if plain != expected or len(content) != plain:
        raise ValueError(
            f"{path} is truncated or broken: {len(body)} bytes do not unpack to the {expected} of {count} "
            "points; restore it"
        )
    columns, start = {}, 0
    for name, kind in fields:
        columns[name] = np.frombuffer(content, "<" + kind, count, start)
        start += columns[name].nbytes
    return columns


def _table(path: Path, body: bytes, count: int, fields: list[tuple[str, str]], form: str) -> Columns:
    """Read ``count`` records of named numbers, as text or as bytes."""
    names = [name for name, _ in fields]
    if count < 0 or not fields or len(set(names)) != len(names):
        raise ValueError(f"{path} has a broken header: {count} points with the fields {names}")
    order = {"ascii": "", "binary": "<", "binary_little_endian": "<", "binary_big_endian": ">"}.get(form)
    if order is None:
        raise ValueError(f"{path} has the unknown encoding {form!r}; expected ascii or binary")
    if form == "ascii":
        return dict(zip(names, _numbers(path, body, count, len(fields)).T, strict=True))
    dtype = np.dtype([(name, order + kind) for name, kind in fields])
    if len(body) < count * dtype.itemsize:
        raise ValueError(
            f"{path} is truncated: expected {count * dtype.itemsize} bytes of points, got {len(body)}; "
            "restore it"
        )
    records = np.frombuffer(body, dtype=dtype, count=count)
    return {name: records[name] for name in names}


def _numbers(path: Path, body: bytes, count: int, width: int) -> Float64[np.ndarray, "points columns"]:
    """Read lines of as many numbers as a point has."""
    rows = [row for row in map(bytes.split, body.splitlines()) if row][:count]
    if len(rows) < count or (rows and len(rows[-1]) < width):
        raise ValueError(
            f"{path} is truncated: expected {count} points of {width} numbers, got {len(rows)}; restore it"
        )
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise ValueError(
                f"{path}: point {number} has {len(row)} numbers, expected the {width} that the header names"
            )
    try:
        return np.array(rows, dtype=np.float64).reshape(count, width)
    except ValueError as error:
        raise ValueError(f"{path} holds something that is no number ({error}); restore it") from None
