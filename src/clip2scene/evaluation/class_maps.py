"""What the numbers and words of labelled files stand for: class sets, and tables of one's own."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.tables import CLASS_SETS, NUSCENES
from clip2scene.io import read_json, read_text

CHALLENGE = "nuscenes-challenge"
"""Name of nuScenes' 16 classes by the numbers that its challenge gives them, 1 to 16."""

_NOTHING = ("none", "ignore", "unlabelled", "unlabeled")
Key = int | str
"""A label as a file has it: its number, or the word that it stands for."""


@dataclass(frozen=True)
class ClassMap:
    """Which class a number or a word is.

    Attributes:
        name: Of the class set or the file, for messages.
        classes: The classes, in order.
        of_id: Class of each number; None for none.
        of_word: Class of each word, in small letters; None for none.
        class_set: The class set, where it is one; its other numbers are none.
    """

    name: str
    classes: tuple[str, ...]
    of_id: Mapping[int, str | None]
    of_word: Mapping[str, str | None] = field(default_factory=dict)
    class_set: ClassSet | None = None

    def knows(self, key: Key) -> bool:
        """Tell whether the map says what a label is."""
        if isinstance(key, int):
            return self.class_set is not None or key in self.of_id
        return key.casefold() in self.of_word or key in self.classes

    def __getitem__(self, key: Key) -> str | None:
        """Give the class of a label that it knows, None for none."""
        if isinstance(key, int):
            return self.of_id.get(key)
        return self.of_word.get(key.casefold(), key)


def open_class_map(said: str) -> ClassMap:
    """Open a class set by its name, or a table of one's own in a JSON or TOML file.

    A table has the form ``{"car": [10, 252], "road": 40}`` (class, and its numbers), ``{"10": "car", "1-3":
    "road"}`` (a number or some, and their class), ``{"van": "car"}`` (a word, and its class), or that of
    ``NAME.classes.json`` and of a drive log's ``classes.json`` (``classes``: rows of ``name`` and ``id`` or
    ``ids``). A class ``none`` is none.

    Raises:
        ValueError: If there is no such class set or file, or the table has another form.
    """
    if said == CHALLENGE:
        return ClassMap(said, NUSCENES.classes, dict(enumerate(NUSCENES.classes, 1)), {}, NUSCENES)
    if said in CLASS_SETS:
        found = CLASS_SETS[said]
        of_id = {raw: found.classes[number] for raw, number in found.train_id_of_raw.items()}
        return ClassMap(said, found.classes, of_id, {}, found)
    path = Path(said)
    if path.suffix not in (".json", ".toml"):
        known = ", ".join(name for name, each in CLASS_SETS.items() if each.train_id_of_raw)
        raise ValueError(
            f"{said!r} is no class set, expected one of {known}, {CHALLENGE}, or a .json or .toml file"
        )
    content = read_json(path) if path.suffix == ".json" else _read_toml(path)
    return _read_table(path, content)


def _read_toml(path: Path) -> Any:  # noqa: ANN401 - whatever TOML can hold
    """Read a TOML file."""
    try:
        tomllib = import_module("tomllib")
    except ImportError:
        raise ValueError(f"{path}: TOML is read with Python 3.11 or newer; write it as .json") from None
    try:
        return tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # the latter: nested beyond all measure
        raise ValueError(f"{path} is broken TOML ({error}); correct it") from None


def _read_table(path: Path, content: Any) -> ClassMap:  # noqa: ANN401
    """Read a table of one's own."""
    of_id: dict[int, str | None] = {}
    of_word: dict[str, str | None] = {}
    classes: dict[str, None] = {}
    try:
        for name, members in _entries(content):
            known = None if name.casefold() in _NOTHING else name
            classes |= {} if known is None else {name: None}
            for member in members:
                table: dict[Any, str | None] = of_id if isinstance(member, int) else of_word
                key = member if isinstance(member, int) else member.casefold()
                if table.setdefault(key, known) != known:
                    raise ValueError(f"{member!r} is both {table[key]!r} and {known!r}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f" ({error})" if isinstance(error, ValueError) else ""
        raise ValueError(
            f'{path} is no table of classes{what}; expected {{"car": [10, 252], ...}}, {{"10": "car", ...}}, '
            '{"van": "car", ...}, or "classes" with a name and an id or ids each'
        ) from None
    if not classes:
        raise ValueError(f"{path} names no class; add some")
    return ClassMap(str(path), tuple(classes), of_id, of_word)


def _entries(content: Any) -> Iterator[tuple[str, list[Key]]]:  # noqa: ANN401
    """Give each class of a table, and its numbers and words."""
    if isinstance(content["classes"] if "classes" in content else None, list):
        for row in content["classes"]:
            ids = row["ids"] if "ids" in row else [row["id"]]
            yield str(row["name"]), [_whole(each) for each in ids]
        if "none" in content:
            yield "none", [_whole(content["none"])]
        return
    for key, value in content.items():
        if isinstance(value, str):
            numbers = re.fullmatch(r"(-?\d+)(?:-(\d+))?", key)
            yield value, _numbers(int(numbers[1]), int(numbers[2] or numbers[1])) if numbers else [key]
        else:
            members = value if isinstance(value, list) else [value]
            yield key, [each if isinstance(each, str) else _whole(each) for each in members]


def _numbers(first: int, last: int) -> list[Key]:
    """List numbers; refuse more than a label of 16 bits has."""
    if last - first >= 1 << 16:
        raise ValueError(f"{first} to {last} are more numbers than labels have")
    return list(range(first, last + 1))


def _whole(value: Any) -> int:  # noqa: ANN401
    """Refuse what is no whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no whole number")
    return value
