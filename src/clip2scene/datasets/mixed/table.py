"""``mix.json``: the data sets of a mixture, their weights, and what their classes are among those of all.

``docs/data.md`` describes the file, with an example.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet, join_class_sets
from clip2scene.classes.mapping import map_classes
from clip2scene.datasets.streets import STREETS
from clip2scene.io import read_json
from clip2scene.types import IGNORE_LABEL

MIX = "mix.json"
"""The file in the root of a mixture, and in the folder of a run that was trained on one."""

LEAST_SHARE = 0.001
"""Of the sum of all weights: a source is drawn at least so often (:mod:`clip2scene.distill.shares`)."""

_MOST = 1e9  # no weight of a person's; JSON has numbers that no float holds
_KEYS = {"root", "layout", "name", "weight", "classes", "class_set", "splits", "table"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Source:
    """A data set of a mixture.

    Attributes:
        name: What it is called in messages and in the names of its samples; no dot is in it.
        root: Where it lies.
        layout: Its layout.
        weight: Its share of the draws, against those of the others; above 0.
        kind: The name of its own classes, as its loader takes it: ``own``, or ``toytown``.
        class_set: Its own classes.
        renamed: What a class of its own is called among those of all; None leaves the class out, so that its
            labels are ignored. Classes that are not listed keep their names.
        splits: What a split is called there; None where it has no part of it.
    """

    name: str
    root: Path
    layout: str
    weight: float
    kind: str
    class_set: ClassSet
    renamed: Mapping[str, str | None]
    splits: Mapping[str, str | None]

    def class_name(self, own: str) -> str | None:
        """Say what a class of its own is called among those of all; None where it is left out."""
        return self.renamed.get(own, own)

    def to_json(self) -> dict[str, Any]:
        """Write it down so that it is known without the data: its root is absolute, its classes listed."""
        own = self.class_set
        return {
            "name": self.name,
            "root": str(self.root.resolve()),
            "layout": self.layout,
            "weight": self.weight,
            "class_set": self.kind,
            "classes": dict(self.renamed),
            "splits": dict(self.splits),
            "table": {
                "name": own.name,
                "classes": list(own.classes),
                "prompts": [list(each) for each in own.prompts],
                "colours": [list(each) for each in own.colours],
                "ids": [[raw, number] for raw, number in own.train_id_of_raw.items()],
            },
        }


def read_sources(folder: Path, classes: str = "own") -> tuple[Source, ...]:
    """Read the sources of a mixture, of its root or of a run that was trained on it.

    Args:
        folder: Holds ``mix.json``; relative roots in it are meant from there.
        classes: The name of the classes of each source that names none of its own.

    Raises:
        ValueError: If the file is missing or not as described, two sources have a root or a name in common, a
            weight is no number above 0 or too small a share, or a class is not there.
    """
    path = Path(folder) / MIX
    content = read_json(path)
    rows = content.get("sources") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f'{path} must be {{"sources": [...]}} with one source or more, got {content!r:.80}')
    sources = [_read_source(path, number, row, classes) for number, row in enumerate(rows)]
    _refuse_twins(path, sources)
    total = sum(each.weight for each in sources)
    for each in sources:
        if each.weight < LEAST_SHARE * total:
            raise ValueError(
                f"{path}: source {each.name!r} has the weight {each.weight:g} of {total:g} in all, expected "
                f"a share of {LEAST_SHARE:g} or more; raise it, or take the source out"
            )
    return tuple(_like_another(path, each, rows[number], sources) for number, each in enumerate(sources))


def sources_to_json(sources: Sequence[Source]) -> dict[str, Any]:
    """Write down sources as a run keeps them, as :func:`read_sources` reads them."""
    return {"sources": [each.to_json() for each in sources]}


def _read_source(path: Path, number: int, row: object, classes: str) -> Source:
    where = f"{path}: source {number}"
    if not isinstance(row, dict) or not isinstance(row.get("root"), str):
        raise ValueError(f'{where} must be an object with a "root", got {row!r:.80}; correct it')
    unknown = sorted(set(row) - _KEYS)
    if unknown:
        raise ValueError(f"{where} has the key {unknown[0]!r}, expected some of {', '.join(sorted(_KEYS))}")
    root, layout = path.parent / row["root"], row.get("layout")
    if not isinstance(layout, str) or layout not in STREETS:
        raise ValueError(
            f"{where} has the layout {layout!r:.40}, expected one of {', '.join(STREETS)}; rooms, and "
            "mixtures in mixtures, are not mixed"
        )
    name = row.get("name", re.sub(r"[^A-Za-z0-9_-]", "-", root.resolve().name))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f'{where} has the "name" {name!r}, expected letters, digits, _ and -; correct it')
    weight = row.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < _MOST:
        raise ValueError(
            f'{path}: source {name!r} has the "weight" {weight!r:.40}, expected above 0, below 1e9'
        )
    kind = row.get("class_set", classes)
    if not isinstance(kind, str):
        raise ValueError(f'{path}: source {name!r} has the "class_set" {kind!r}, expected a name')
    splits = _names(path, name, "splits", row.get("splits", {}))
    try:
        own = _read_table(row["table"]) if "table" in row else STREETS[layout].class_set_of(kind, root)
    except ValueError as error:
        raise ValueError(f"{path}: source {name!r}: {error}") from None
    renamed = row.get("classes", {})
    renamed = {} if isinstance(renamed, str) else _names(path, name, "classes", renamed)
    absent = sorted(set(renamed) - set(own.classes))
    if absent:
        raise ValueError(
            f'{path}: "classes" of source {name!r} renames {absent[0]!r}, but it has {", ".join(own.classes)}'
        )
    return Source(name, root, layout, float(weight), kind, own, renamed, splits)


def _names(path: Path, name: str, key: str, value: object) -> dict[str, str | None]:
    """Check an object of names, or null."""
    if not isinstance(value, dict) or not all(
        each is None or isinstance(each, str) for each in value.values()
    ):
        raise ValueError(
            f'{path}: "{key}" of source {name!r} must give names or null by name, got {value!r:.80}'
        )
    return value


def _read_table(table: object) -> ClassSet:
    """Read the classes that a run keeps of a source."""
    try:
        assert isinstance(table, dict)
        return ClassSet(
            table["name"],
            tuple(table["classes"]),
            tuple(tuple(each) for each in table["prompts"]),
            tuple((red, green, blue) for red, green, blue in table["colours"]),
            dict(table["ids"]),
        )
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f'its "table" is damaged ({error}); restore the file') from None


def _refuse_twins(path: Path, sources: Sequence[Source]) -> None:
    """Refuse two sources of one root, or of one name."""
    roots: dict[Path, str] = {}
    names: dict[str, Path] = {}
    for each in sources:
        place = each.root.resolve()
        if place in roots:
            raise ValueError(
                f"{path} has {place} twice, as {roots[place]!r} and {each.name!r}; a source that is to be "
                "drawn more often has a larger weight"
            )
        if each.name in names:
            raise ValueError(
                f"{path} calls two sources {each.name!r}, {names[each.name]} and {each.root}; give one "
                'another "name"'
            )
        roots[place], names[each.name] = each.name, each.root


def _like_another(path: Path, source: Source, row: Mapping[str, Any], sources: Sequence[Source]) -> Source:
    """Map the classes of a source to those of another by the table of words, where the file asks for it."""
    like = row.get("classes")
    if not isinstance(like, str):
        return source
    others = {each.name: each.class_set for each in sources if each.name != source.name}
    if like not in others:
        raise ValueError(
            f'{path}: "classes" of source {source.name!r} are to be those of {like!r}, expected the name of '
            f"another source, one of {', '.join(others)}"
        )
    try:
        ids = map_classes(source.class_set, others[like]).tolist()
    except ValueError as error:
        raise ValueError(f'{path}: "classes" of source {source.name!r}: {error}') from None
    theirs = [None if number == IGNORE_LABEL else others[like].classes[number] for number in ids]
    return replace(source, renamed=dict(zip(source.class_set.classes, theirs, strict=True)))


def join_classes(sources: Sequence[Source]) -> ClassSet:
    """Join the classes of all sources: the same word is one class, with the prompts of all.

    Returns:
        The classes in order of their first appearance, without raw labels; or the classes of the first, as
        they are, where all have the same.

    Raises:
        ValueError: If a word is a class of one source and stands for another class in another source, so
            that what is right in one would be wrong in the other.
    """
    first = sources[0]
    if all(each.class_set == first.class_set and not each.renamed for each in sources):
        if all(each.class_set.train_id_of_raw == first.class_set.train_id_of_raw for each in sources):
            return first.class_set
    _refuse_contradictions(sources)
    return join_class_sets([_renamed(each) for each in sources], name="mix")


def _renamed(source: Source) -> ClassSet:
    """Give a source's classes their names among those of all; several may become one."""
    prompts: dict[str, list[str]] = {}
    colours: dict[str, tuple[int, int, int]] = {}
    own = source.class_set
    for which, words, colour in zip(own.classes, own.prompts, own.colours, strict=True):
        name = source.class_name(which)
        if name is not None:
            prompts.setdefault(name, []).extend(words)
            colours.setdefault(name, colour)
    names = {name: tuple(dict.fromkeys(words)) for name, words in prompts.items()}
    if not names:
        raise ValueError(f"source {source.name!r} leaves out all of its classes; keep some of them")
    return ClassSet(own.name, tuple(names), tuple(names.values()), tuple(colours.values()), {})


def _refuse_contradictions(sources: Sequence[Source]) -> None:
    """Refuse words that mean one class in a source and another class in another.

    A class that the file lists under "classes" has been decided on: its words are its own, as far as no other
    class is called by them.
    """
    meaning: dict[str, tuple[str, str]] = {}
    for source in sources:
        own = source.class_set
        for which, prompts in zip(own.classes, own.prompts, strict=True):
            if which in source.renamed:
                continue
            for word in (which, *prompts):
                other, where = meaning.setdefault(word.strip().casefold(), (which, source.name))
                if other != which:
                    raise ValueError(
                        f"{word!r} is of class {other!r} in source {where!r}, and of class {which!r} in "
                        f'source {source.name!r}; say under "classes" of one of them what its class is '
                        f"called in the other, such as {{{which!r}: {other!r}}} or null"
                    )


def ids_among_all(source: Source, union: ClassSet) -> Int[Tensor, " own_classes"]:
    """Give the train id among all classes of each class of a source; ``IGNORE_LABEL`` where left out."""
    names = [source.class_name(which) for which in source.class_set.classes]
    return torch.tensor([IGNORE_LABEL if name is None else union.classes.index(name) for name in names])
