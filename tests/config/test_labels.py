import pytest

from clip2scene.config import LabelsConfig, TuningConfig


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (LabelsConfig, {"fraction": 0.0}),
        (LabelsConfig, {"count": 0}),
        (LabelsConfig, {"points_per_scene": 0}),
        (LabelsConfig, {"holdout": 1.0}),
        (LabelsConfig, {"classes": ("car", "car")}),
        (TuningConfig, {"head_rate": 0.0}),
        (TuningConfig, {"layer_decay": 1.5}),
        (TuningConfig, {"keep_words": -1.0}),
        (TuningConfig, {"keep_words": 1.0, "freeze": True}),
    ],
)
def test_a_bad_value_is_refused_when_it_is_given(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
        kind(**wrong)


@pytest.mark.parametrize(
    "fewer",
    [{"fraction": 0.5}, {"count": 3}, {"points_per_scene": 1}, {"classes": ("car",)}, {"holdout": 0.1}],
)
def test_labels_are_all_only_where_nothing_is_left_out(fewer):
    assert LabelsConfig(by="keyframe", order="stride", draw=3, absent="allow").are_all
    assert not LabelsConfig(**fewer).are_all
