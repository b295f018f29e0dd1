from dataclasses import replace

import numpy as np
import pytest
import torch

from clip2scene.inference import tiles as module
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.tile_store import TileStore
from clip2scene.inference.tiles import TileOptions, label_tiles, pieces_of
from clip2scene.student import NETWORKS
from clip2scene.student.inputs import InputOptions
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts

pytestmark = pytest.mark.usefixtures("exact_products")

SEEN_M = 7.0
"""How far the network of these tests sees: 136 of its voxels of 5 cm, level by level."""


@pytest.fixture
def segmenter(cloud):
    torch.manual_seed(0)
    student = Embedder(NETWORKS["minkunet14a"](2, width=0.25, voxel_size=0.05), 16)
    student.inputs = InputOptions(level=True, height="ground", intensity="quantile", turns=(10.0,))
    names = tuple("abcd")
    prompts = Prompts(names, names, torch.arange(4), torch.nn.functional.normalize(torch.randn(4, 16), dim=1))
    found = Segmenter(student, prompts, lambda names: prompts)
    with torch.no_grad():  # so that no class is the best of all points
        student.head.weight *= 20
        student.head.bias -= found.segment(cloud, with_embeddings=True).embeddings.mean(0)
    return found


@pytest.fixture
def cloud():
    """A street of 40 x 12 m, with intensities of which many are alike."""
    rng = np.random.default_rng(0)
    positions = rng.uniform([-20, 3, -1.8], [20, 15, -1.7], (5000, 3))
    positions[::4, 2] += rng.uniform(0, 2, 1250)
    return PointCloud(
        torch.from_numpy(positions).float(), torch.from_numpy(rng.integers(0, 9, (5000, 1)) / 8).float()
    )


def labelled(segmenter, cloud, folder, pieces=None, **options):
    folder.mkdir()
    found = label_tiles(segmenter, pieces or pieces_of(cloud), cloud, folder, TileOptions(**options))
    return found.part(0, len(cloud)), found


TOLD = ("labels", "confidence")


def of_the_whole(segmenter, cloud, folder):
    """Every tile sees all points."""
    return labelled(segmenter, cloud, folder, size=100.0, margin=100.0, keep_raw=True)[0]


@pytest.mark.parametrize("size", [3.0, 8.0, None])
def test_with_a_margin_as_wide_as_the_network_sees_tiles_are_labelled_as_the_whole(
    segmenter, cloud, tmp_path, size
):
    whole = of_the_whole(segmenter, cloud, tmp_path / "whole")
    part, _ = labelled(segmenter, cloud, tmp_path / "store", size=size, margin=SEEN_M, keep_raw=True)
    assert len(set(whole.labels.tolist())) > 1
    np.testing.assert_allclose(part.confidence, whole.confidence, atol=1e-4)
    assert np.mean(part.labels == whole.labels) > 0.999
    assert np.mean(part.raw == whole.raw) > 0.999


def test_without_a_margin_points_away_from_the_seams_are_labelled_as_in_the_whole(segmenter, cloud, tmp_path):
    whole = of_the_whole(segmenter, cloud, tmp_path / "whole")
    part, _ = labelled(segmenter, cloud, tmp_path / "store", size=18.0, margin=0.0)
    place = cloud.positions[:, :2] % 18.0
    inside = ((place > SEEN_M) & (place < 18.0 - SEEN_M)).all(1).numpy()
    gap = np.abs(part.confidence - whole.confidence)
    assert inside.sum() > 20 and gap[inside].max() < 1e-4 < gap[~inside].max()


def test_superpoints_that_lie_within_the_margin_are_those_of_the_whole(segmenter, cloud, tmp_path):
    segmenter.student.superpoint_mean = True
    whole = of_the_whole(segmenter, cloud, tmp_path / "whole")
    assert not np.array_equal(whole.labels, whole.raw)
    part, _ = labelled(segmenter, cloud, tmp_path / "store", size=8.0, margin=SEEN_M)
    assert np.mean(part.labels == whole.labels) > 0.999


def test_a_level_street_is_labelled_in_tiles_as_a_sweep_of_it(segmenter, cloud, tmp_path):
    sweep = segmenter.segment(cloud)
    part, _ = labelled(segmenter, cloud, tmp_path / "store", size=8.0, margin=SEEN_M)
    assert np.mean(part.labels == sweep.labels.numpy()) > 0.8  # voxels lie some millimetres elsewhere


def test_a_street_is_labelled_the_same_wherever_it_lies_on_a_hill(segmenter, cloud, tmp_path):
    segmenter.student.inputs = replace(segmenter.student.inputs, turns=(0.0,))
    there = cloud.positions + torch.tensor([192.0, 0.0, 30.0])
    both = PointCloud(torch.cat([cloud.positions, there]), cloud.features.repeat(2, 1))
    part, _ = labelled(segmenter, both, tmp_path / "store", size=8.0, margin=SEEN_M)
    low, high = np.split(part.labels, 2)
    assert len(set(low.tolist())) > 1 and np.mean(low == high) > 0.97


def test_pieces_of_any_length_are_put_together_in_the_order_of_the_cloud(segmenter, cloud, tmp_path):
    def pieces():
        for start, stop in ((0, 1), (1, 1700), (1700, 5000)):
            yield PointCloud(cloud.positions[start:stop], cloud.features[start:stop])

    whole, _ = labelled(segmenter, cloud, tmp_path / "one", size=4.0, margin=1.0)
    _, found = labelled(segmenter, cloud, tmp_path / "two", pieces, size=4.0, margin=1.0)
    parts = [found.part(start, stop) for start, stop in ((0, 333), (333, 2000), (2000, 5000))]
    assert all(each.base is None for each in found._some.values())  # views would keep all labels in memory
    labels, confidence = (np.concatenate([getattr(each, name) for each in parts]) for name in TOLD)
    np.testing.assert_allclose(confidence, whole.confidence, atol=1e-4)  # sums have another order
    assert np.mean(labels == whole.labels) > 0.999


def test_tiles_are_small_only_where_many_points_lie(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    points = rng.uniform([-150, -150, 0], [150, 150, 1], (9000, 3))
    points[:4000, :2] = rng.uniform(100, 110, (4000, 2))
    store = TileStore(tmp_path, 5.0, 3)
    store.add(points.astype(np.float32))
    store.finish("")
    monkeypatch.setattr(module, "MOST_POINTS", 2500)
    tiles = module.plan(store, TileOptions(), 0.15)
    assert sum(tile.own for tile in tiles) == len(points)
    assert len({tile.size for tile in tiles}) > 2 and max(tile.size for tile in tiles) >= 8
    seen = [len(store.around(tile.low, tile.size, 10.0).rows) for tile in tiles]
    assert all(most <= 2500 or tile.size == 1 for most, tile in zip(seen, tiles, strict=True))


def test_an_interrupted_call_goes_on_with_the_tiles_that_are_left(segmenter, cloud, tmp_path, monkeypatch):
    whole, _ = labelled(segmenter, cloud, tmp_path / "one", size=8.0, margin=1.0)
    real, calls = Segmenter.segment_prepared, []

    def once_more(self, *args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *args, **options)

    monkeypatch.setattr(Segmenter, "segment_prepared", once_more)
    folder, options = tmp_path / "two", TileOptions(size=8.0, margin=1.0)
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        label_tiles(segmenter, pieces_of(cloud), cloud, folder, options, key="this")
    found = label_tiles(segmenter, lambda: iter(()), cloud, folder, options, key="this")
    assert len(calls) == 1 + len(module.plan(found._store, options, 0.05))
    assert np.array_equal(found.part(0, len(cloud)).labels, whole.labels)


def test_numbers_that_are_not_finite_are_refused(segmenter, cloud, tmp_path):
    cloud.positions[7, 2] = torch.nan
    sample = PointCloud(cloud.positions[8:], cloud.features[8:])
    with pytest.raises(ValueError, match="NaN or infinite"):
        label_tiles(segmenter, pieces_of(cloud), sample, tmp_path)
