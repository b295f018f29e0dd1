import json

import pytest
from tests.onnx_students import ABOUT

from clip2scene.onnx_runner.about import KEY, About


def changed(**values):
    return json.dumps({**ABOUT, "format": 1, **values})


def test_it_is_read_as_it_was_written():
    about = About(**ABOUT)
    assert About.read({KEY: about.as_text()}, "a.onnx") == about


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "a.onnx is an ONNX file, but none that clip2scene wrote"),
        ({KEY: "{"}, "is damaged"),
        ({KEY: "[]"}, "is damaged"),
        (
            {KEY: json.dumps({**ABOUT, "format": 9})},
            "is of format 9, written by clip2scene 0, and this one reads",
        ),
        ({KEY: json.dumps({**ABOUT, "format": 1, "names": 3})}, "is damaged at 'names'"),
        ({KEY: json.dumps({"format": 1})}, "is damaged at 'version'"),
        ({KEY: changed(class_of_name=[0, 0, 1, 7])}, "is damaged; export it again"),
        ({KEY: changed(turns={"medium": [0.0]})}, "is damaged; export it again"),
        ({KEY: changed(turns={"low": [0.0], "medium": ["x"], "high": [0.0]})}, "is damaged; export it again"),
        ({KEY: changed(stands_for={"car": {"99": 1.0}})}, "is damaged; export it again"),
        ({KEY: changed(viewpoint=[0.0])}, "is damaged; export it again"),
        ({KEY: changed(voxel_size=-1.0)}, "is damaged; export it again"),
        ({KEY: changed(voxel_size=float("inf"))}, "is damaged; export it again"),
        ({KEY: changed(viewpoint=[0, 0, 10**400])}, "is damaged; export it again"),
        ({KEY: changed(names=[*range(len(ABOUT["names"]))], stands_for={})}, "is damaged; export it again"),
        ({KEY: changed(classes=[[] for _ in ABOUT["classes"]])}, "is damaged; export it again"),
        (
            {KEY: changed(class_of_name=[float(each) for each in ABOUT["class_of_name"]])},
            "is damaged; export it",
        ),
        ({KEY: changed(prompts=["car", 3])}, "is damaged; export it again"),
        ({KEY: changed(background=[None])}, "is damaged; export it again"),
        ({KEY: changed(stands_for={ABOUT["names"][0]: {"0": "near"}})}, "is damaged; export it again"),
    ],
)
def test_what_is_not_ours_is_refused(metadata, said):
    with pytest.raises(ValueError, match=said):
        About.read(metadata, "a.onnx")
