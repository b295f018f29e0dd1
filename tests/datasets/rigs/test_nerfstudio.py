import json

import pytest
from tests.datasets.rigs.conftest import random_rig, write_nerfstudio

from clip2scene.datasets.rigs.nerfstudio import read_nerfstudio


def change_frame(content, **values):
    content["frames"][0] |= values


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("frames"), "has no list of frames"),
        (lambda c: c.pop("w"), r"frames\[0\] of .* lacks w; write them"),
        (lambda c: change_frame(c, camera_model="EQUIRECTANGULAR"), "of the model EQUIRECTANGULAR, expected"),
        (lambda c: change_frame(c, k4=0.1), "of the model OPENCV with k4"),
        (lambda c: change_frame(c, transform_matrix=[[1, 0], [0, 1]]), "transform_matrix of .*: expected 16"),
        (
            lambda c: change_frame(
                c, transform_matrix=[[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
            ),
            r"transform_matrix of frames\[0\] of .* is not a rotation",
        ),
        (lambda c: change_frame(c, fl_x="far"), "fl_x, fl_y, .*: expected 6 finite numbers"),
        (lambda c: change_frame(c, file_path="images/cam1.png"), "two cameras of the name images_cam1"),
    ],
)
def test_a_fault_is_one_clear_sentence(tmp_path, change, words):
    path = write_nerfstudio(tmp_path / "transforms.json", random_rig())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        read_nerfstudio(path)
