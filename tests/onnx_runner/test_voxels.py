import numpy as np
import pytest
import torch
from tests.onnx_students import make_cloud

from clip2scene.onnx_runner.voxels import Voxels
from clip2scene.student.point_voxel import VoxelizedPoints


def both(seed=0, corners=False):
    points, _ = make_cloud(seed, 900)
    torchs = VoxelizedPoints(points, torch.zeros(len(points), dtype=torch.long), 0.25)
    return torchs, Voxels(points.numpy(), 0.25, at_corners=corners)


@pytest.mark.parametrize("level", range(4))
def test_voxels_of_every_level_are_those_of_torch(level):
    torchs, voxels = both()
    assert voxels.levels.keys(level).tolist() == torchs.pyramid.keys(level).tolist()
    down = torchs.pyramid.descent(level)
    found = voxels.levels.down(level)
    assert found["sources"].tolist() == down.sources.tolist()
    assert found["targets"].tolist() == down.targets.tolist() and tuple(found["counts"]) == down.counts


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("level", [0, 2])
def test_pairs_of_neighbours_are_those_of_torch(size, level):
    torchs, voxels = both()
    expected, found = torchs.pyramid.neighbours(level, size), voxels.levels.near(level, size)
    assert found["sources"].tolist() == expected.sources.tolist()
    assert found["targets"].tolist() == expected.targets.tolist()
    counts = list(expected.counts)
    assert found["counts"].tolist() == counts[: size**3 // 2] + counts[size**3 // 2 + 1 :]


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("level", [0, 2])
def test_shares_of_the_voxels_around_a_point_are_those_of_torch(level, corners):
    torchs, voxels = both(corners=corners)
    places = torchs.at_corners() if corners else torchs
    expected = places._interpolation(level, torch.float32)
    found = dict(voxels.inputs(iter([f"around_{level}_rows", f"around_{level}_weights"])))
    weights = found[f"around_{level}_weights"]
    assert weights.dtype == np.float32 and np.allclose(weights.ravel(), expected.weights, atol=1e-6)
    met = weights.ravel() > 0
    assert (found[f"around_{level}_rows"].ravel() == expected.rows.numpy())[met].all()


def test_points_are_sorted_by_their_voxel():
    torchs, voxels = both()
    names = ["voxel_of_point", "mean_0_order", "mean_0_last"]
    found = dict(voxels.inputs(iter(names)))
    assert found["voxel_of_point"].tolist() == torchs.voxel_of_point.tolist()
    counts = np.diff(found["mean_0_last"], prepend=-1)
    assert counts.tolist() == torch.bincount(torchs.voxel_of_point).tolist()
    assert (np.diff(found["voxel_of_point"][found["mean_0_order"]]) >= 0).all()


def test_a_point_too_far_out_is_refused():
    with pytest.raises(ValueError, match="a point lies 100000 m from the origin, expected at most 32766 m"):
        Voxels(np.array([[1e5, 0, 0]], np.float32), 0.25)
