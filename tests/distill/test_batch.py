from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data._utils.pin_memory import pin_memory as pin_what_was_read

from clip2scene.distill.batch import (
    PixelTargets,
    Superpixels,
    TrainItem,
    collate,
    draw_cells,
    sample_order,
    step_generator,
)
from clip2scene.types import IGNORE_LABEL, PointCloud


def make_lesson(num_points, target_points, targets):
    cloud = PointCloud(torch.arange(num_points * 3.0).reshape(-1, 3), torch.full((num_points, 1), 0.5))
    return TrainItem(
        cloud, torch.tensor(target_points, dtype=torch.long), torch.tensor(targets, dtype=torch.long)
    )


def test_targets_keep_pointing_at_their_points():
    first, second = make_lesson(3, [2, 0], [5, 6]), make_lesson(2, [1, 1], [7, 8])
    batch = collate([first, second])
    assert batch.target_points.tolist() == [2, 0, 4, 4]
    assert batch.targets.tolist() == [5, 6, 7, 8]
    assert batch.item_of_point.tolist() == [0, 0, 0, 1, 1]
    assert torch.equal(batch.positions[batch.target_points[2]], second.cloud.positions[1])


def test_targets_that_teach_nothing_are_dropped_and_their_points_kept():
    batch = collate([make_lesson(3, [0, 1, 2], [IGNORE_LABEL, 4, IGNORE_LABEL])])
    assert (batch.target_points.tolist(), batch.targets.tolist(), len(batch.positions)) == ([1], [4], 3)


def test_a_sample_that_no_camera_sees_still_has_its_points():
    batch = collate([make_lesson(2, [], []), make_lesson(1, [0], [3])])
    assert batch.target_points.tolist() == [2]


def make_pixels(points, regions):
    logits = torch.arange(len(points) * 2.0).reshape(-1, 2)
    superpixels = Superpixels(torch.tensor(regions), torch.rand(max(regions) + 2, 3))  # the last has no pair
    return PixelTargets(torch.tensor(points), logits, torch.rand(len(points), 3), superpixels)


def test_pieces_cells_and_pairs_of_two_samples_stay_apart():
    first = replace(
        make_lesson(3, [0], [1]),
        superpoints=torch.tensor([1, -1, 0]),
        cells=torch.tensor([0, 0, 1]),
        pixels=make_pixels([2, 2], [0, 1]),
    )
    second = replace(
        make_lesson(2, [0], [1]),
        superpoints=torch.tensor([-1, 0]),
        cells=torch.tensor([1, 0]),
        pixels=make_pixels([1], [0]),
    )
    batch = collate([first, second])
    assert batch.superpoints.tolist() == [1, -1, 0, -1, 2]
    assert batch.cells.tolist() == [0, 0, 1, 3, 2]
    assert batch.pixels.points.tolist() == [2, 2, 4]
    assert batch.pixels.superpixels.of_pair.tolist() == [0, 1, 3]
    region = batch.pixels.superpixels.embeddings[batch.pixels.superpixels.of_pair[2]]
    assert torch.equal(region, second.pixels.superpixels.embeddings[0])
    assert torch.equal(batch.pixels.embeddings[2:], second.pixels.embeddings)


def test_a_sample_may_hold_several_items():
    batch = collate([replace(make_lesson(3, [0], [1]), item_sizes=(1, 2)), make_lesson(2, [0], [1])])
    assert batch.item_of_point.tolist() == [0, 1, 1, 2, 2]
    assert batch.target_points.tolist() == [0, 3]


def test_every_tensor_of_a_batch_is_pinned_by_torchs_loader(monkeypatch):
    """Without a GPU there is no such memory: a copy stands for it."""
    pinned = []

    def pin(tensor, *_):
        pinned.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batch = collate([make_lesson(4, [0, 2], [1, 0])])
    copy, wrong = pin_what_was_read((batch, ""))
    tensors = [each for each in vars(batch).values() if isinstance(each, torch.Tensor)]
    assert wrong == "" and [id(each) for each in pinned] == [id(each) for each in tensors]
    for name, own in vars(batch).items():
        other = getattr(copy, name)
        if isinstance(own, torch.Tensor):
            assert other is not own and torch.equal(other, own)
        else:
            assert other == own


def test_a_batch_moves_with_all_it_holds():
    batch = collate([replace(make_lesson(3, [0], [1]), pixels=make_pixels([2], [0]))])
    moved = batch.to(torch.device("meta"))
    assert moved.positions.is_meta and moved.pixels.superpixels.of_pair.is_meta
    assert moved.cells is None


@settings(deadline=None)  # a busy machine is slow at times
@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 3))
def test_every_sample_is_seen_once_an_epoch(num_samples, batch_size, epoch):
    steps = range((epoch + 2) * num_samples)
    seen = [number for step in steps for number in sample_order(num_samples, batch_size, step, seed=1)]
    one_epoch = seen[epoch * num_samples : (epoch + 1) * num_samples]
    assert sorted(one_epoch) == list(range(num_samples))


def test_epochs_and_seeds_differ_in_their_order():
    orders = {tuple(sample_order(20, 20, step, seed=seed)) for step in range(20) for seed in (0, 1)}
    assert len(orders) == 40


def test_generators_of_other_steps_seeds_and_purposes_are_other_generators():
    draws = [
        torch.rand(1, generator=step_generator(seed, step, purpose=purpose)).item()
        for seed in (0, 1)
        for step in range(10)
        for purpose in (1, 2)
    ]
    assert len(set(draws)) == len(draws)
    repeated = torch.rand(1, generator=step_generator(1, 9, purpose=2)).item()
    assert repeated == draws[-1]


def test_pairs_are_drawn_by_whole_cells_and_each_cell_alike():
    cells = torch.arange(300).repeat_interleave(torch.arange(300) % 5 + 1)
    kept = [draw_cells(cells, 300, torch.Generator().manual_seed(seed)) for seed in range(60)]
    for each in kept:
        whole = torch.isin(cells, cells[each]).nonzero()[:, 0]
        assert torch.equal(whole, each)
    assert sum(map(len, kept)) / 60 == pytest.approx(300, rel=0.1)
    often = torch.bincount(torch.cat([cells[each].unique() for each in kept]), minlength=300)
    assert (often[cells[:450]].float().mean() / often.float().mean()).item() == pytest.approx(1.0, abs=0.15)


def test_all_pairs_are_kept_where_there_are_fewer():
    assert draw_cells(torch.tensor([3, 3, 9]), 3, torch.Generator()).tolist() == [0, 1, 2]
