import json
from dataclasses import replace

import pytest

from clip2scene.io import read_json
from clip2scene.runs.sources import Sources

SOURCES = Sources(
    teacher_weights=None,
    data_root="/data/town",
    num_samples=7,
    in_channels=1,
    teacher_hash="abc",
    text_space="words",
    versions={"torch": "2"},
)
INIT = {"origin": "/runs/a", "sha256": "ff", "knows_words": True, "classes": ["car"], "report": []}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"teacher_weights": "/clips/mini"},
        {"init": INIT},
        {"pixel_channels": 64, "backbone_hash": "de"},
        {"pixel_channels": 64},
        {"proxy": "/dinov2", "proxy_hash": "ad"},
    ],
)
def test_sources_are_read_as_they_were_written(tmp_path, parts):
    sources = replace(SOURCES, **parts)
    sources.write(tmp_path)
    assert Sources.read(tmp_path) == sources


def test_the_file_names_no_backbone_and_no_start_where_there_is_none(tmp_path):
    SOURCES.write(tmp_path)
    assert not {"pixel_channels", "backbone_hash", "init", "start", "proxy", "proxy_hash"} & set(
        read_json(tmp_path / "sources.json")
    )
    replace(SOURCES, init=INIT).write(tmp_path)
    assert read_json(tmp_path / "sources.json")["start"] == INIT


def test_a_file_of_an_older_version_lacks_some_and_one_of_a_newer_has_more(tmp_path):
    older = {"teacher_weights": None, "data_root": "/data", "num_samples": 1, "in_channels": 1}
    (tmp_path / "sources.json").write_text(json.dumps(older | {"teacher_hash": "", "weather": "fair"}))
    found = Sources.read(tmp_path)
    assert found == Sources(None, "/data", 1, 1, "")
    assert not found.began_with_words


@pytest.mark.parametrize(
    ("init", "words"), [(None, False), (INIT, True), (INIT | {"knows_words": False}, False)]
)
def test_it_is_told_whether_the_weights_it_began_with_knew_words(init, words):
    assert replace(SOURCES, init=init).began_with_words is words


@pytest.mark.parametrize("damage", ["missing", "cut", "a list", "without data_root", "half a start"])
def test_a_damaged_file_is_refused_in_one_sentence_that_names_it(tmp_path, damage):
    SOURCES.write(tmp_path)
    path = tmp_path / "sources.json"
    values = read_json(path)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:20])
    elif damage == "a list":
        path.write_text("[1]")
    elif damage == "half a start":
        path.write_text(json.dumps(values | {"start": {"origin": "/runs/a", "sha256": "ff"}}))
    else:
        del values["data_root"]
        path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="sources.json") as raised:
        Sources.read(tmp_path)
    assert "\n" not in str(raised.value)
