from pathlib import Path

import numpy as np
import pytest

from clip2scene.handover.found import as_records, whole_number, whole_numbers


@pytest.mark.parametrize(
    "values", [None, "12", [1.5], [True], ["a"], [[1]], [[1], [1, 2]], [2**70], {"a": 1}]
)
def test_only_lists_of_whole_numbers_are_taken(values):
    with pytest.raises(TypeError, match="expected a list of whole numbers"):
        whole_numbers(values)


def test_whole_numbers_keep_their_order():
    assert whole_numbers([3, 0, 2]).tolist() == [3, 0, 2]
    assert whole_numbers([]).dtype == np.int64


@pytest.mark.parametrize("fault", [KeyError("name"), TypeError("no"), IndexError("no"), AttributeError("no")])
def test_what_is_not_there_is_told_with_its_file(fault):
    with pytest.raises(ValueError, match="a.json does not hold labels"), as_records(Path("a.json"), "labels"):
        raise fault


@pytest.mark.parametrize("value", [None, "1", "car", 1.0, float("nan"), True, [1], 10**5 * "9"])
def test_only_whole_numbers_are_taken(value):
    assert whole_number(7) == 7
    with pytest.raises(TypeError, match="expected a whole number, got") as caught:
        whole_number(value)
    assert len(str(caught.value)) < 100
