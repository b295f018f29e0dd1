"""Tables of Arrow (Feather) of strangers, read with suspicion.

A buffer of a compressed table says itself how much it unpacks to, and pyarrow believes it; so all of them are
asked before. https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clip2scene.io.reading import in_a_sentence, refuse_bomb, regular_file


def read_feather(path: Path) -> dict[str, np.ndarray]:
    """Read the columns of numbers and of texts of an Arrow table; what else it holds is left out.

    Returns:
        Columns by name; those of lists of three numbers with shape ``(rows, 3)``, texts as objects.

    Raises:
        ValueError: If pyarrow is missing, or the file is missing or broken, or would unpack to far more than
            data compress to; this is found out before anything is unpacked.
    """
    regular_file(path)
    try:
        import pyarrow
        from pyarrow import ipc
    except ImportError:
        raise ValueError(
            f"{path} needs the library pyarrow; install clip2scene[feather], or write it in another format"
        ) from None
    try:
        with pyarrow.memory_map(str(path)) as file:
            content = file.read_buffer()
            ends = content.slice(0, 6).to_pybytes(), content.slice(max(content.size - 6, 0)).to_pybytes()
            if ends != (b"ARROW1", b"ARROW1"):
                raise ValueError("it does not begin and end with ARROW1, as whole files of version 2 do")
            stream = content.slice(8)
            bodies = ipc.MessageReader.open_stream(stream)
            refuse_bomb(content.size, sum(size for each in bodies for size in unpacked_sizes(each)))
            table = ipc.open_stream(stream).read_all()
            table.validate()
            return {name: column for name, column in _columns(table)}
    except Exception as error:  # whatever Arrow fails with
        raise ValueError(f"{path} cannot be read as Feather ({in_a_sentence(error)}); restore it") from None


def _columns(table: Any) -> Iterator[tuple[str, np.ndarray]]:  # noqa: ANN401 - pyarrow's
    from pyarrow import types

    for name in table.column_names:
        kind = table.schema.field(name).type
        if types.is_fixed_size_list(kind) and kind.list_size == 3:  # GeoArrow's points
            yield name, table[name].combine_chunks().flatten().to_numpy().reshape(-1, 3)
            continue
        kind = kind.value_type if types.is_dictionary(kind) else kind
        texts = types.is_string(kind) or types.is_large_string(kind)
        if texts or types.is_integer(kind) or types.is_floating(kind):
            yield name, table[name].to_numpy()


def unpacked_sizes(message: Any) -> Iterator[int]:  # noqa: ANN401 - pyarrow's
    """Say how much the compressed buffers of a message unpack to.

    Its metadata are a flatbuffer: a Message, whose header (field 2) is a RecordBatch, or a DictionaryBatch
    whose data (field 1) are one. Field 2 of that are the buffers, 16 bytes each: where and how long. Field 3
    is there if they are compressed: each begins with its unpacked size, -1 for those that are not.
    """
    if message.type not in ("record batch", "dictionary"):
        return
    metadata, body = message.metadata.to_pybytes(), memoryview(message.body)
    batch = _field(metadata, _follow(metadata, 0), 2)
    if message.type == "dictionary":
        batch = _field(metadata, _follow(metadata, batch), 1)
    table = _follow(metadata, batch)
    if not _field(metadata, table, 3):
        return
    buffers = _follow(metadata, _field(metadata, table, 2))
    (count,) = struct.unpack_from("<I", metadata, buffers)
    for begin, length in struct.iter_unpack("<qq", metadata[buffers + 4 : buffers + 4 + 16 * count]):
        if length:
            yield max(struct.unpack_from("<q", body, begin)[0], 0)


def _follow(metadata: bytes, place: int) -> int:
    """Go where an offset points."""
    return int(place + struct.unpack_from("<I", metadata, place)[0])


def _field(metadata: bytes, table: int, number: int) -> int:
    """Find a field of a flatbuffer's table; 0 where it is left out."""
    known = table - struct.unpack_from("<i", metadata, table)[0]
    (size,) = struct.unpack_from("<H", metadata, known)
    if 4 + 2 * number >= size:
        return 0
    (offset,) = struct.unpack_from("<H", metadata, known + 4 + 2 * number)
    return int(table + offset) if offset else 0
