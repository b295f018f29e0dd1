from copy import deepcopy

import pytest
import torch
from tests.ranks_in_threads import halves, on_ranks

from clip2scene.student.blocks import RowNorm


def made(dtype=torch.float64):
    torch.manual_seed(0)
    norm = RowNorm(5).to(dtype)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    rows = (torch.randn(31, 5) * torch.tensor([1.0, 10.0, 0.1, 0.03, 1.0]) + 3).to(dtype)
    return norm, rows, torch.randn(31, 5).to(dtype)


def learn(norm, rows, slope):
    """Output, gradients of rows, weight and bias, and running statistics of a step."""
    rows = rows.clone().requires_grad_()
    out = norm(rows, relu=True)
    (out * slope).sum().backward()
    return out.detach(), rows.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-3)])
def test_ranks_normalise_their_rows_as_one_process_does_all(dtype, tolerance):
    norm, rows, slope = made(dtype)
    copies = [deepcopy(norm), deepcopy(norm)]
    whole = learn(norm, rows, slope)
    first, second = on_ranks(2, learn, copies, halves(rows), halves(slope))
    together = [
        torch.cat([first[0], second[0]]),
        torch.cat([first[1], second[1]]),
        first[2] + second[2],
        first[3] + second[3],
    ]
    for found, expected in zip(together, whole[:4], strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    for part in (first, second):
        torch.testing.assert_close(part[4:], whole[4:], rtol=tolerance, atol=tolerance)
    assert copies[0].num_batches_tracked == copies[1].num_batches_tracked == norm.num_batches_tracked == 1


def test_lone_rows_of_two_ranks_are_normalised_together():
    norm, rows, slope = made()
    copies = [deepcopy(norm), deepcopy(norm)]
    whole = learn(norm, rows[:2], slope[:2])
    parts = on_ranks(2, learn, copies, rows[:2].split(1), slope[:2].split(1))
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), whole[0])
    torch.testing.assert_close(parts[1][4:], whole[4:])


def test_ranks_that_are_not_to_share_statistics_normalise_each_for_itself():
    norm, rows, slope = made()
    norm.over_ranks = False
    copies = [deepcopy(norm), deepcopy(norm)]
    parts = on_ranks(2, learn, copies, halves(rows), halves(slope))
    for part, own, slopes in zip(parts, halves(rows), halves(slope), strict=True):
        torch.testing.assert_close(part, learn(deepcopy(norm), own, slopes), rtol=0, atol=0)


def test_networks_in_use_share_nothing():
    norm, rows, _ = made()
    norm.eval()
    found = on_ranks(2, lambda own: norm(own), halves(rows))
    torch.testing.assert_close(torch.cat(found), norm(rows), rtol=0, atol=0)
