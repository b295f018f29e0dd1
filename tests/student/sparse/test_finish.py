import pytest
import torch

from clip2scene.student.sparse.finish import Finish


def test_channels_are_scaled_shifted_and_clipped_if_asked_to():
    rows, scale, shift = (
        torch.tensor([[1.0, 2.0], [-1.0, 4.0]]),
        torch.tensor([2.0, 0.5]),
        torch.tensor([1.0, -3.0]),
    )
    assert Finish(scale, shift, relu=False)(rows).tolist() == [[3, -2], [-1, -1]]
    assert Finish(scale, shift, relu=True)(rows).tolist() == [[3, 0], [0, 0]]


def test_half_precision_is_computed_in_float32():
    rows = torch.full((1, 1), 3.0, dtype=torch.bfloat16)
    finished = Finish(torch.tensor([1.003]), torch.tensor([-3.0]), relu=False)(rows)
    assert finished.dtype == torch.bfloat16
    assert finished.item() == pytest.approx(0.009, rel=0.01)
