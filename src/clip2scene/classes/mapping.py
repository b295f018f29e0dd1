"""How answers in the words of one class set are judged in another.

The table is by class name, so that a word means the same whichever set it comes from; ``docs/words.md`` gives
the reasons.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.types import IGNORE_LABEL

_COLUMN = {"nuscenes": 0, "toytown": 0, "cityscapes": 1, "pandaset": 1}
_COLUMN |= {"semantic-kitti": 2, "toytown-kitti": 2}
"""Where the classes of a judged set stand in a row of :data:`_JUDGED_AS`; toytown's are parts of others."""

_JUDGED_AS: dict[str, tuple[str | None, str | None, str | None]] = {
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


def map_classes(prompted: ClassSet, judged: ClassSet) -> Int[Tensor, " spoken"]:
    """Say how answers in the words of one class set are judged in another.

    A finer class counts as the coarser one it is part of. A coarser class counts as the one part of it that
    the table names; the other parts are then never answered.

    Args:
        prompted: The classes that answers name.
        judged: The classes that the truth names.

    Returns:
        Train id in ``judged`` of each class of ``prompted``; ``IGNORE_LABEL``, no answer and so wrong, where
        ``judged`` has no such class.

    Raises:
        ValueError: If it is not known what a class of ``prompted`` is in ``judged``.

    Example:
        >>> from clip2scene.classes.tables import CITYSCAPES, TOYTOWN
        >>> found = map_classes(CITYSCAPES, TOYTOWN)[torch.tensor([0, 2, 5, 10])]  # road, building, pole, sky
        >>> [TOYTOWN.classes[number] if number >= 0 else None for number in found]
        ['driveable surface', 'manmade', 'manmade', None]
    """
    column = _COLUMN.get(judged.name)
    answers = torch.full((len(prompted),), IGNORE_LABEL)
    for number, word in enumerate(prompted.classes):
        if word in judged.classes:
            answers[number] = judged.classes.index(word)
            continue
        if column is None or word not in _JUDGED_AS:
            raise ValueError(
                f"it is not known what class {word!r} of class set {prompted.name!r} is in {judged.name!r}, "
                f"whose classes are {', '.join(judged.classes)}; answers in words of the sets nuscenes, "
                f"semantic-kitti, cityscapes and scannet are judged in {', '.join(_COLUMN)}"
            )
        stands_for = _JUDGED_AS[word][column]
        if stands_for in judged.classes:
            answers[number] = judged.classes.index(stands_for)
    return answers


@dataclass(frozen=True)
class ClassMapping:
    """The classes that answers are judged in, and what each class of the words is among them.

    Attributes:
        classes: Their names.
        of_words: Train id of each of the words' classes; ``IGNORE_LABEL`` where there is no such class, which
            counts as a wrong answer.
    """

    classes: tuple[str, ...]
    of_words: Int[Tensor, " spoken"]

    def translate(self, answers: Int[Tensor, " points"]) -> Int[Tensor, " points"]:
        """Turn answers in the words' classes into train ids; no answer stays none."""
        return torch.where(answers < 0, IGNORE_LABEL, self.of_words[answers.clamp(min=0)])
