import pytest
import torch

from clip2scene.classes.tables import (
    ALL,
    CITYSCAPES,
    CLASS_SETS,
    NUSCENES,
    NUSCENES_CATEGORIES,
    PANDASET,
    SCANNET,
    SEMANTIC_KITTI,
    TOYTOWN,
    train_ids,
)
from clip2scene.types import IGNORE_LABEL


def raw_of(class_set, size=300):
    """Raw labels of each class, by name, as the fast table has them."""
    ids = train_ids(torch.arange(size), class_set)
    return {name: set((ids == i).nonzero()[:, 0].tolist()) for i, name in enumerate(class_set.classes)}


def test_nuscenes_maps_each_of_its_32_raw_labels_as_the_challenge_does():
    expected = {
        "barrier": {9},
        "bicycle": {14},
        "bus": {15, 16},
        "car": {17},
        "construction vehicle": {18},
        "motorcycle": {21},
        "pedestrian": {2, 3, 4, 6},
        "traffic cone": {12},
        "trailer": {22},
        "truck": {23},
        "driveable surface": {24},
        "other flat": {25},
        "sidewalk": {26},
        "terrain": {27},
        "manmade": {28},
        "vegetation": {30},
    }
    assert raw_of(NUSCENES) == expected
    assert len(NUSCENES_CATEGORIES) == 32
    assert NUSCENES_CATEGORIES[17] == "vehicle.car" and NUSCENES_CATEGORIES[24] == "flat.driveable_surface"


@pytest.mark.parametrize("class_set", CLASS_SETS.values(), ids=CLASS_SETS)
def test_raw_labels_outside_the_table_are_ignored(class_set):
    raw = torch.tensor([-7, 500, 10**6])
    assert train_ids(raw, class_set).tolist() == [IGNORE_LABEL] * 3


def test_toytown_keeps_twelve_classes_with_their_raw_labels_and_colours():
    assert len(TOYTOWN) == 12
    for raw, train_id in TOYTOWN.train_id_of_raw.items():
        old = NUSCENES.train_id_of_raw[raw]
        assert NUSCENES.classes[old] == TOYTOWN.classes[train_id]
        assert NUSCENES.colours[old] == TOYTOWN.colours[train_id]
    assert train_ids(torch.tensor([18]), TOYTOWN).tolist() == [IGNORE_LABEL]  # no construction vehicles there


def test_pandaset_and_cityscapes_share_their_train_ids():
    assert PANDASET.classes == CITYSCAPES.classes
    raw = torch.tensor([7, 10, 13, 14, 41, 5, 31, 26, 0, 12])
    names = ["road", "road", "car", "car", "building", "vegetation", "person", "bicycle", None, None]
    expected = [IGNORE_LABEL if name is None else CITYSCAPES.classes.index(name) for name in names]
    assert train_ids(raw, PANDASET).tolist() == expected


def test_semantic_kitti_maps_its_raw_labels_as_the_single_scan_benchmark_does():
    expected = {
        "car": {10, 252},
        "bicycle": {11},
        "motorcycle": {15},
        "truck": {18, 258},
        "other vehicle": {13, 16, 20, 256, 257, 259},
        "person": {30, 254},
        "bicyclist": {31, 253},
        "motorcyclist": {32, 255},
        "road": {40, 60},
        "parking": {44},
        "sidewalk": {48},
        "other ground": {49},
        "building": {50},
        "fence": {51},
        "vegetation": {70},
        "trunk": {71},
        "terrain": {72},
        "pole": {80},
        "traffic sign": {81},
    }
    assert raw_of(SEMANTIC_KITTI) == expected
    numbered_thing = torch.tensor([(7 << 16) | 252])
    assert train_ids(numbered_thing & 0xFFFF, SEMANTIC_KITTI).tolist() == [0]


def test_scannet_takes_twenty_of_the_forty_classes_of_nyu():
    nyu40 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]
    assert train_ids(torch.tensor(nyu40), SCANNET).tolist() == list(range(20))
    assert sum(map(len, raw_of(SCANNET).values())) == 20
    named = dict(zip(SCANNET.classes, nyu40, strict=True))
    few = {"wall": 1, "sofa": 6, "curtain": 16, "shower curtain": 28, "bathtub": 36, "other furniture": 39}
    assert few.items() <= named.items()


def test_every_class_set_is_found_by_its_name():
    assert all(name == class_set.name for name, class_set in CLASS_SETS.items())
    assert [len(class_set) for class_set in (NUSCENES, SEMANTIC_KITTI, CITYSCAPES, SCANNET)] == [
        16,
        19,
        19,
        20,
    ]
    assert CLASS_SETS["all"] is ALL and len(CLASS_SETS) == 8


def test_colours_within_a_data_sets_classes_are_distinct():
    for class_set in (NUSCENES, SEMANTIC_KITTI, CITYSCAPES, SCANNET):
        assert len(set(class_set.colours)) == len(class_set)
