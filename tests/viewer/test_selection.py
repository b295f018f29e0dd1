import math

import pytest
import torch

from clip2scene.types import PointCloud, Sample
from clip2scene.viewer.selection import SQUARE_M, Eye, cut_cloud, pieces_within

# x right, y down, z ahead of the eye are -y, -z and x of the world
AHEAD = (0.5, -0.5, 0.5, -0.5)


def sample_of(positions):
    return Sample("a", PointCloud(positions, torch.ones(len(positions), 1)), (), lambda view: None)


def test_an_eye_sees_what_lies_ahead_where_a_camera_would_draw_it():
    eye = Eye((1.0, 0.0, 2.0), AHEAD, math.pi / 2, 2.0)
    ahead, left, above, behind = (
        torch.tensor([[11.0, 0.0, 2.0]]),
        torch.tensor([[11.0, 10.0, 2.0]]),
        torch.tensor([[11.0, 0.0, 7.0]]),
        torch.tensor([[-9.0, 0.0, 2.0]]),
    )
    # 90 degrees from top to bottom: 10 m ahead, the picture is 20 m high and 40 m wide
    for point, (across, down) in ((ahead, (0.5, 0.5)), (left, (0.25, 0.5)), (above, (0.5, 0.25))):
        low, high = (across - 0.01, down - 0.01), (across + 0.01, down + 0.01)
        assert eye.sees_within(point, low, high).all()
        assert not eye.sees_within(point, (across + 0.02, down - 0.01), (across + 0.04, down + 0.01)).any()
        assert not eye.sees_within(point, (across - 0.01, down + 0.02), (across + 0.01, down + 0.04)).any()
    assert not eye.sees_within(behind, (0.0, 0.0), (1.0, 1.0)).any()


def test_an_eye_turns_directions_as_its_quaternion_says():
    rotation = Eye((0.0, 0.0, 0.0), AHEAD, 1.0, 1.0).rotation
    assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-6)
    assert torch.allclose(rotation @ torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)
    assert torch.allclose(rotation @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, -1.0, 0.0]), atol=1e-6)


def test_what_stands_alone_is_a_piece_and_the_ground_is_cut_into_squares():
    x, y = torch.meshgrid(torch.arange(-10, 10, 0.25), torch.arange(-10, 10, 0.25), indexing="ij")
    ground = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), -1.5)], 1)
    up, along = torch.meshgrid(torch.arange(-1.0, 0.5, 0.1), torch.arange(0.0, 1.0, 0.1), indexing="ij")
    box = torch.stack([torch.full((up.numel(),), 5.0), along.flatten(), up.flatten()], 1)
    pieces = cut_cloud(sample_of(torch.cat([ground, box])))
    assert int(pieces.min()) == 0
    assert len(pieces[len(ground) :].unique()) == 1
    assert pieces[len(ground)] not in pieces[: len(ground)]
    squares = pieces[: len(ground)]
    assert len(squares.unique()) == (20 / SQUARE_M) ** 2
    for number in squares.unique()[:5]:
        spread = ground[squares == number][:, :2]
        assert ((spread.amax(0) - spread.amin(0)) < SQUARE_M).all()


def test_a_room_is_cut_into_cubes():
    positions = torch.tensor([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2], [0.1, 0.1, 0.4], [5.0, 0.1, 0.1]])
    pieces = cut_cloud(sample_of(positions), indoors=True)
    assert pieces[0] == pieces[1] and len(pieces.unique()) == 3


@pytest.mark.parametrize(
    ("inside", "chosen"),
    [([0, 1, 2], [0, 1, 2]), ([0], []), ([0, 1], [0, 1, 2]), ([3, 4], [3, 4, 5]), ([], [])],
)
def test_a_rectangle_takes_the_pieces_that_lie_in_it_for_the_most_part(inside, chosen):
    pieces = torch.tensor([0, 0, 0, 1, 1, 1])
    drawn = torch.tensor([0, 1, 2, 3, 4])  # of the second piece, one is hidden and taken all the same
    within = torch.isin(drawn, torch.tensor(inside, dtype=torch.long))
    assert pieces_within(pieces, drawn, within).tolist() == chosen
