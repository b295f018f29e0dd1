"""Class mapping: which evaluation class each prompt class stands for.

Predictions name prompt classes, the words that the teacher is prompted with; scores are of evaluation
classes, in which the true labels are. The table is by class name, so that a word means the same whichever set
it comes from; ``docs/words.md`` gives the reasons.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.tables import ALL
from clip2scene.types import IGNORE_LABEL

_COLUMN = {"nuscenes": 0, "toytown": 0, "cityscapes": 1, "pandaset": 1}
_COLUMN |= {"semantic-kitti": 2, "toytown-kitti": 2}
"""Where the classes of an evaluation stand in a row of :data:`_STANDS_FOR`; toytown's are parts of others."""

_STANDS_FOR: dict[str, tuple[str | None, str | None, str | None]] = {
    # word: nuScenes, Cityscapes, SemanticKITTI
    "barrier": ("barrier", "fence", "fence"),
    "bicycle": ("bicycle", "bicycle", "bicycle"),
    "bus": ("bus", "bus", "other vehicle"),
    "car": ("car", "car", "car"),
    "construction vehicle": ("construction vehicle", "truck", "other vehicle"),
    "motorcycle": ("motorcycle", "motorcycle", "motorcycle"),
    "pedestrian": ("pedestrian", "person", "person"),
    "traffic cone": ("traffic cone", None, None),
    "trailer": ("trailer", "truck", "other vehicle"),
    "truck": ("truck", "truck", "truck"),
    "driveable surface": ("driveable surface", "road", "road"),
    "other flat": ("other flat", "sidewalk", "other ground"),
    "sidewalk": ("sidewalk", "sidewalk", "sidewalk"),
    "terrain": ("terrain", "terrain", "terrain"),
    "manmade": ("manmade", "building", "building"),
    "vegetation": ("vegetation", "vegetation", "vegetation"),
    # SemanticKITTI's own
    "other vehicle": ("bus", "bus", "other vehicle"),
    "person": ("pedestrian", "person", "person"),
    "bicyclist": ("bicycle", "rider", "bicyclist"),
    "motorcyclist": ("motorcycle", "rider", "motorcyclist"),
    "road": ("driveable surface", "road", "road"),
    "parking": ("driveable surface", "road", "parking"),
    "other ground": ("other flat", "sidewalk", "other ground"),
    "building": ("manmade", "building", "building"),
    "fence": ("manmade", "fence", "fence"),
    "trunk": ("vegetation", "vegetation", "trunk"),
    "pole": ("manmade", "pole", "pole"),
    "traffic sign": ("manmade", "traffic sign", "traffic sign"),
    # Cityscapes' own
    "wall": ("manmade", "wall", "fence"),
    "traffic light": ("manmade", "traffic light", None),
    "sky": (None, "sky", None),
    "rider": ("bicycle", "rider", "bicyclist"),
    "train": (None, "train", "other vehicle"),
    # ScanNet's own
    "floor": ("driveable surface", "road", "road"),
    "door": ("manmade", "building", "building"),
    "window": ("manmade", "building", "building"),
    **dict.fromkeys(("cabinet", "bed", "chair", "sofa", "table", "bookshelf"), (None, None, None)),
    **dict.fromkeys(("picture", "counter", "desk", "curtain", "refrigerator"), (None, None, None)),
    **dict.fromkeys(("shower curtain", "toilet", "sink", "bathtub"), (None, None, None)),
    "other furniture": (None, None, None),
}


def map_classes(prompted: ClassSet, evaluated: ClassSet) -> Int[Tensor, " prompt_classes"]:
    """Map prompt classes to evaluation classes, train id to train id.

    A finer class counts as the coarser one it is part of. A coarser class counts as the one part of it that
    the table names; the other parts are then never predicted.

    Args:
        prompted: The classes that predictions name.
        evaluated: The classes that the true labels name.

    Returns:
        Train id in ``evaluated`` of each class of ``prompted``; ``IGNORE_LABEL``, no prediction and so wrong,
        where ``evaluated`` has no such class.

    Raises:
        ValueError: If it is not known what a class of ``prompted`` is in ``evaluated``.

    Example:
        >>> from clip2scene.classes.tables import CITYSCAPES, TOYTOWN
        >>> found = map_classes(CITYSCAPES, TOYTOWN)[torch.tensor([0, 2, 5, 10])]  # road, building, pole, sky
        >>> [TOYTOWN.classes[number] if number >= 0 else None for number in found]
        ['driveable surface', 'manmade', 'manmade', None]
    """
    column = _COLUMN.get(evaluated.name)
    mapped = torch.full((len(prompted),), IGNORE_LABEL)
    for number, word in enumerate(prompted.classes):
        stands_for: str | None = word
        if word not in evaluated.classes:
            if column is None or word not in _STANDS_FOR:
                raise ValueError(
                    f"it is not known what class {word!r} of class set {prompted.name!r} is in "
                    f"{evaluated.name!r}, whose classes are {', '.join(evaluated.classes)}; predictions in "
                    "words of the sets nuscenes, semantic-kitti, cityscapes and scannet are evaluated in "
                    f"{', '.join(_COLUMN)}"
                )
            stands_for = _STANDS_FOR[word][column]
        if stands_for in evaluated.classes:
            mapped[number] = evaluated.classes.index(stands_for)
    return mapped


def known_words(evaluated: ClassSet) -> dict[str, int]:
    """Say which class each word is that is known: the classes' own names and prompts, and other sets' words.

    Args:
        evaluated: The classes.

    Returns:
        Train id of each word, in small letters; ``IGNORE_LABEL`` for words of other sets that are none of
        these classes, such as ``sky`` where no point is.

    Example:
        >>> from clip2scene.classes.tables import TOYTOWN
        >>> words = known_words(TOYTOWN)
        >>> [TOYTOWN.classes[words[word]] for word in ("van", "traffic light", "street")], words["sky"]
        (['car', 'manmade', 'driveable surface'], -1)
    """
    found: dict[str, int] = {}
    column = _COLUMN.get(evaluated.name)
    others = zip(ALL.classes, ALL.prompts, strict=True) if column is not None else ()
    for word, names in others:
        stands_for = _STANDS_FOR[word][column or 0]
        train_id = (
            IGNORE_LABEL if stands_for not in evaluated.classes else evaluated.classes.index(stands_for)
        )
        found |= {name.casefold(): train_id for name in (word, *names)}
    for train_id, names in enumerate(evaluated.prompts):
        found |= {name.strip().casefold(): train_id for name in names}
    return found | {name.casefold(): train_id for train_id, name in enumerate(evaluated.classes)}


@dataclass(frozen=True)
class ClassMapping:
    """The evaluation classes, and which of them each prompt class stands for.

    Attributes:
        classes: Names of the evaluation classes.
        of_words: Train id of each prompt class; ``IGNORE_LABEL`` where there is no such evaluation class,
            which counts as a wrong prediction.
    """

    classes: tuple[str, ...]
    of_words: Int[Tensor, " prompt_classes"]

    def translate(self, predictions: Int[Tensor, " points"]) -> Int[Tensor, " points"]:
        """Turn prompt classes, by position, into train ids; ``IGNORE_LABEL`` stays."""
        return torch.where(predictions < 0, IGNORE_LABEL, self.of_words[predictions.clamp(min=0)])
