import os

import pytest
import torch

from clip2scene.datasets.rigs.rig import (
    MOST_BYTES,
    camera_name,
    check_distinct,
    motion,
    numbers,
    read_motion,
    read_small,
    whole,
)


def test_a_motion_is_read_by_rows_with_or_without_the_last():
    rows = [[1, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3]]
    expected = torch.tensor([*rows, [0, 0, 0, 1]], dtype=torch.float64)
    assert torch.equal(motion(rows, "m"), expected)
    assert torch.equal(motion(expected.tolist(), "m"), expected)
    assert torch.equal(read_motion("1,0,0,1, 0,0,-1,2, 0,1,0,3"), expected)
    quaternion = read_motion("1 2 3 0.7071067811865476 0.7071067811865476 0 0")
    assert torch.allclose(quaternion, expected)
    assert torch.equal(read_motion("identity"), torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("value", [None, "1 2 3 4", [1, 2, 3], [1, 2, 3, float("inf")], [[1, 2], [3]], {}])
def test_what_are_no_four_numbers_is_refused(value):
    with pytest.raises(ValueError, match="intrinsics of c: expected 4 finite numbers, got"):
        numbers(value, 4, "intrinsics of c")


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "640", None, 1e9])
def test_what_is_no_number_of_pixels_is_refused(value):
    with pytest.raises(ValueError, match="expected a number of pixels"):
        whole(value, "the width")
    assert whole(640.0, "the width") == 640


def test_names_of_images_become_names_of_cameras(tmp_path):
    assert camera_name("./images/front/0001.jpg", tmp_path) == "images_front_0001"
    for name in ("a b.jpg", "\n", ""):
        with pytest.raises(ValueError, match="expected a file's name"):
            camera_name(name, tmp_path)
    with pytest.raises(ValueError, match="no camera; expected at least one"):
        check_distinct([], tmp_path)


def test_files_that_are_too_large_are_not_read(tmp_path):
    path = tmp_path / "large.yaml"
    path.touch()
    os.truncate(path, MOST_BYTES + 1)
    with pytest.raises(ValueError, match="has 16.8 MB, which no calibration needs"):
        read_small(path)
