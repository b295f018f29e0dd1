import pytest

from clip2scene.config import TeacherConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_overlap": 1.0},
        {"working_size": (-5, 0)},
        {"scales": ()},
        {"key_smoothing": 1.5},
        {"window": 0},
    ],
)
def test_a_bad_value_is_refused_when_it_is_given(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
        TeacherConfig(**wrong)
