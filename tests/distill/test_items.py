import pickle
from dataclasses import replace

import pytest
import torch

from clip2scene.datasets.label_subset import LabelMask, Subset
from clip2scene.distill import items
from clip2scene.distill.augment import Augmentation
from clip2scene.distill.items import ItemOptions, TrainSet
from clip2scene.distill.lifted import LiftedSample, save_lifted
from clip2scene.distill.shares import Shares
from clip2scene.student.inputs import InputOptions
from clip2scene.types import PointCloud

POINTS = 800


def make_lifted(seed=0, **parts):
    """Points in a box of 8 metres, of which every second is paired once and labelled by the teacher."""
    generator = torch.Generator().manual_seed(seed)
    cloud = PointCloud(8 * torch.rand(POINTS, 3, generator=generator), torch.ones(POINTS, 1))
    logits = torch.rand(POINTS // 2, 2, generator=generator)
    labels = torch.arange(POINTS) % 2
    return replace(LiftedSample(cloud, torch.arange(0, POINTS, 2), logits, labels), **parts)


@pytest.fixture
def paths(tmp_path):
    names = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    for seed, path in enumerate(names):
        save_lifted(path, make_lifted(seed))
    return names


def test_sweeps_are_items_that_move_on_their_own(tmp_path):
    lifted = make_lifted(sweep_sizes=(400, 400))
    save_lifted(tmp_path / "a.safetensors", lifted)
    batch = TrainSet([tmp_path / "a.safetensors"]).read_step(0)
    before, after = lifted.cloud.positions, batch.positions

    def distances(cloud):
        return torch.cdist(cloud[::40], cloud[::40])

    one, other = slice(0, 400), slice(400, 800)
    torch.testing.assert_close(distances(before[one]), distances(after[one]), atol=1e-3, rtol=0)
    torch.testing.assert_close(distances(before[other]), distances(after[other]), atol=1e-3, rtol=0)
    assert (distances(before) - distances(after)).abs().max() > 1
    assert batch.item_of_point.tolist() == [0] * 400 + [1] * 400


def test_a_step_is_the_same_whoever_reads_it_and_the_next_is_another(paths):
    one, other = (TrainSet(paths, batch_size=2, seed=3) for _ in range(2))
    assert torch.equal(one.read_step(4).positions, other.read_step(4).positions)
    assert not torch.equal(one.read_step(4).positions, one.read_step(5).positions)
    assert not torch.equal(
        one.read_step(4).positions, TrainSet(paths, batch_size=2, seed=4).read_step(4).positions
    )


def test_clouds_move_as_the_options_say(paths):
    before = make_lifted().cloud.positions

    def moved(**options):
        still = {"rotate": False, "flip": False}
        return (
            TrainSet(paths[:1], options=ItemOptions(augmentation=Augmentation(**{**still, **options})))
            .read_step(3)
            .positions
        )

    assert torch.equal(moved(), before)
    flipped = [
        TrainSet(paths[:1], options=ItemOptions(augmentation=Augmentation(rotate=False))).read_step(step)
        for step in range(8)
    ]
    assert all(torch.equal(each.positions.abs(), before.abs()) for each in flipped)
    assert len({tuple(each.positions[0].tolist()) for each in flipped}) > 1
    turned = moved(rotate=True)
    torch.testing.assert_close(turned.norm(dim=1), before.norm(dim=1))
    assert torch.equal(turned[:, 2], before[:, 2]) and not torch.equal(turned, before)
    ratio = (moved(scale=0.2) / before).unique()
    assert ratio.max() - ratio.min() < 1e-5 and abs(ratio[0] - 1) > 0.01


def test_other_pairs_are_drawn_at_every_step(paths):
    items = TrainSet(paths[:1], options=ItemOptions(pairs=10))
    drawn = [set(items.read_step(step).pixels.points.tolist()) for step in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]


def test_labels_are_targets_as_far_as_the_mask_leaves_them(paths):
    def mask(token, labels):
        return torch.where((labels == 1) & (token == "0"), labels, -1)

    options = ItemOptions(from_labels=True)
    assert TrainSet(paths, options=options).count_targets(2).tolist() == [3 * POINTS // 2] * 2
    masked = TrainSet(paths, options=options, mask=mask)
    assert masked.count_targets(2).tolist() == [0, POINTS // 2]
    empty = TrainSet(paths[1:], options=options, mask=mask)
    with pytest.raises(ValueError, match="no labelled point"):
        empty.target_histogram(2)


@pytest.fixture
def reads(monkeypatch):
    """Names of the samples that are read to count targets."""
    names = []
    real = items.load_lifted
    monkeypatch.setattr(items, "load_lifted", lambda path: names.append(path.stem) or real(path))
    return names


def test_targets_are_counted_once(paths, reads):
    first = TrainSet(paths).count_targets(2)
    again = TrainSet(paths, seed=5, batch_size=2, options=ItemOptions(pairs=3)).count_targets(2)
    assert torch.equal(first, again) and first.sum() == 3 * POINTS // 2
    assert reads == ["0", "1", "2"]


def test_targets_of_other_samples_labels_or_classes_are_counted_anew(paths, reads):
    TrainSet(paths).count_targets(2)
    subset = Subset(("street",), ("0", "1", "2"))
    changes = (
        {"paths": paths[:2]},
        {"options": ItemOptions(from_labels=True)},
        {"options": ItemOptions(from_labels=True), "mask": LabelMask(subset, ("a", "b"), ("a",))},
        {"options": ItemOptions(from_labels=True), "mask": LabelMask(subset, ("a", "b"), ("b",))},
    )
    for change in changes:
        reads.clear()
        counts = TrainSet(**{"paths": paths, **change}).count_targets(2)
        assert len(reads) == len(change.get("paths", paths))
        if "mask" in change:
            assert counts.tolist() == [1200, 0] if change["mask"].wanted == ("a",) else [0, 1200]
    save_lifted(paths[1], make_lifted(7, pair_points=torch.arange(0), pair_logits=torch.zeros(0, 2)))
    assert TrainSet(paths).count_targets(2).sum() == POINTS
    assert len(TrainSet(paths).count_targets(3)) == 3


def test_counts_that_were_damaged_are_counted_anew(paths):
    counts = TrainSet(paths).count_targets(2)
    (place,) = paths[0].parent.glob("targets-*.json")
    for damage in ("", "[1]", "{}", '["a", "b"]'):
        place.write_text(damage)
        assert torch.equal(TrainSet(paths).count_targets(2), counts)


def test_pairs_are_drawn_at_random_and_no_more_than_asked_for(paths):
    item = TrainSet(paths, options=ItemOptions(pairs=10)).read(0, torch.Generator().manual_seed(0))
    again = TrainSet(paths, options=ItemOptions(pairs=10)).read(0, torch.Generator().manual_seed(1))
    assert len(item.pixels.points) == 10 and item.cells is None
    assert set(item.pixels.points.tolist()) != set(again.pixels.points.tolist())


@pytest.mark.parametrize("size", [2.0, 0.5])
def test_points_share_a_cell_of_consistency_where_they_lie_in_one_cube_of_its_size(tmp_path, size):
    lifted = make_lifted(sweep_sizes=(400, 400))  # cells reach over sweeps, before these move on their own
    save_lifted(tmp_path / "a.safetensors", lifted)
    items = TrainSet([tmp_path / "a.safetensors"], options=ItemOptions(cell_size=size))
    cubes = (lifted.cloud.positions / size).floor().unique(dim=0, return_inverse=True)[1]
    for cells in (items.read(0, torch.Generator()).cells, items.read_step(0).cells):
        both = torch.stack([cells, cubes]).unique(dim=1)
        assert both.shape[1] == len(cells.unique()) == len(cubes.unique())


def test_cells_come_with_the_pairs_of_whole_cells(paths):
    options = ItemOptions(cell_size=2.0, cell_pairs=100)
    item = TrainSet(paths, options=options).read(0, torch.Generator().manual_seed(0))
    every = TrainSet(paths, options=replace(options, cell_pairs=None)).read(0, torch.Generator())
    kept = set(item.cells[item.pixels.points].tolist())
    whole = sum(int(cell) in kept for cell in every.cells[every.pixels.points])
    assert len(item.pixels.points) == whole < len(every.pixels.points) == POINTS // 2


def test_items_of_chosen_labels_are_the_same_in_another_process(paths):
    tokens = tuple(path.stem for path in paths)
    mask = LabelMask(Subset(tokens, tokens, points=dict.fromkeys(tokens, 10)), ("even", "odd"), ("odd",))
    items = TrainSet(paths, options=ItemOptions(from_labels=True), mask=mask)
    targets = items.read_step(0).targets
    assert (targets == 1).sum() == 10 and not (targets == 0).any()
    assert torch.equal(pickle.loads(pickle.dumps(items)).read_step(0).targets, targets)


ALL = Augmentation(
    tilt=3.0,
    height=0.5,
    noise=0.05,
    rain=0.2,
    thin_rings=0.5,
    thin_points=0.5,
    cut_range=0.5,
    narrow=0.5,
    intensity=0.3,
    drop_intensity=0.3,
    mix="polar",
)


@pytest.mark.parametrize("inputs", [InputOptions(), InputOptions("ground", level=True, intensity="quantile")])
def test_targets_stay_true_whatever_changes_at_random(tmp_path, inputs):
    lifted = make_lifted(sweep_sizes=(500, 300))
    marks = torch.arange(POINTS) % 2
    positions = lifted.cloud.positions * 4 - 16 * marks[:, None] * torch.tensor([0, 0, 2.0])
    for name in ("a", "b"):
        save_lifted(
            tmp_path / f"{name}.safetensors",
            replace(lifted, cloud=PointCloud(positions, lifted.cloud.features)),
        )
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    options = ItemOptions(from_labels=True, inputs=inputs, augmentation=replace(ALL, rain=0.0, tilt=0.0))
    batches = [TrainSet(paths, options=options).read_step(step) for step in range(6)]
    for batch in batches:
        assert len(batch.features) == len(batch.positions) == len(batch.item_of_point) == len(batch.targets)
        assert batch.item_of_point.max() <= 1 and (batch.item_of_point.diff() >= 0).all()
        low = batch.positions[batch.target_points][batch.targets == 1, 2]
        high = batch.positions[batch.target_points][batch.targets == 0, 2]
        assert low.median() < high.median() - 10  # every label is with its own point
    assert len({len(batch.positions) for batch in batches}) > 3
    again = TrainSet(paths, options=options).read_step(4)
    assert torch.equal(again.positions, batches[4].positions) and torch.equal(
        again.targets, batches[4].targets
    )


def test_switches_of_new_changes_do_not_move_what_was_drawn_before(paths):
    one = TrainSet(paths[:1]).read_step(2).positions
    other = TrainSet(paths[:1], options=ItemOptions(augmentation=Augmentation(intensity=0.5))).read_step(2)
    assert torch.equal(one, other.positions)


def test_the_ground_of_a_sweep_is_found_once(paths, monkeypatch):
    found = []
    real = InputOptions.find_levelling
    monkeypatch.setattr(
        InputOptions, "find_levelling", lambda self, *args: found.append(1) or real(self, *args)
    )
    train_items = TrainSet(paths[:1], options=ItemOptions(inputs=InputOptions("ground")))
    for step in range(3):
        train_items.read_step(step)
    assert len(found) == 1


def test_points_are_not_thinned_until_no_target_is_left(tmp_path):
    path = tmp_path / "a.safetensors"
    save_lifted(path, make_lifted(pair_points=torch.tensor([7]), pair_logits=torch.ones(1, 2)))
    options = ItemOptions(augmentation=Augmentation(narrow=1.0, thin_points=1.0))
    for step in range(30):
        assert len(TrainSet([path], options=options).read_step(step).targets) == 1


def test_samples_of_a_mixture_are_drawn_by_weight_and_mixed_by_weight(paths):
    shares = Shares((torch.tensor([0, 1]), torch.tensor([2])), (1.0, 1.0))
    train_set, read = TrainSet(paths, batch_size=4, shares=shares), []
    really = train_set.read

    def noting(number, generator):
        read.append(number)
        return really(number, generator)

    train_set.read = noting
    for step in range(5):
        train_set.read_step(step)
    assert len(read) == 20 and abs(read.count(2) - 10) <= 1
    mixing = replace(ItemOptions(), augmentation=Augmentation(mix="polar", mix_share=1.0))
    train_set.options = mixing
    read.clear()
    train_set.read_step(0)
    assert len(read) == 8
