import pytest

from clip2scene.config import AugmentConfig, OptimiserConfig, StudentConfig


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (StudentConfig, {"voxel_size": 0.0}),
        (StudentConfig, {"width": -1.0}),
        (AugmentConfig, {"scale": 0.6}),
        (OptimiserConfig, {"learning_rate": -0.1}),
        (OptimiserConfig, {"weight_decay": -1.0}),
        (OptimiserConfig, {"average": 1.0}),
    ],
)
def test_a_bad_value_is_refused_when_it_is_given(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
        kind(**wrong)
