import pytest
import torch
from tests.student.sparse.voxels import random_voxels, sparse_tensor
from torch.nn import functional as F

from clip2scene.student.blocks import (
    Ascent,
    ConvNorm,
    Descent,
    ResidualBlock,
    RowNorm,
    check_widths,
    residual_blocks,
)

GENERATOR = torch.Generator().manual_seed(0)


def some_voxels(channels):
    coordinates = random_voxels(GENERATOR)
    return sparse_tensor(coordinates, torch.randn(len(coordinates), channels, generator=GENERATOR))[0]


def test_rows_are_normalised_like_torch_does_and_clipped_if_asked_to():
    norm, truth = RowNorm(4), torch.nn.BatchNorm1d(4)
    rows = torch.randn(30, 4, generator=GENERATOR)
    expected = truth(rows)
    assert torch.equal(norm(rows), expected)
    assert torch.equal(norm.running_var, truth.running_var)
    assert torch.equal(norm(rows, relu=True), F.relu(expected))


def test_a_lone_row_is_normalised_by_the_running_statistics_and_leaves_them_alone():
    norm = RowNorm(4)
    norm(torch.randn(30, 4, generator=GENERATOR))
    before = norm.running_mean.clone()
    row = torch.randn(1, 4, generator=GENERATOR)
    in_training = norm(row)
    assert torch.equal(norm.running_mean, before)
    assert torch.equal(in_training, norm.eval()(row))


@pytest.mark.parametrize("relu", [True, False])
def test_a_convolution_is_normalised_and_clipped_unless_that_is_off(relu):
    block, inputs = ConvNorm(3, 8, relu=relu), some_voxels(3)
    truth = torch.nn.BatchNorm1d(8)(block.conv(inputs).features)
    assert torch.equal(block(inputs).features, F.relu(truth) if relu else truth)


@pytest.mark.parametrize("relu", [True, False])
def test_where_nothing_is_learned_normalisation_ends_the_convolution(relu, monkeypatch):
    block, inputs = ConvNorm(3, 8, relu=relu), some_voxels(3)
    for _ in range(3):
        block(inputs)
    with_gradient = block.eval()(inputs).features
    monkeypatch.setattr(RowNorm, "forward", None)
    with torch.inference_mode():
        assert torch.allclose(block(inputs).features, with_gradient, atol=1e-6)
    with pytest.raises(TypeError):
        block(inputs)


@pytest.mark.parametrize("out_channels", [3, 5])
def test_a_residual_block_adds_its_input_to_two_convolutions(out_channels):
    block, inputs = ResidualBlock(3, out_channels).eval(), some_voxels(3)
    assert (block.shortcut is None) == (out_channels == 3)
    shortcut = inputs if block.shortcut is None else block.shortcut(inputs)
    truth = F.relu(block.second(block.first(inputs)).features + shortcut.features)
    assert torch.equal(block(inputs).features, truth)


def test_only_the_first_of_a_chain_of_blocks_changes_the_channels():
    shortcuts = [block.shortcut is not None for block in residual_blocks(3, 5, 3)]
    assert shortcuts == [True, False, False]


@pytest.mark.parametrize("widens_first", [True, False])
def test_an_encoder_stage_halves_the_resolution_and_a_decoder_stage_doubles_it(widens_first):
    fine = some_voxels(3)
    descent = Descent(3, 6, 2, widens_first=widens_first)
    assert descent.down.conv.out_channels == (6 if widens_first else 3)
    coarse = descent(fine)
    assert (coarse.level, coarse.features.shape[1]) == (1, 6)
    ascent = Ascent(6, 3, 4, 1)
    assert ascent.blocks[0].first.conv.in_channels == 4 + 3
    back = ascent(coarse, fine)
    assert (back.level, back.features.shape) == (0, (len(fine.features), 4))


def test_a_skip_connection_reaches_the_output():
    fine = some_voxels(3)
    coarse, ascent = Descent(3, 6, 1)(fine), Ascent(6, 3, 4, 1).eval()
    without = ascent(coarse, fine.replace(torch.zeros_like(fine.features)))
    assert not torch.equal(ascent(coarse, fine).features, without.features)


def test_widths_are_as_many_positive_numbers_as_stages():
    assert check_widths([1, 2], 2, "widths") == (1, 2)
    for wrong in ([1], [1, 2, 3], [1, 0], []):
        with pytest.raises(ValueError, match="Wrong widths: expected 2 positive"):
            check_widths(wrong, 2, "widths")
