import pytest

from clip2scene.config import ConsistencyConfig, LossConfig, SelfTrainingConfig


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (LossConfig, {"temperature": 0.0}),
        (LossConfig, {"kl_temperature": 0.0}),
        (LossConfig, {"class_balance": 1.5}),
        (LossConfig, {"class_balance": 0.5, "form": "class-infonce"}),
        (LossConfig, {"bounded": True}),
        (LossConfig, {"lovasz": 1.0, "form": "kl-divergence"}),
        (LossConfig, {"backbone": "own"}),
        (LossConfig, {"generalised": 1.1}),
        (LossConfig, {"generalised": 0.5, "form": "class-infonce"}),
        (LossConfig, {"similarity": -1.0}),
        (LossConfig, {"similarity": 1.0, "form": "superpixel-infonce", "backbone": "own"}),
        (LossConfig, {"reverse": 0.5, "form": "pixel-infonce"}),
        (ConsistencyConfig, {"pairs": 0}),
        (ConsistencyConfig, {"cell_size": 0.0}),
        (ConsistencyConfig, {"weight": -1.0}),
        (SelfTrainingConfig, {"probability": 1.5}),
        (SelfTrainingConfig, {"confidence": -0.1}),
        (SelfTrainingConfig, {"lead": 1.5}),
    ],
)
def test_a_bad_value_is_refused_when_it_is_given(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("_", "-")):
        kind(**wrong)
