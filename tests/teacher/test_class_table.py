import json

import pytest

from clip2scene.classes.mapping import known_words
from clip2scene.classes.tables import (
    CITYSCAPES,
    NUSCENES,
    PANDASET,
    SEMANTIC_KITTI,
    TOYTOWN,
    TOYTOWN_KITTI,
)
from clip2scene.teacher.class_table import ClassTable, read_class_table

NEAR = {"automobile": 3}.get


def table(class_set=NUSCENES, rows=None, nearest=NEAR):
    return ClassTable(class_set.classes, known_words(class_set), rows or {}, nearest)


def called(found, class_set=NUSCENES):
    return [class_set.classes[number] if number >= 0 else None for number in found.tolist()]


def test_names_are_found_among_words_then_in_the_text_space():
    names = ("Road ", "van", "traffic light", "sky", "automobile")
    expected = ["driveable surface", "car", "manmade", None, "car"]
    assert called(table().train_ids(names)) == expected


def test_the_users_rows_go_before_everything():
    rows = {"van": "truck", "automobile": None, "Zebra": "pedestrian"}
    assert called(table(rows=rows).train_ids(("van", "automobile", "Zebra"))) == ["truck", None, "pedestrian"]


def test_names_without_a_row_are_refused_with_both_sides_and_what_to_do():
    with pytest.raises(
        ValueError, match="known what 'zebra', 'cloud' of .* barrier, .*--teacher.class-table"
    ):
        table(rows={"horse": None}).train_ids(("car", "zebra", "horse", "cloud"))
    with pytest.raises(ValueError, match="'name 11' and 3 more of"):
        table().train_ids([f"name {number}" for number in range(15)])


def test_a_row_must_lead_to_a_class_of_ours():
    with pytest.raises(
        ValueError, match="maps names to 'zeppelin', which are no classes here; expected null or"
    ):
        table(rows={"van": "car", "balloon": "zeppelin"})


def test_classes_that_no_name_stands_for_are_told():
    lost = table().without_source(CITYSCAPES.classes)
    assert lost == ["barrier", "construction vehicle", "traffic cone", "trailer", "other flat"]
    assert table(CITYSCAPES).without_source(CITYSCAPES.classes) == []


@pytest.mark.parametrize("ours", [NUSCENES, PANDASET, SEMANTIC_KITTI, CITYSCAPES])
def test_every_street_class_has_a_place_in_every_list_of_street_classes(ours):
    for others in (NUSCENES, SEMANTIC_KITTI, CITYSCAPES):
        assert len(table(ours).train_ids(others.classes)) == len(others)
    assert table(ours).train_ids(ours.classes).tolist() == list(range(len(ours)))


def test_a_table_is_read_from_json(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"van": "car", "sky": None}))
    assert read_class_table(str(path)) == {"van": "car", "sky": None}


@pytest.mark.parametrize(
    "content", ["[1]", '{"van": 3}', '"car"', '{"van": ["car"]}', '{"a": "b", "a": "c"}', "{"]
)
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="table.json is no(t valid JSON| class table)"):
        read_class_table(str(path))


@pytest.mark.parametrize("ours", [NUSCENES, TOYTOWN, SEMANTIC_KITTI, TOYTOWN_KITTI, CITYSCAPES, PANDASET])
def test_the_table_of_ade20k_leads_to_every_list_of_street_classes(ours):
    rows = read_class_table("ade20k")
    found = dict(zip(rows, called(table(ours, rows).train_ids(list(rows)), ours), strict=True))
    assert len(rows) == 150 and found["sky"] in (None, "sky")
    assert found["car"] == found["van"] == "car" and found["sculpture"] == found["bridge"]
    same = called(table(ours, rows).train_ids(["road, route", "car, automobile", "sky"]), ours)
    assert same == [found["road"], "car", found["sky"]]
    if ours is not CITYSCAPES and ours is not PANDASET:
        assert found["sky"] is None
