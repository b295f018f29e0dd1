import pytest

from clip2scene.config.checks import check_range, refuse


def test_a_refusal_names_the_option_what_it_must_be_and_what_it_is():
    with pytest.raises(ValueError, match="^--data.words must be own, got 'all'; correct that option, or"):
        refuse("--data.words", "own", "all")


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (1, {"above": 1}, "above 1"),
        (1, {"below": 1}, "below 1"),
        (0.5, {"least": 1, "most": 10}, "at least 1 and at most 10"),
        (11, {"least": 1, "most": 10}, "at least 1 and at most 10"),
        (float("nan"), {"least": 0}, "at least 0"),
    ],
)
def test_a_number_outside_its_range_is_refused_and_so_is_one_that_is_none(value, bounds, expected):
    with pytest.raises(ValueError, match=f"--x must be {expected}, got {value}"):
        check_range("--x", value, **bounds)


@pytest.mark.parametrize("value", [1, 10, None])
def test_the_ends_of_a_range_are_in_it_and_a_setting_may_be_left_open(value):
    check_range("--x", value, least=1, most=10)
