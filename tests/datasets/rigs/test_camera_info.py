import pytest
from tests.datasets.rigs.conftest import random_rig, write_camera_info

from clip2scene.datasets.rigs.camera_info import read_camera_info
from clip2scene.geometry.distortion import Distortion


def test_rational_polynomials_are_read_too(tmp_path):
    name, matrix, place, _ = random_rig()[0]
    lens = "rational_polynomial", (0.1, 0.2, 0.0, 0.0, 0.05, 0.3, 0.1, 0.01)
    rig = read_camera_info(write_camera_info(tmp_path / "a.yaml", (name, matrix, place, lens)))
    assert rig.cameras[0].distortion == Distortion(*lens) and not rig.has_lidar


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("image_width: 640\n", "", "a.yaml lacks image_width, which camera_info of ROS has"),
        ("image_width: 640", "image_width: wide", "image_width of .* is wide, expected a number of pixels"),
        ("plumb_bob", "fov", "unknown distortion model 'fov'"),
        ("plumb_bob", "rational_polynomial", "rational_polynomial has the coefficients .*, expected 8"),
        ("camera_matrix:", "camera_matrix: 5 #", "camera_matrix of .*: expected 9 finite numbers"),
    ],
)
def test_a_fault_is_one_clear_sentence(tmp_path, old, new, words):
    path = write_camera_info(tmp_path / "a.yaml", random_rig()[1])
    text = path.read_text()
    assert old in text
    if "camera_matrix" in old:
        text = text.replace("  rows: 3\n  cols: 3\n", "", 1).replace("  data:", "other:", 1)
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=words):
        read_camera_info(path)
