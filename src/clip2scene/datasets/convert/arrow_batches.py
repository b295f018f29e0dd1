"""Tables of Arrow read one batch of rows after the other, from files and from bytes, unpacked to a bound.

:func:`clip2scene.io.read_feather` reads tables that fit into memory.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip2scene.io import in_a_sentence, regular_file
from clip2scene.io.arrow import unpacked_sizes
from clip2scene.io.reading import refuse_bomb

_MAGIC = b"ARROW1"


@dataclass(frozen=True)
class Batches:
    """An open table, whose rows come in batches.

    Attributes:
        source: What it is, for messages.
        names: Of its columns.
        metadata: What its schema carries beside them.
        schema: Of the library.
        messages: The batches as they are stored, of the library.
    """

    source: str
    names: tuple[str, ...]
    metadata: Mapping[bytes, bytes] = field(repr=False)
    schema: Any = field(repr=False)
    messages: Any = field(repr=False)

    def __iter__(self) -> Iterator[Any]:
        """Read one batch after the other, once.

        Raises:
            ValueError: If one is broken, or would unpack to more than measured data do.
        """
        while (batch := self._next()) is not None:
            yield batch

    def _next(self) -> Any | None:  # noqa: ANN401 - pyarrow's
        """Read the next batch, whose offsets are sound; None at the end."""
        import pyarrow as pa

        try:
            message = self.messages.read_next_message()
            if message.type != "record batch":
                raise ValueError(f"it holds a {message.type}, expected plain columns")
            refuse_bomb(message.body.size, sum(unpacked_sizes(message)))
            batch = pa.ipc.read_record_batch(message, self.schema)
            batch.validate(full=True)
        except StopIteration:
            return None
        except Exception as error:  # whatever Arrow fails with
            raise _broken(self.source, error) from None
        return batch


@contextmanager
def open_arrow_file(path: Path) -> Iterator[Batches]:
    """Open an Arrow file; no rows are read yet.

    Raises:
        ValueError: If pyarrow is missing, there is no such file, or it is broken or cut short.
    """
    pa = _arrow(path)
    file = pa.memory_map(str(regular_file(path)), "rb") if regular_file(path).stat().st_size else None
    try:
        if file is None or file.read_at(6, 0) != _MAGIC or file.read_at(6, file.size() - 6) != _MAGIC:
            raise ValueError("it does not begin and end as Arrow files do, so it may be cut short")
        file.seek(8)  # behind this mark, a file is a stream
        batches = _open(file, str(path))
    except Exception as error:  # whatever Arrow fails with
        raise _broken(path, error) from None
    with file:
        yield batches


def open_arrow_bytes(content: bytes, source: str) -> Batches:
    """Open an Arrow stream that lies in memory.

    Raises:
        ValueError: If pyarrow is missing, or it is broken.
    """
    pa = _arrow(source)
    try:
        return _open(pa.BufferReader(content), source)
    except Exception as error:  # whatever Arrow fails with
        raise _broken(source, error) from None


def _arrow(source: Path | str) -> Any:  # noqa: ANN401 - a module
    try:
        import pyarrow.ipc
    except ImportError:
        raise ValueError(f"{source} needs the library pyarrow; install clip2scene[123d]") from None
    return pyarrow


def _open(stream: Any, source: str) -> Batches:  # noqa: ANN401 - pyarrow's
    import pyarrow as pa

    messages = pa.ipc.MessageReader.open_stream(stream)
    try:
        schema = pa.ipc.read_schema(messages.read_next_message())
    except StopIteration:
        raise ValueError("it is empty") from None
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise ValueError(f"it has more than one column {twice[:100]!r}, expected one of each name")
    return Batches(source, tuple(schema.names), schema.metadata or {}, schema, messages)


def _broken(source: Path | str, error: Exception) -> ValueError:
    return ValueError(f"{source} cannot be read as Arrow ({in_a_sentence(error)[:200]}); restore it")
