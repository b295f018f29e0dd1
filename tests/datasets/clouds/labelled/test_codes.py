from pathlib import Path

import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled import codes as module
from clip2scene.datasets.clouds.labelled.codes import (
    kitti_codes,
    las_codes,
    plain_codes,
    read_codes,
    read_key,
)
from clip2scene.io import read_json, write_json

NAMES = ("car", "zebra", "tree")


def test_a_label_becomes_the_number_of_its_class_and_none_that_of_none(colours):
    labels = np.array([2, -1, 0, 1])
    assert plain_codes(NAMES, colours).of(labels).tolist() == [2, 65535, 0, 1]
    assert kitti_codes(NAMES, colours).of(labels).tolist() == [70, 0, 10, 301]
    assert las_codes(NAMES, colours, 6, Path("x.las")).of(labels).tolist() == [66, 1, 64, 65]
    assert las_codes(NAMES, colours, 3, Path("x.las")).of(labels).tolist() == [15, 1, 13, 14]


def test_of_two_words_for_one_class_of_semantic_kitti_the_first_gets_its_id(colours):
    assert kitti_codes(("bush", "tree", "Road"), colours).ids == (70, 301, 40)


@pytest.mark.parametrize(("point_format", "most"), [(0, 19), (5, 19), (6, 192)])
def test_more_words_than_las_has_numbers_are_refused(colours, point_format, most):
    names = tuple(map(str, range(most + 1)))
    assert las_codes(names[:-1], colours, point_format, Path("x.las")).ids[-1] == (31 if most == 19 else 255)
    with pytest.raises(ValueError, match=f"x.las has point format {point_format}.*room for {most} words"):
        las_codes(names, colours, point_format, Path("x.las"))


def test_the_table_comes_back_and_says_what_it_is_of(colours, tmp_path):
    path = tmp_path / "a.classes.json"
    las_codes(NAMES, colours, 6, Path("x.las")).write(path, "x.las")
    assert read_codes(path) == ({64: "car", 65: "zebra", 66: "tree"}, 1, "x.las")
    told = read_json(path)
    assert (told["file"], told["field"]) == ("x.las", "classification")
    assert told["classes"][1] == {"id": 65, "name": "zebra", "colour": [0, 255, 0]}
    for broken in ([], {**told, "version": 2}, {**told, "classes": [{"id": "x", "name": "y"}]}):
        write_json(path, broken)
        with pytest.raises(ValueError, match="a.classes.json is no table of labels"):
            read_codes(path)


def test_a_key_is_read_of_no_file_that_is_larger_than_any_table(colours, tmp_path, monkeypatch):
    plain_codes(NAMES, colours).write(tmp_path / "a.classes.json", "a.ply", key="this")
    assert read_key(tmp_path / "a.classes.json") == "this"
    monkeypatch.setattr(module, "_MOST_BYTES", 20)
    assert read_key(tmp_path / "a.classes.json") is None
