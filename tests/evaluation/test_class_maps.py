import json
import sys

import pytest

from clip2scene.evaluation.class_maps import open_class_map


def written(tmp_path, content, name="classes.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_class_sets_go_by_their_names():
    found = open_class_map("semantic-kitti")
    assert found[10] == "car" == found[252] and found[0] is None
    assert open_class_map("nuscenes-challenge")[1] == "barrier"


@pytest.mark.parametrize(
    "content",
    [
        {"car": [10, 252], "road": 40, "none": [0], "van": "car"},
        {"10": "car", "252": "car", "40": "road", "0": "none", "van": "car"},
        {"classes": [{"name": "car", "ids": [10, 252]}, {"name": "road", "id": 40}], "none": 0},
    ],
)
def test_tables_may_be_written_in_several_ways(tmp_path, content):
    found = open_class_map(written(tmp_path, content))
    assert found.classes == ("car", "road")
    assert [found[number] for number in (10, 252, 40, 0)] == ["car", "car", "road", None]
    assert found.knows(10) and found.knows("car") and not found.knows(11)
    if "van" in content:
        assert found.knows("Van") and found["Van"] == "car"


def test_a_range_of_numbers_is_all_of_them(tmp_path):
    found = open_class_map(written(tmp_path, {"1-3": "road"}))
    assert {number: found[number] for number in (1, 2, 3)} == {1: "road", 2: "road", 3: "road"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML is read from Python 3.11 on")
def test_a_table_may_be_toml(tmp_path):
    found = open_class_map(written(tmp_path, 'car = [10, 252]\nvan = "car"\n', "classes.toml"))
    assert found[252] == "car" == found["van"]
    with pytest.raises(ValueError, match="broken TOML"):
        open_class_map(written(tmp_path, "car = [", "classes.toml"))
    with pytest.raises(ValueError, match="broken TOML"):
        open_class_map(written(tmp_path, f"car = {'[' * 100_000}", "classes.toml"))


@pytest.mark.parametrize(
    "content", [[1], {"car": 1.5}, {"car": True}, {"car": [1], "bus": [1]}, {"0-4000000000": "car"}, "{"]
)
def test_a_broken_table_is_refused_in_a_sentence(tmp_path, content):
    with pytest.raises(ValueError, match="classes.json"):
        open_class_map(written(tmp_path, content))


def test_what_is_no_class_set_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="'cats' is no class set, expected one of nuscenes, toytown"):
        open_class_map("cats")
