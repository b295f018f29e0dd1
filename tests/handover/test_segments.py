import json

import numpy as np
import pytest
from tests.handover.clouds import CLASSES, comes_back, frames, truth, write

from clip2scene.handover import segments


def test_a_scene_becomes_a_sequence_whose_labels_come_back_point_by_point(tmp_path):
    some = frames()
    write(segments, tmp_path, some)
    read = comes_back(segments, tmp_path, some)
    assert all((each.positions == frame.positions).all() for each, frame in zip(read, some, strict=True))
    label = json.loads((tmp_path / "scene-1" / "label.json").read_text())
    assert [each["format_version"] for each in label["frames"]] == ["0.1", "0.1"]
    assert label["frames"][0]["point_annotations"][:4] == [0, 1, 2, 3]
    assert label["frames"][0]["annotations"][0] == {"id": 1, "category_id": 1, "track_id": 1}
    sample = json.loads((tmp_path / "scene-1" / "sample.json").read_text())
    assert sample["frames"][1]["pcd"] == {"url": "scene-1/clouds/cloud-01.pcd", "type": "pcd"}
    assert sample["frames"][1]["timestamp"] == label["frames"][1]["timestamp"] == "1700000000100000000"
    assert sample["frames"][1]["ego_pose"]["position"] == {"x": 1.5, "y": 0.25, "z": 0.0}
    categories = json.loads((tmp_path / "task_attributes.json").read_text())["categories"]
    assert categories[2] == {"name": CLASSES.classes[2], "id": 3, "color": [0, 0, 230]}


def test_a_long_scene_goes_on_in_further_files(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MOST_FRAMES", 2)
    some = frames(5, points=8)
    write(segments, tmp_path, some)
    assert (tmp_path / "scene-1" / "label-3.json").exists()
    comes_back(segments, tmp_path, some)


def release(folder, *, categories, status="REVIEWED"):
    label = json.loads((folder / "scene-1" / "label.json").read_text())
    sample = json.loads((folder / "scene-1" / "sample.json").read_text())
    attributes = json.loads((folder / "task_attributes.json").read_text())
    attributes["categories"][0]["id"] = categories
    for each in label["frames"]:
        for annotation in each["annotations"]:
            annotation["category_id"] = (
                categories if annotation["category_id"] == 1 else annotation["category_id"]
            )
    labels = {"ground-truth": {"label_status": status, "attributes": label}, "model": {"attributes": {}}}
    samples = [{"name": "any", "attributes": sample, "labels": labels}]
    samples.append({"name": "not labelled", "attributes": sample, "labels": {"ground-truth": None}})
    return {"name": "v1", "dataset": {"task_attributes": attributes, "samples": samples}}


def test_a_release_file_is_read_by_the_names_of_frames_and_by_its_own_categories(tmp_path):
    some = frames()
    write(segments, tmp_path, some)
    path = tmp_path / "release.json"
    path.write_text(json.dumps(release(tmp_path, categories=77)))
    read = comes_back(segments, tmp_path, some, source=path)
    assert [each.positions for each in read] == [None, None]
    other = list(segments.read_labels(path, ["cloud-01", "not there"]))
    assert [each.token for each in other] == ["cloud-01"]
    assert truth(some[1])[:3] == [CLASSES.classes[2], None, "car"]


def test_pre_labels_that_nobody_has_looked_at_are_not_taken_for_peoples(tmp_path):
    write(segments, tmp_path, frames())
    path = tmp_path / "release.json"
    path.write_text(json.dumps(release(tmp_path, categories=77, status="PRELABELED")))
    with pytest.raises(ValueError, match="no sample that people have labelled: 1 PRELABELED, 1 UNLABELED"):
        list(segments.read_labels(path, ["cloud-00"]))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ('{"frames": [{}]}', "1 frames of labels, but 2"),
        (
            '{"frames": [{"annotations": [{"id": "x", "category_id": 1}], "point_annotations": []}, {}]}',
            "expected a whole number, got 'x'",
        ),
        ('{"frames": 3}', "does not hold labels of Segments.ai"),
        (
            '{"frames": [{"annotations": [], "point_annotations": "0"}, {}]}',
            "expected a list of whole numbers",
        ),
        ('{"frames": [{"annotations": [], "point_annotations": [0.5]}, {}]}', "got float64"),
        ('{"frames": [{"annotations": [], "point_annotations": [9e999]}, {}]}', "whole numbers"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_broken_file_is_one_sentence_that_names_it(tmp_path, broken, said):
    write(segments, tmp_path, frames())
    path = tmp_path / "scene-1" / "label.json"
    path.write_text(broken)
    with pytest.raises(ValueError, match=said) as error:
        list(segments.read_labels(tmp_path, ["cloud-00", "cloud-01"]))
    assert str(path) in str(error.value)


def test_categories_without_numbers_are_one_sentence(tmp_path):
    write(segments, tmp_path, frames())
    (tmp_path / "task_attributes.json").write_text('{"categories": [{"id": "x", "name": "car"}]}')
    with pytest.raises(ValueError, match="task_attributes.json does not hold .* number, got 'x'"):
        list(segments.read_labels(tmp_path, ["cloud-00"]))


@pytest.mark.parametrize("name", ["task_attributes.json", "scene-1/sample.json", "scene-1/label.json"])
def test_a_file_that_is_too_large_is_refused_unread(tmp_path, monkeypatch, name):
    write(segments, tmp_path, frames())
    path = tmp_path / name
    monkeypatch.setattr(segments, "MOST_BYTES", max(each.stat().st_size for each in tmp_path.rglob("*.json")))
    path.write_text(path.read_text() + " " * segments.MOST_BYTES)
    with pytest.raises(ValueError, match=f"{path.name} has .* MB, expected"):
        list(segments.read_labels(tmp_path, ["cloud-00"]))


def test_rooms_keep_the_colours_of_their_points(tmp_path):
    from clip2scene.datasets.clouds.pcd import read_pcd

    some = frames(1, rooms=True, placed=False)
    write(segments, tmp_path, some)
    packed = read_pcd(tmp_path / "scene-1" / "clouds" / "cloud-00.pcd")["rgb"].astype(np.uint32)
    assert (np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1) == some[0].colours).all()
    sample = json.loads((tmp_path / "scene-1" / "sample.json").read_text())
    assert set(sample["frames"][0]) == {"name", "pcd"}
