import numpy as np
import pytest
import torch

from clip2scene.inference import tiles as module
from clip2scene.inference.segmenter import Segmenter
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


@pytest.mark.parametrize("size", [3.0, 8.0, None])
def test_with_a_margin_as_wide_as_the_network_sees_tiles_are_labelled_as_the_whole(
    segmenter, cloud, tmp_path, size
):
    whole = segmenter.segment(cloud, keep_raw=True)
    part, _ = labelled(segmenter, cloud, tmp_path / "store", size=size, margin=SEEN_M, keep_raw=True)
    assert len(set(whole.labels.tolist())) > 1
    np.testing.assert_allclose(part.confidence, whole.scores.amax(1), atol=1e-4)
    assert np.mean(part.labels == whole.labels.numpy()) > 0.999
    assert np.mean(part.raw == whole.raw_labels.numpy()) > 0.999


def test_without_a_margin_points_away_from_the_seams_are_labelled_as_in_the_whole(segmenter, cloud, tmp_path):
    whole = segmenter.segment(cloud)
    part, _ = labelled(segmenter, cloud, tmp_path / "store", size=18.0, margin=0.0)
    place = cloud.positions[:, :2] % 18.0
    inside = ((place > SEEN_M) & (place < 18.0 - SEEN_M)).all(1).numpy()
    gap = np.abs(part.confidence - whole.scores.amax(1).numpy())
    assert inside.sum() > 20 and gap[inside].max() < 1e-4 < gap[~inside].max()


def test_pieces_of_any_length_are_put_together_in_the_order_of_the_cloud(segmenter, cloud, tmp_path):
    def pieces():
        for start, stop in ((0, 1), (1, 1700), (1700, 5000)):
            yield PointCloud(cloud.positions[start:stop], cloud.features[start:stop])

    whole, _ = labelled(segmenter, cloud, tmp_path / "one", size=4.0, margin=1.0)
    _, found = labelled(segmenter, cloud, tmp_path / "two", pieces, size=4.0, margin=1.0)
    found._store.taken[:], found._at = 0, 0
    parts = [found.part(start, stop) for start, stop in ((0, 333), (333, 2000), (2000, 5000))]
    assert np.array_equal(np.concatenate([part.labels for part in parts]), whole.labels)
    assert np.array_equal(np.concatenate([part.confidence for part in parts]), whole.confidence)


def test_tiles_are_the_largest_with_few_enough_points(cloud, monkeypatch):
    for most, size in ((3000, 160.0), (1000, 10.0), (100, 5.0)):
        monkeypatch.setattr(module, "MOST_POINTS", most)
        found, _, counts = module._plan(pieces_of(cloud), TileOptions(margin=0.0))
        assert found == size and counts.sum() == len(cloud)


def test_numbers_that_are_not_finite_are_refused(segmenter, cloud, tmp_path):
    cloud.positions[7, 2] = torch.nan
    sample = PointCloud(cloud.positions[8:], cloud.features[8:])
    with pytest.raises(ValueError, match="NaN or infinite"):
        label_tiles(segmenter, pieces_of(cloud), sample, tmp_path)
