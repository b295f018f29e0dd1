"""Compressed parts of ROS recordings, unpacked no further than recorders pack.

The library rosbags unpacks chunks and messages whole, however much they hold: 402 bytes of bzip2 may become
512 MB. Its decompressors are replaced, where it looks them up, by ones that stop.
"""

import bz2
from collections.abc import Callable
from functools import cache
from os import fstat
from types import SimpleNamespace
from typing import Any, BinaryIO

MOST_UNPACKED = 1 << 28
"""Bytes that a chunk or a message may unpack to; recorders write chunks of a few MB."""

MOST_RATIO = 100
"""Times its own size that a file which is compressed as a whole may unpack to, if more than that."""


def unpack(packed: bytes, new: Callable[[], Any]) -> bytes:
    """Unpack streams that follow each other.

    Args:
        packed: The streams, whole.
        new: Makes a decompressor for one, with the methods of :class:`bz2.BZ2Decompressor`.

    Raises:
        ValueError: If they end too early, or hold more than :data:`MOST_UNPACKED` bytes.
    """
    parts, left, rest = list[bytes](), MOST_UNPACKED, packed
    while rest:
        stream = new()
        parts.append(stream.decompress(rest, max_length=left + 1))
        left -= len(parts[-1])
        if left < 0:
            raise _too_much(len(packed), MOST_UNPACKED)
        if not stream.eof:
            raise ValueError("a compressed part ends too early")
        rest = stream.unused_data or b""
    return b"".join(parts)


@cache
def bound_library() -> None:
    """Bound all that rosbags unpacks, from now on and for the whole process."""
    from lz4.frame import LZ4FrameDecompressor
    from rosbags.rosbag1 import reader as ros1
    from rosbags.rosbag2 import reader, storage_mcap

    ros2: Any = reader
    zstd: Any = ros2.zstd

    class ZstdFile(zstd.ZstdFile):
        """A compressed file that stops."""

        def __init__(self, stream: BinaryIO, mode: str) -> None:
            super().__init__(stream, mode)
            self.packed = fstat(stream.fileno()).st_size

        def read(self, size: int | None = -1) -> bytes:
            block = super().read(size)
            most = max(MOST_UNPACKED, MOST_RATIO * self.packed)
            if self.tell() > most:
                raise _too_much(self.packed, most)
            return block

    def unpack_zstd(packed: bytes, _: int = 0) -> bytes:
        return unpack(packed, zstd.ZstdDecompressor)

    def unpack_lz4(packed: bytes, _: int = 0) -> bytes:
        return unpack(packed, LZ4FrameDecompressor)

    ros1.decompressors |= {"bz2": lambda packed: unpack(packed, bz2.BZ2Decompressor), "lz4": unpack_lz4}
    storage_mcap.DECOMPRESSORS |= {"lz4": unpack_lz4, "zstd": unpack_zstd}
    ros2.zstd = SimpleNamespace(decompress=unpack_zstd, open=ZstdFile)


def _too_much(packed: int, most: int) -> ValueError:
    return ValueError(
        f"{packed / 1e6:.3f} MB of it would unpack to more than {most / 1e6:.0f} MB, which recordings do "
        "not; if it is one all the same, write it anew in smaller chunks or without compression"
    )
