"""Large JSON lists read one record at a time, with suspicion."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip2scene.io import regular_file, without_repeats
from clip2scene.parallel import ProgressBar, progress_bar

Row = dict[str, Any]

CHUNK_BYTES = 1 << 22
MOST_RECORD_CHARACTERS = 1 << 20
"""A longer record is taken for a broken one, so that a broken file is not read whole into memory."""

_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(object_pairs_hook=without_repeats)


def json_rows(path: Path, *, show_progress: bool = False) -> Iterator[Row]:
    """Go through a JSON list of objects without holding more than a few of them.

    Args:
        path: The file; UTF-8.
        show_progress: Whether to draw a bar.

    Raises:
        ValueError: If the file is missing, is cut short, or is not a list of objects; the message names it.
    """
    size = path.stat().st_size if path.is_file() else 0
    with progress_bar(
        desc=f"read {path.name}", total=size, unit="B", unit_scale=True, disable=not show_progress
    ) as bar:
        window = _Window(path, bar)
        number = 0
        try:
            window.open_list()
            while (row := window.next_value(first=number == 0)) is not None:
                if not isinstance(row, dict):
                    raise ValueError(f"{path}, record {number}: expected an object, got {str(row)[:60]!r}")
                yield row
                number += 1
        finally:
            window.close()


class _Window:
    """A part of a file's text that moves on; ``at`` is the place in it that is read next."""

    def __init__(self, path: Path, bar: ProgressBar) -> None:
        self.path, self.bar = path, bar
        self.text, self.at, self.ended = "", 0, False
        self.decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        try:
            self.file = regular_file(path).open("rb")
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror}); restore it") from None

    def close(self) -> None:
        """Let the file go."""
        self.file.close()

    def open_list(self) -> None:
        """Step over the opening bracket."""
        if self._next_character() != "[":
            raise self._fault("expected a list of records")
        self.at += 1

    def next_value(self, *, first: bool) -> Any:  # noqa: ANN401 - whatever JSON can hold
        """Read the next element of the list; None at its end, which must be the file's."""
        character = self._next_character()
        if character == "," and not first:
            self.at += 1
            character = self._next_character()
        elif character == "]":
            self.at += 1
            if self._next_character():
                raise self._fault("something follows the list")
            return None
        elif not first:
            raise self._fault("expected ',' or ']'" if character else "it ends within the list")
        while True:
            try:
                value, self.at = _DECODER.raw_decode(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if self.ended or len(self.text) - self.at > MOST_RECORD_CHARACTERS:
                    raise self._fault("it ends within the list" if not character else str(error)) from None
                self._read_on()
            else:
                if value is None:
                    raise self._fault("expected an object, got null")
                return value

    def _next_character(self) -> str:
        """Step over blanks and look at what follows; empty at the end of the file."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]  # it always matches
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._read_on()

    def _read_on(self) -> None:
        """Take in the next part of the file and drop what has been read."""
        try:
            content = self.file.read(CHUNK_BYTES)
            self.ended = not content
            self.text, self.at = self.text[self.at :] + self.decode(content, self.ended), 0
        except UnicodeDecodeError as error:
            raise self._fault(str(error)) from None
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read ({error.strerror}); restore it") from None
        self.bar.update(len(content))

    def _fault(self, what: str) -> ValueError:
        return ValueError(f"{self.path} is not valid JSON ({what}); restore the file or write it anew")
