import numpy as np
import pytest

from clip2scene.datasets.clouds.table import find_axes, guess_columns, parse_lines


def test_axes_are_found_in_any_case_and_small_letters_first():
    assert find_axes(["X", "x", "Y", "Elevation", "Z"]) == {"x": "x", "y": "Y", "z": "Z"}


@pytest.mark.parametrize(
    ("rest", "names"),
    [
        ([[0.5], [0.25]], "intensity"),
        ([[9, 255, 3], [1, 2, 3]], "red green blue"),
        ([[0, 0, 1], [0, -1, 0]], "nx ny nz"),
        ([[9, 255, 3, 255], [1, 2, 3, 255]], "red green blue _"),
        ([[9, 255, 3, 7.5], [1, 2, 3, 2.5]], "red green blue intensity"),
        ([[0.5, 9, 255, 3], [0.25, 1, 2, 3]], "intensity red green blue"),
        ([[0.5, 3, 1e9], [0.25, 4, 2e9]], "intensity _ _"),
    ],
)
def test_columns_are_told_by_their_numbers(rest, names):
    array = np.hstack([np.ones((2, 3)), np.array(rest, np.float64)])
    assert guess_columns(array)[3:] == names.split()


def test_numbers_that_python_alone_can_read_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read as 1 lines of 2 numbers"):
        parse_lines(tmp_path / "a.txt", ["1_0 2"], 2, first=1)
