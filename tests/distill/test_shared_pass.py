import torch
from tests.ranks_in_threads import on_ranks

from clip2scene.distill.batch import collate, sample_order
from clip2scene.distill.items import TrainSet
from clip2scene.distill.lifted import LiftedSample, save_lifted
from clip2scene.distill.shared_pass import backbone_features
from clip2scene.ranks import here
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud


def write_samples(folder, sizes):
    """Samples whose points have their number as intensity, in sweeps of unlike size."""
    paths = [folder / f"{number}.safetensors" for number in range(len(sizes))]
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        cloud = PointCloud(torch.rand(size, 3) * 9, torch.full((size, 1), float(number)))
        sweeps = (1, size - 1) if number % 2 else ()
        save_lifted(
            path, LiftedSample(cloud, torch.arange(size), torch.eye(2)[[0] * size], None, None, sweeps)
        )
    return paths


class Watched(torch.nn.Module):
    """A backbone that gives back what it is given, and notes which samples each rank gives it."""

    out_channels, stages = 2, ()

    def __init__(self):
        super().__init__()
        self.seen = {}

    def forward(self, positions, features, items):
        self.seen[here().rank] = features[:, 0].unique_consecutive().long().tolist()
        return torch.stack([features[:, 0], items.to(features.dtype)], 1)


def test_each_rank_computes_its_part_of_the_samples_that_one_process_would_take(tmp_path):
    train_set = TrainSet(write_samples(tmp_path, (5, 3, 7, 4, 6, 2, 8)), batch_size=4, seed=3)
    network = Embedder(Watched(), 3)
    seen = network.backbone.seen
    for step in range(4):  # over the end of an epoch
        order = sample_order(7, 4, step, seed=3)
        whole = backbone_features(network, train_set.read_step(step))
        assert seen.pop(0) == order
        for found in on_ranks(2, lambda: backbone_features(network, train_set.read_step(step))):  # noqa: B023
            assert torch.equal(found[:, 0], whole[:, 0])
        assert seen == {0: order[:2], 1: order[2:]}


def test_the_items_of_a_rank_are_numbered_from_the_first_on(tmp_path):
    train_set = TrainSet(write_samples(tmp_path, (5, 3, 7, 4)), seed=0)
    generator = torch.Generator().manual_seed(0)
    batch = collate([train_set.read(number, generator) for number in (1, 2, 3, 0)])
    assert batch.sample_sizes == (3, 7, 4, 5)
    found = on_ranks(2, lambda: backbone_features(Embedder(Watched(), 3), batch))
    assert found[0][:, 1].tolist() == found[1][:, 1].tolist()
    assert found[0][:, 1].tolist() == [0, 1, 1, *[2] * 7, 0, 1, 1, 1, *[2] * 5]
