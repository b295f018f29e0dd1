"""A list of classes: names, prompts, colours, and which raw label means which class.

A train id is the position of a class in its :class:`ClassSet`. Raw ids are what a data set's own files hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.words import is_text
from clip2scene.types import IGNORE_LABEL


@dataclass(frozen=True)
class ClassSet:
    """Evaluation classes, or the prompt classes of a teacher.

    Attributes:
        name: The data set's name.
        classes: Natural words for each class, in the order of train ids.
        prompts: Names that may stand for each class; the first is the plainest word, the one that toytown's
            own image-text model knows if it knows any. Several names of one class compete with the other
            classes together. No name stands for two classes, capitals and outer blanks aside.
        colours: Red, green and blue of each class, 0..255.
        train_id_of_raw: Raw label to train id; a raw label that is not listed is ignored.
    """

    name: str
    classes: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    colours: tuple[tuple[int, int, int], ...]
    train_id_of_raw: Mapping[int, int] = field(hash=False)

    def __post_init__(self) -> None:
        """Refuse tables that do not fit together."""
        lengths = {"prompts": len(self.prompts), "colours": len(self.colours)}
        for what, length in lengths.items():
            if length != len(self.classes):
                raise ValueError(
                    f"class set {self.name!r} has {len(self.classes)} classes but {length} {what}"
                )
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"class set {self.name!r} needs distinct class names, got {self.classes}")
        self._check_prompts()
        for raw, train_id in self.train_id_of_raw.items():
            if raw < 0 or not 0 <= train_id < len(self.classes):
                raise ValueError(
                    f"class set {self.name!r} maps raw label {raw} to {train_id}; "
                    f"expected a raw label of 0 or more and a train id below {len(self.classes)}"
                )

    def _check_prompts(self) -> None:
        class_of_prompt: dict[str, str] = {}
        for which, names in zip(self.classes, self.prompts, strict=True):
            if not names or not all(name.strip() for name in names):
                raise ValueError(
                    f"class {which!r} of class set {self.name!r} needs at least one prompt, and none that is "
                    f"blank, got {names}; give it a word to be called by"
                )
            for name in (which, *names):
                if not is_text(name):
                    raise ValueError(
                        f"class {which!r} of class set {self.name!r} is called {name!r}, which holds a "
                        "control character or one that is not seen; write it anew"
                    )
            for name in names:
                other = class_of_prompt.setdefault(name.strip().casefold(), which)
                if other != which:
                    raise ValueError(
                        f"classes {other!r} and {which!r} of class set {self.name!r} have the same prompt "
                        f"{name!r}, so they cannot be told apart by it; leave it to one of them"
                    )

    def __len__(self) -> int:
        """Count the classes."""
        return len(self.classes)


def train_ids(raw: Int[Tensor, "*shape"], class_set: ClassSet) -> Int[Tensor, "*shape"]:
    """Translate raw labels to train ids.

    Args:
        raw: Labels as the data set's files hold them, of points or pixels.
        class_set: The table to translate by.

    Returns:
        Train ids as int64; ``IGNORE_LABEL`` for every raw label the table does not list.

    Example:
        >>> colours = ((0, 0, 0), (9, 9, 9))
        >>> cats = ClassSet("cats", ("tame", "wild"), (("cat",), ("lion",)), colours, {7: 0, 3: 1})
        >>> train_ids(torch.tensor([7, 3, 0, 999]), cats)
        tensor([ 0,  1, -1, -1])
    """
    size = max(class_set.train_id_of_raw, default=-1) + 2  # the last entry stands for every other raw label
    table = torch.full((size,), IGNORE_LABEL, dtype=torch.int64)
    for known, train_id in class_set.train_id_of_raw.items():
        table[known] = train_id
    raw = raw.long()
    unlisted = (raw < 0) | (raw >= size)
    return table.to(raw.device)[torch.where(unlisted, size - 1, raw)]


def keep_classes(class_set: ClassSet, name: str, prompts: Mapping[str, tuple[str, ...]]) -> ClassSet:
    """Keep some classes of a class set, with new prompts; raw labels of the others are ignored.

    Args:
        class_set: The whole.
        name: What the part is called.
        prompts: By name of the classes to keep, in their new order.

    Raises:
        ValueError: If a class is not there.
    """
    unknown = [which for which in prompts if which not in class_set.classes]
    if unknown:
        raise ValueError(
            f"class set {class_set.name!r} has no class {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(class_set.classes)}"
        )
    kept = [class_set.classes.index(which) for which in prompts]
    return ClassSet(
        name=name,
        classes=tuple(prompts),
        prompts=tuple(prompts.values()),
        colours=tuple(class_set.colours[old] for old in kept),
        train_id_of_raw={
            raw: kept.index(old) for raw, old in class_set.train_id_of_raw.items() if old in kept
        },
    )


def keep_known(class_set: ClassSet, unknown_words: Callable[[str], list[str]]) -> ClassSet:
    """Leave out the prompts that a text space has no meaning for, and the classes that have no other.

    Args:
        class_set: The whole.
        unknown_words: Lists the parts of a prompt that have no meaning
            (:meth:`~clip2scene.teacher.prompts.TextSpace.unknown_words`).

    Raises:
        ValueError: If no class is left.
    """
    known = {
        which: tuple(name for name in names if not unknown_words(name))
        for which, names in zip(class_set.classes, class_set.prompts, strict=True)
    }
    kept = {which: names for which, names in known.items() if names}
    if not kept:
        raise ValueError(
            f"the image-text model knows no prompt of class set {class_set.name!r}; use a class set in words "
            "that it was trained with, or a model with a larger vocabulary"
        )
    return keep_classes(class_set, class_set.name, kept)


def join_class_sets(class_sets: Sequence[ClassSet], *, name: str = "all") -> ClassSet:
    """Put the words of several class sets side by side.

    Classes of the same name are one class, with the prompts of all and the colour of the first. A prompt that
    several classes have goes to the class of just that name, else to the first of them; a class that is left
    with none is called by its own name. So ``building``, one of nuScenes' prompts for ``manmade``, becomes
    SemanticKITTI's class where both are joined.

    Args:
        class_sets: In order of precedence.
        name: What the union is called.

    Returns:
        The classes in order of their first appearance; without raw labels, since no file holds its ids.

    Raises:
        ValueError: If there is nothing to join.
    """
    if not class_sets:
        raise ValueError("joining class sets needs at least one, got none; name the sets to join")
    listed: dict[str, list[str]] = {}
    colours: dict[str, tuple[int, int, int]] = {}
    for each in class_sets:
        for which, names, colour in zip(each.classes, each.prompts, each.colours, strict=True):
            listed.setdefault(which, []).extend(names)
            colours.setdefault(which, colour)
    owner = {which.casefold(): which for which in listed}
    for which, several in listed.items():
        for prompt in several:
            owner.setdefault(prompt.strip().casefold(), which)
    prompts = {
        which: tuple(dict.fromkeys(each for each in several if owner[each.strip().casefold()] == which))
        for which, several in listed.items()
    }
    return ClassSet(
        name=name,
        classes=tuple(listed),
        prompts=tuple(names or (which,) for which, names in prompts.items()),
        colours=tuple(colours.values()),
        train_id_of_raw={},
    )
