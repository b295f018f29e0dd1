import torch

from clip2scene.student.published.torchsparse import TORCHSPARSE


def test_stages_are_sequences_whose_first_part_changes_the_resolution():
    assert TORCHSPARSE.rename(["stem", "1"]) == ("stem.3", "stem.4")
    assert TORCHSPARSE.rename(["point_layers", "2"]) == ("point_transforms.2.0", "point_transforms.2.1")
    assert TORCHSPARSE.rename(["descents", "0", "down"]) == ("stage1.0.net.0", "stage1.0.net.1")
    assert TORCHSPARSE.rename(["descents", "0", "blocks", "0", "second"]) == (
        "stage1.1.net.3",
        "stage1.1.net.4",
    )
    assert TORCHSPARSE.rename(["ascents", "3", "blocks", "1", "first"]) == ("up4.1.1.net.0", "up4.1.1.net.1")
    assert TORCHSPARSE.rename(["stem"]) is None


def test_offsets_run_x_first_for_odd_edges_and_z_first_for_even_ones():
    order = torch.arange(27.0)[:, None, None]
    assert TORCHSPARSE.to_ours(order, torch.Size((27, 1, 1)))[1] == 9
    assert torch.equal(TORCHSPARSE.to_ours(order[:8], torch.Size((8, 1, 1))), order[:8])


def test_a_head_is_a_matrix_already():
    weight = torch.randn(5, 4)
    assert TORCHSPARSE.to_matrix(weight) is weight
    assert TORCHSPARSE.to_matrix(torch.ones(5)) is None
