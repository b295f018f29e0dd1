"""LAS and LAZ files, which mappers write, read with suspicion by ``laspy``."""

import struct
from pathlib import Path

import numpy as np

from clip2scene.io import in_a_sentence

_MOST_PACKED = 64  # points in a byte of a compressed file
_SLACK_M = 0.1


def read_las(path: Path) -> dict[str, np.ndarray]:
    """Read x, y, z and the intensity of every point; only clouds in a sensor's frame are of use.

    Raises:
        ValueError: If laspy is not installed, the file is broken or truncated, or a point lies outside of the
            box that the header tells.
    """
    try:
        import laspy
    except ImportError:
        raise ValueError(
            f"{path} needs the library laspy; install clip2scene[las], or write the cloud as .npy"
        ) from None
    try:
        _check_las(path)
        with laspy.open(path) as reader:
            header = reader.header
            least = 1 / _MOST_PACKED if header.are_points_compressed else header.point_format.size
            room = path.stat().st_size - header.offset_to_point_data
            if header.point_count * least > room:  # decompressors go on beyond the end
                raise ValueError(f"truncated: {header.point_count} points in {room} bytes")
            content = reader.read()
            columns = {axis: np.asarray(getattr(content, axis), dtype=np.float64) for axis in "xyz"}
            columns["intensity"] = np.asarray(content.intensity)
            low, high = header.mins - _SLACK_M, header.maxs + _SLACK_M
    except Exception as error:  # laspy and its decompressors have many
        raise ValueError(f"{path} cannot be read as LAS ({in_a_sentence(error)}); restore it") from None
    positions = np.stack([columns[axis] for axis in "xyz"], axis=1)
    if not ((positions >= low) & (positions <= high)).all():
        raise ValueError(
            f"{path} holds points outside of the box that its header tells, from {header.mins.tolist()} to "
            f"{header.maxs.tolist()}; restore it, or write the cloud as .npy"
        )
    return columns


def _check_las(path: Path) -> None:
    """Refuse a header that asks for more records than the file has room for; laspy would make them all."""
    with path.open("rb") as file:
        head, size = file.read(375), path.stat().st_size
    if len(head) < 227 or head[:4] != b"LASF":
        raise ValueError("it has no header")
    header, start, records = struct.unpack_from("<HII", head, 94)
    further = struct.unpack_from("<I", head, 243)[0] if head[25] >= 4 and len(head) >= 247 else 0
    if header + 54 * records > start or start + 60 * further > size:
        raise ValueError(f"truncated: {records} and {further} records do not fit")
