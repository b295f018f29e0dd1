import json

import pytest
from tests.handover.clouds import CLASSES, comes_back, frames, named, write

from clip2scene.handover import supervisely


def test_a_project_comes_back_point_by_point(tmp_path):
    some = frames()
    write(supervisely, tmp_path, some)
    read = comes_back(supervisely, tmp_path, some)
    assert all((each.positions == frame.positions).all() for each, frame in zip(read, some, strict=True))
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["projectType"] == "point_clouds"
    assert [(each["title"], each["color"]) for each in meta["classes"]][:2] == [
        ("car", "#FF9E00"),
        ("driveable surface", "#00CFBF"),
    ]


def test_the_same_labels_are_the_same_files(tmp_path):
    for name in ("one", "other"):
        write(supervisely, tmp_path / name, frames(1))
    one, other = (path.read_bytes() for path in sorted(tmp_path.glob("*/scene-1/ann/*.json")))
    assert one == other


def annotation(folder, change):
    path = folder / "scene-1" / "ann" / "cloud-00.pcd.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_where_two_figures_overlap_the_last_counts_and_the_others_keep_theirs(tmp_path):
    some = frames(1)
    write(supervisely, tmp_path, some)

    def car_again(content):
        figure = next(
            each for each in content["figures"] if each["objectKey"] == content["objects"][0]["key"]
        )
        content["figures"].append({**figure, "geometry": {"indices": [0, 2]}})

    annotation(tmp_path, car_again)
    (read,) = supervisely.read_labels(tmp_path, ["cloud-00"])
    assert named(read, some[0])[:4] == ["car", "car", "car", CLASSES.classes[2]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("objects"), "'objects' is missing"),
        (
            lambda content: content["figures"][0]["geometry"].update(indices=[0, 40]),
            "0 to 40, but its cloud has 40",
        ),
        (lambda content: content["figures"][0]["geometry"].update(indices=[-1]), "-1 to -1"),
        (
            lambda content: content["figures"][0].update(geometryType="cuboid_3d"),
            "a figure of type 'cuboid_3d'",
        ),
        (lambda content: content["figures"][0].update(objectKey="who"), "'who' is missing"),
        (lambda content: content.update(figures=None), "does not hold an annotation of Supervisely"),
    ],
)
def test_a_broken_annotation_is_one_sentence_that_names_it(tmp_path, change, said):
    write(supervisely, tmp_path, frames(1))
    path = annotation(tmp_path, change)
    with pytest.raises(ValueError, match=said) as error:
        list(supervisely.read_labels(tmp_path, ["cloud-00"]))
    assert str(path) in str(error.value)
