import json

import numpy as np
import pytest
from tests.handover.clouds import CLASSES, comes_back, frames, write

from clip2scene.classes.class_set import ClassSet
from clip2scene.handover import labelcloud


@pytest.mark.parametrize("rooms", [False, True])
def test_labels_come_back_point_by_point(tmp_path, rooms):
    some = frames(rooms=rooms)
    write(labelcloud, tmp_path, some)
    read = comes_back(labelcloud, tmp_path, some)
    assert all((each.positions == frame.positions).all() for each, frame in zip(read, some, strict=True))
    raw = np.fromfile(tmp_path / "labels" / "segmentation" / "cloud-00.bin", np.int8)
    assert raw[:5].tolist() == [0, 1, 2, 3, 0]
    table = json.loads((tmp_path / "labels" / "_classes.json").read_text())
    assert (table["default"], table["type"], table["format"]) == (0, "semantic_segmentation", "binary")
    assert table["classes"][:2] == [
        {"name": "unlabeled", "id": 0, "color": "#737373"},
        {"name": "car", "id": 1, "color": "#ff9e00"},
    ]


def test_more_classes_than_a_byte_has_room_for_are_refused(tmp_path):
    names = tuple(f"class {number}" for number in range(127))
    many = ClassSet("many", names, tuple((name,) for name in names), ((1, 2, 3),) * 127, {})
    with pytest.raises(ValueError, match="room for 126 classes, 'many' has 127"):
        labelcloud.write_classes(tmp_path, many)


def test_labels_without_their_cloud_have_no_places(tmp_path):
    some = frames(1)
    write(labelcloud, tmp_path, some)
    (tmp_path / "pointclouds" / "cloud-00.bin").unlink()
    (read,) = comes_back(labelcloud, tmp_path, some)
    assert read.positions is None


def test_a_table_without_ids_is_one_sentence(tmp_path):
    write(labelcloud, tmp_path, frames(1))
    (tmp_path / "labels" / "_classes.json").write_text(json.dumps({"classes": [{"name": CLASSES.name}]}))
    with pytest.raises(
        ValueError, match="_classes.json does not hold classes of labelCloud .'id' is missing"
    ):
        list(labelcloud.read_labels(tmp_path, ["cloud-00"]))


def test_a_table_whose_ids_are_no_numbers_is_one_sentence(tmp_path):
    write(labelcloud, tmp_path, frames(1))
    path = tmp_path / "labels" / "_classes.json"
    path.write_text(json.dumps({"classes": [{"id": "x", "name": "car"}]}))
    with pytest.raises(ValueError, match="_classes.json does not hold .*expected a whole number, got 'x'"):
        list(labelcloud.read_labels(tmp_path, ["cloud-00"]))
