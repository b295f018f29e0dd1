"""Files that are either whole or absent."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Lend a temporary file that takes ``path``'s place only when the block ends well.

    The data are flushed to the disk before the name is changed, so a crash leaves the old file or the new
    one, never a part. Missing parent folders are made.

    Args:
        path: The file to write.

    Yields:
        A path in the same folder with the same suffixes, to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix="".join(path.suffixes))
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write ``content`` as indented JSON, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file.

    Raises:
        ValueError: If the file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; check the folder you named") from None
    except (ValueError, RecursionError) as error:  # no text, no JSON, a number or nesting beyond all measure
        raise ValueError(f"{path} is not valid JSON ({error}); restore the file or write it anew") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); restore the file") from None
