import pytest
import torch

from clip2scene.labels import (
    CITYSCAPES,
    NUSCENES,
    NUSCENES_CATEGORIES,
    PANDASET,
    TOYTOWN,
    ClassSet,
    train_ids,
)
from clip2scene.types import IGNORE_LABEL

ALL = [NUSCENES, TOYTOWN, CITYSCAPES, PANDASET]


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
    ids = train_ids(torch.arange(32), NUSCENES)
    found = {name: set((ids == i).nonzero()[:, 0].tolist()) for i, name in enumerate(NUSCENES.classes)}
    assert found == expected
    assert len(NUSCENES_CATEGORIES) == 32
    assert NUSCENES_CATEGORIES[17] == "vehicle.car" and NUSCENES_CATEGORIES[24] == "flat.driveable_surface"


@pytest.mark.parametrize("class_set", ALL, ids=lambda class_set: class_set.name)
def test_raw_labels_outside_the_table_are_ignored(class_set):
    raw = torch.tensor([-7, 255, 10**6])
    assert train_ids(raw, class_set).tolist() == [IGNORE_LABEL] * 3


@pytest.mark.parametrize("class_set", ALL, ids=lambda class_set: class_set.name)
def test_the_fast_table_equals_a_dictionary_look_up(class_set):
    raw = torch.randint(-3, 60, (4, 50), generator=torch.Generator().manual_seed(0))
    slow = [[class_set.train_id_of_raw.get(int(label), IGNORE_LABEL) for label in row] for row in raw]
    assert train_ids(raw, class_set).tolist() == slow


def test_no_raw_labels_give_no_train_ids():
    assert train_ids(torch.zeros(0, dtype=torch.int64), NUSCENES).shape == (0,)


def test_prompts_of_a_class_set_never_name_two_classes():
    for class_set in ALL:
        names = [name for names in class_set.prompts for name in names]
        assert len(names) == len(set(names))


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


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"colours": ()}, "0 colours"),
        ({"prompts": (("a",), ())}, "at least one prompt"),
        ({"classes": ("a", "a")}, "distinct"),
        ({"train_id_of_raw": {3: 2}}, "raw label 3 to 2"),
        ({"train_id_of_raw": {-1: 0}}, "raw label -1"),
    ],
)
def test_a_class_set_whose_tables_do_not_fit_is_refused(change, fault):
    fields = {
        "name": "two",
        "classes": ("a", "b"),
        "prompts": (("a",), ("b",)),
        "colours": ((0, 0, 0), (1, 1, 1)),
        "train_id_of_raw": {1: 0, 2: 1},
    }
    ClassSet(**fields)
    with pytest.raises(ValueError, match=fault):
        ClassSet(**{**fields, **change})
