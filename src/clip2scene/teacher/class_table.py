"""Class tables: which of our classes each class of another network stands for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.io import read_json
from clip2scene.types import IGNORE_LABEL

_FOLDER = Path(__file__).parents[1] / "assets" / "class-tables"
SHIPPED = ("ade20k",)
"""Tables in the package, for street classes: of the 150 classes of ADE20K."""

_MOST_SHOWN = 12


def _knows_no_name(name: str) -> int | None:
    return None


@dataclass(frozen=True)
class ClassTable:
    """What the classes of another network are among ours.

    A name is looked up in ``rows``, then among ``words``, then, where the text space knows it, the class of
    the nearest text embedding is taken; and after the whole name, the part before its first comma.

    Attributes:
        classes: Ours, in the order of train ids.
        words: Train id of each word that is known, in small letters; ``IGNORE_LABEL`` for what is none of
            ours.
        rows: What the user's table says: a word for each name, None for what is none of ours.
        nearest: Gives the train id of the class whose text embedding is nearest to that of a name; None where
            the text space does not know the name.
    """

    classes: tuple[str, ...]
    words: Mapping[str, int]
    rows: Mapping[str, str | None] = field(default_factory=dict)
    nearest: Callable[[str], int | None] = _knows_no_name

    def __post_init__(self) -> None:
        wrong = [word for word in self.rows.values() if word is not None and self._known(word) is None]
        if wrong:
            raise ValueError(
                f"the class table maps names to {_listed(wrong)}, which are no classes here; expected null "
                f"or some of {', '.join(self.classes)}; correct it (--teacher.class-table)"
            )

    def _known(self, word: str) -> int | None:
        return self.words.get(word.strip().casefold())

    def train_ids(self, names: Sequence[str]) -> Int[Tensor, " names"]:
        """Say which class each name stands for.

        Args:
            names: Of another network's classes.

        Returns:
            Train ids; ``IGNORE_LABEL`` for what is none of our classes.

        Raises:
            ValueError: If it is not known what a name stands for.
        """
        found = [self._train_id(name) for name in names]
        unknown = [name for name, each in zip(names, found, strict=True) if each is None]
        if unknown:
            raise ValueError(
                f"it is not known what {_listed(unknown)} of the network's classes are among "
                f"{', '.join(self.classes)}; give each a row in a table, null for what is none of these: "
                "--teacher.class-table"
            )
        return torch.tensor([IGNORE_LABEL if each is None else each for each in found])

    def _train_id(self, name: str) -> int | None:
        for form in (name, name.split(",")[0].strip()):  # "road, route" is a road
            if form in self.rows:
                word = self.rows[form]
                return IGNORE_LABEL if word is None else self._known(word)
            known = self._known(form)
            known = self.nearest(form) if known is None else known
            if known is not None:
                return known
        return None

    def without_source(self, names: Sequence[str]) -> list[str]:
        """List our classes that no name stands for, so that none of their points is ever labelled."""
        there = set(self.train_ids(names).tolist())
        return [name for number, name in enumerate(self.classes) if number not in there]


def read_class_table(source: str) -> dict[str, str | None]:
    """Read a table: a JSON object of the network's names, each with a word of ours, or null for none of ours.

    Args:
        source: Path of the file, or the name of a table in the package: ``ade20k``.

    Raises:
        ValueError: If the file is missing or is no such object.
    """
    path = Path(source) if source not in SHIPPED else _FOLDER / f"{source}.json"
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(each, str | None) for each in content.values()):
        raise ValueError(
            f'{path} is no class table: expected JSON such as {{"van": "car", "sky": null}}, a word of ours '
            "or null for each name; write it anew"
        )
    return content


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, dict.fromkeys(names[:_MOST_SHOWN])))
    return shown + (f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else "")
