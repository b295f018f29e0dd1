import pytest

from clip2scene.config import DataConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"sweeps": 0},
        {"sweeps": 11},
        {"views": 0},
        {"views": 256},
        {"merge_sweeps": True},
        {"min_depth": float("nan")},
    ],
)
def test_a_bad_value_is_refused_when_it_is_given(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
        DataConfig(**wrong)


@pytest.mark.parametrize("layout", ["scannet", "rgbd"])
def test_rooms_cannot_be_judged_in_the_classes_of_streets(layout):
    with pytest.raises(
        ValueError, match=f"--data.classes must be own or scannet-200 for the layout {layout}, got 'toytown'"
    ):
        DataConfig(layout=layout, classes="toytown")
    assert DataConfig(layout=layout, classes="scannet-200").classes == "scannet-200"
