import torch

from clip2scene.student.published.minkowski import MINKOWSKI


def test_stages_are_named_by_number_and_stride():
    assert MINKOWSKI.rename(["stem"]) == ("conv0p1s1", "bn0.bn")
    assert MINKOWSKI.rename(["descents", "2", "down"]) == ("conv3p4s2", "bn3.bn")
    assert MINKOWSKI.rename(["ascents", "0", "up"]) == ("convtr4p16s2", "bntr4.bn")
    assert MINKOWSKI.rename(["ascents", "3", "blocks", "1", "shortcut"]) == (
        "block8.1.downsample.0",
        "block8.1.downsample.1.bn",
    )
    assert MINKOWSKI.rename(["stem", "0"]) is None


def test_a_head_is_a_kernel_of_one_offset_with_or_without_that_dimension():
    kernel = torch.randn(4, 5)
    assert torch.equal(MINKOWSKI.to_matrix(kernel), kernel.T)
    assert torch.equal(MINKOWSKI.to_matrix(kernel[None]), kernel.T)
    assert MINKOWSKI.to_matrix(torch.randn(27, 4, 5)) is None


def test_offsets_run_x_first_for_odd_and_even_edges():
    for edge in (2, 3):
        order = torch.arange(float(edge**3))[:, None, None]
        ours = MINKOWSKI.to_ours(order, torch.Size((edge**3, 1, 1)))
        assert ours[1] == edge**2 and ours[edge**2] == 1
