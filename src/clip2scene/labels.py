"""Classes of each data set: names, prompts, colours, and which raw label means which class.

A train id is the position of a class in its :class:`ClassSet`. Raw ids are what the data set's own files
hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.types import IGNORE_LABEL


@dataclass(frozen=True)
class ClassSet:
    """The classes a data set is judged by.

    Attributes:
        name: The data set's name.
        classes: Natural words for each class, in the order of train ids.
        prompts: Names that may stand for each class; the first is the plainest word, the one that toytown's
            own image-text model knows. Several names of one class compete with the other classes together.
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
        if len(set(self.classes)) != len(self.classes) or not all(self.prompts):
            raise ValueError(
                f"class set {self.name!r} needs distinct class names with at least one prompt each"
            )
        for raw, train_id in self.train_id_of_raw.items():
            if raw < 0 or not 0 <= train_id < len(self.classes):
                raise ValueError(
                    f"class set {self.name!r} maps raw label {raw} to {train_id}; "
                    f"expected a raw label of 0 or more and a train id below {len(self.classes)}"
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
        >>> train_ids(torch.tensor([0, 17, 24, 999]), NUSCENES)
        tensor([-1,  3, 10, -1])
    """
    size = max(class_set.train_id_of_raw, default=-1) + 2  # the last entry stands for every other raw label
    table = torch.full((size,), IGNORE_LABEL, dtype=torch.int64)
    for known, train_id in class_set.train_id_of_raw.items():
        table[known] = train_id
    raw = raw.long()
    unlisted = (raw < 0) | (raw >= size)
    return table.to(raw.device)[torch.where(unlisted, size - 1, raw)]


NUSCENES_CATEGORIES = (
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
)
"""nuScenes' own category names in the order of their raw lidarseg ids, 0 to 31."""

NUSCENES = ClassSet(
    name="nuscenes",
    classes=(
        "barrier",
        "bicycle",
        "bus",
        "car",
        "construction vehicle",
        "motorcycle",
        "pedestrian",
        "traffic cone",
        "trailer",
        "truck",
        "driveable surface",
        "other flat",
        "sidewalk",
        "terrain",
        "manmade",
        "vegetation",
    ),
    prompts=(
        ("barrier", "barricade"),
        ("bicycle",),
        ("bus",),
        ("car", "van", "SUV"),
        ("construction vehicle", "excavator", "crane", "bulldozer"),
        ("motorcycle", "scooter"),
        ("person", "pedestrian", "child", "construction worker"),
        ("traffic cone",),
        ("trailer",),
        ("truck", "pickup truck"),
        ("road", "street", "crosswalk"),
        ("traffic island", "railway track", "water"),
        ("sidewalk", "curb"),
        ("grass", "lawn", "soil", "gravel"),
        ("building", "wall", "pole", "fence", "traffic sign", "traffic light", "bridge"),
        ("tree", "bush", "plant"),
    ),
    colours=(
        (112, 128, 144),
        (220, 20, 60),
        (255, 127, 80),
        (255, 158, 0),
        (233, 150, 70),
        (255, 61, 99),
        (0, 0, 230),
        (47, 79, 79),
        (255, 140, 0),
        (255, 99, 71),
        (0, 207, 191),
        (175, 0, 75),
        (75, 0, 75),
        (112, 180, 60),
        (222, 184, 135),
        (0, 175, 0),
    ),
    train_id_of_raw={
        **{9: 0, 14: 1, 15: 2, 16: 2, 17: 3, 18: 4, 21: 5, 2: 6, 3: 6, 4: 6, 6: 6, 12: 7, 22: 8, 23: 9},
        **{24: 10, 25: 11, 26: 12, 27: 13, 28: 14, 30: 15},
    },
)
"""The 16 classes of nuScenes-lidarseg's challenge; raw ids are positions in :data:`NUSCENES_CATEGORIES`."""

_TOYTOWN_WORDS: dict[str, tuple[str, ...]] = {
    "barrier": ("barrier",),
    "bicycle": ("bicycle",),
    "bus": ("bus",),
    "car": ("car",),
    "pedestrian": ("person",),
    "traffic cone": ("cone",),
    "truck": ("truck",),
    "driveable surface": ("road",),
    "sidewalk": ("sidewalk",),
    "terrain": ("grass",),
    "manmade": ("building", "house", "wall", "pole", "sign"),
    "vegetation": ("tree", "bush"),
}


def _subset(whole: ClassSet, name: str, words: Mapping[str, tuple[str, ...]]) -> ClassSet:
    """Keep some classes of a class set, with new prompts; raw labels of the others are ignored."""
    kept = [whole.classes.index(title) for title in words]
    return ClassSet(
        name=name,
        classes=tuple(words),
        prompts=tuple(words.values()),
        colours=tuple(whole.colours[old] for old in kept),
        train_id_of_raw={raw: kept.index(old) for raw, old in whole.train_id_of_raw.items() if old in kept},
    )


TOYTOWN = _subset(NUSCENES, "toytown", _TOYTOWN_WORDS)
"""The 12 of nuScenes' 16 classes that the embedded world has, in its image-text model's own words."""

CITYSCAPES = ClassSet(
    name="cityscapes",
    classes=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    prompts=(
        ("road", "street"),
        ("sidewalk",),
        ("building", "house"),
        ("wall",),
        ("fence",),
        ("pole",),
        ("traffic light",),
        ("traffic sign",),
        ("tree", "bush", "vegetation"),
        ("grass", "terrain"),
        ("sky",),
        ("person", "pedestrian"),
        ("rider",),
        ("car",),
        ("truck",),
        ("bus",),
        ("train",),
        ("motorcycle",),
        ("bicycle",),
    ),
    colours=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
    train_id_of_raw={train_id: train_id for train_id in range(19)},
)
"""The 19 classes most public street segmenters speak; raw ids are the usual train ids."""

PANDASET = ClassSet(
    name="pandaset",
    classes=CITYSCAPES.classes,
    prompts=CITYSCAPES.prompts,
    colours=CITYSCAPES.colours,
    train_id_of_raw={
        **{7: 0, 8: 0, 9: 0, 10: 0, 11: 1, 41: 2, 35: 4, 39: 4, 36: 7, 38: 7, 5: 8, 6: 9, 30: 11, 31: 11},
        **{13: 13, 14: 13, 15: 14, 16: 14, 23: 15, 18: 17, 26: 18},
    },
)
"""PandaSet judged in Cityscapes' 19 classes, so that a street segmenter's labels and the lidar truth share
their ids.

13 of the 19 have a PandaSet label at all; sky, wall, pole, traffic light, rider and train never occur in the
truth, so a point that is called one of these is simply wrong, and a mean over the classes present leaves them
out.
"""
