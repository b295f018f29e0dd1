"""What the benchmark of shifts does to clouds, how it counts, and what it knows of real ones."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clip2scene.classes.tables import TOYTOWN
from clip2scene.inference.predict import predict
from clip2scene.runs.run import open_run
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.types import IGNORE_LABEL, PointCloud

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
GOLDEN_RUN = Path(__file__).parent / "golden" / "run"


def module(name):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def grid():
    return module("shift.grid")


@pytest.fixture(scope="module")
def scores():
    return module("shift.scores")


@pytest.fixture(scope="module")
def recordings():
    return module("shift.recordings")


@pytest.fixture(scope="module")
def lidars():
    return module("shift.lidars")


@pytest.fixture
def shifts(monkeypatch):
    """The benchmark, with two families of its shifts."""
    found = module("shifts")
    few = {name: found.GRID[name] for name in ("mount", "rings")}
    monkeypatch.setattr(found, "GRID", few)
    return found


@pytest.fixture
def cloud():
    draw = torch.Generator().manual_seed(0)
    positions = 40 * torch.rand((400, 3), generator=draw) - 20
    return PointCloud(positions, torch.rand((400, 1), generator=draw))


def every_shift(grid, cloud):
    rings = torch.arange(len(cloud)) % 32
    for family, shifts in grid.GRID.items():
        for shift in shifts:
            again = [shift.apply(cloud, rings, torch.Generator().manual_seed(3)) for _ in range(2)]
            yield family, shift, *again


def test_every_shift_says_where_its_points_come_from_and_draws_the_same_with_the_same_seed(grid, cloud):
    before = cloud.positions.clone(), cloud.features.clone()
    for family, shift, found, again in every_shift(grid, cloud):
        assert len(found.kept) == len(found.cloud) == len(found.cloud.features) > 0, (family, shift.name)
        assert found.kept.min() >= grid.NOTHING and found.kept.max() < len(cloud)
        assert torch.equal(found.cloud.positions, again.cloud.positions)
        assert torch.equal(found.cloud.features, again.cloud.features)
        old = found.kept != grid.NOTHING
        if family not in ("mount", "pitch", "roll", "yaw", "scale", "range noise"):
            assert torch.equal(found.cloud.positions[old], cloud.positions[found.kept[old]])
        if family != "intensity":
            assert torch.equal(found.cloud.features[old], cloud.features[found.kept[old]])
    assert torch.equal(cloud.positions, before[0]) and torch.equal(cloud.features, before[1])


def test_every_shift_changes_something(grid, cloud):
    for family, shift, found, _ in every_shift(grid, cloud):
        same = found.cloud.features.shape == cloud.features.shape
        same = same and torch.equal(found.cloud.features, cloud.features)
        assert not (same and torch.equal(found.cloud.positions, cloud.positions)), (family, shift.name)


def test_a_family_has_its_shifts_in_order_of_strength_and_none_at_the_place_of_the_cloud_itself(grid):
    for shifts in grid.GRID.values():
        strengths = [shift.strength for shift in shifts]
        assert strengths == sorted(set(strengths)) and 0 not in strengths


def test_a_higher_mount_sees_all_points_lower(grid, cloud):
    found = grid.raise_mount(cloud, 0.5).cloud.positions
    torch.testing.assert_close(found, cloud.positions - torch.tensor([0, 0, 0.5]))


@pytest.mark.parametrize(
    ("axis", "point", "expected"),
    [
        ("yaw", (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),  # turned to the left, what was there is ahead
        ("pitch", (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),  # nose up, what was ahead is below
        ("roll", (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),  # left side up, what was there is below
    ],
)
def test_a_turned_sensor_sees_its_points_turn_the_other_way(grid, axis, point, expected):
    cloud = PointCloud(torch.tensor([point]), torch.zeros(1, 1))
    torch.testing.assert_close(grid.turn(cloud, axis, 90.0).cloud.positions, torch.tensor([expected]))


def test_intensity_is_clipped_and_a_shuffle_keeps_its_distribution(grid, cloud):
    doubled = grid.change_intensity(cloud, lambda intensity: 2 * intensity).cloud.features
    torch.testing.assert_close(doubled, (2 * cloud.features).clamp(max=1))
    shuffled = grid.shuffle_intensity(cloud, torch.Generator().manual_seed(0)).cloud.features
    assert torch.equal(shuffled.sort(0).values, cloud.features.sort(0).values)
    assert not torch.equal(shuffled, cloud.features)


def test_every_fourth_ring_is_kept_from_the_lowest(grid, cloud):
    rings = torch.arange(len(cloud)) % 32
    kept = grid.thin_rings(cloud, rings, 4).kept
    assert rings[kept].unique().tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert len(kept) == int((rings % 4 == 0).sum())


def test_noise_moves_points_along_their_beams_by_as_much_as_it_says(grid):
    beams = torch.nn.functional.normalize(
        torch.randn(20000, 3, generator=torch.Generator().manual_seed(0)), dim=1
    )
    cloud = PointCloud(10 * beams, torch.zeros(20000, 1))
    found = grid.blur_ranges(cloud, 0.1, torch.Generator().manual_seed(1)).cloud.positions
    ranges = found.norm(dim=1)
    assert float(ranges.std()) == pytest.approx(0.1, rel=0.03)
    torch.testing.assert_close(found / ranges[:, None], beams)


def test_thinning_keeps_a_share_and_the_order(grid, cloud):
    kept = grid.thin_points(cloud, 0.25, torch.Generator().manual_seed(0)).kept
    assert len(kept) == 100 and torch.equal(kept, kept.unique())


def test_a_narrow_view_and_a_short_reach_keep_what_is_within(grid):
    positions = torch.tensor([[10.0, 5, 0], [10, -30, 0], [-1, 0, 0], [29, 0, 0], [25, 25, 0]])
    cloud = PointCloud(positions, torch.zeros(5, 1))
    assert grid.narrow_view(cloud, 120).kept.tolist() == [0, 3, 4]
    assert grid.cut_range(cloud, 30).kept.tolist() == [0, 2, 3]


def test_drops_lie_on_beams_before_their_points(grid, cloud):
    found = grid.add_rain(cloud, 0.1, torch.Generator().manual_seed(0))
    drops = found.cloud.positions[len(cloud) :]
    assert len(drops) == 40 and (found.kept[len(cloud) :] == grid.NOTHING).all()
    cosines = (
        torch.nn.functional.normalize(drops, dim=1) @ torch.nn.functional.normalize(cloud.positions, dim=1).T
    )
    best = cosines.max(1)
    assert (best.values > 1 - 1e-5).all()
    assert (drops.norm(dim=1) <= cloud.positions[best.indices].norm(dim=1) + 1e-4).all()


def test_points_without_a_truth_do_not_count_and_those_without_a_prediction_are_wrong(scores):
    found = scores.count(torch.tensor([0, 1, -1, 0]), torch.tensor([0, 0, 1, IGNORE_LABEL]), 2)
    assert found.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert float(scores.accuracy(found)) == pytest.approx(100 / 3)
    assert float(scores.miou(found)) == pytest.approx(25.0)


def test_the_change_is_to_the_same_points_and_streets_that_differ_spread(scores):
    right, wrong = np.array([[9, 1, 0], [0, 10, 0]]), np.array([[1, 9, 0], [5, 5, 0]])
    alike = scores.Pair(np.stack([wrong, wrong]), np.stack([right, right]))
    found = scores.summarise([alike, alike])
    assert found.accuracy == pytest.approx(30) and found.accuracy_change == pytest.approx(30 - 95)
    assert found.miou_seeds == found.accuracy_seeds == 0
    assert found.miou_streets == pytest.approx(0, abs=1e-9)
    other = scores.Pair(np.stack([right, wrong]), np.stack([right, right]))
    spread = scores.summarise([alike, other])
    assert spread.miou_streets > 5 and spread.accuracy_seeds == pytest.approx(np.std([30, 62.5], ddof=1))


def test_a_box_holds_what_is_inside_and_a_thing_does_not_stand_in_its_floor(recordings):
    box = recordings.Box("Car", (10.0, 0.0, -1.0), (4.0, 2.0, 1.5), np.pi / 2)
    points = torch.tensor([[10.0, 1.9, -1.0], [11.9, 0, -1], [10, 0, -1.7], [10, 0, -0.2], [10, 0, -1.59]])
    assert box.holds(points).tolist() == [True, False, True, False, True]
    assert box.thing(points).tolist() == [True, False, False, False, True]


def test_on_a_street_the_ground_is_outside_of_boxes_and_vehicles_inside(recordings):
    x, y = torch.meshgrid(torch.arange(-20, 20, 0.5), torch.arange(-20, 20, 0.5), indexing="ij")
    ground = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), -1.8)], 1)
    car = torch.tensor([[8.0, 0.0, -1.0], [8.0, 0.3, -0.8]])
    cloud = PointCloud(torch.cat([ground, car]), torch.zeros(len(ground) + 2, 1))
    box = recordings.Box("car", (8.0, 0.0, -1.05), (4.0, 2.0, 1.5), 0.0)
    groups = recordings.find_groups(cloud, [box], {"car": "vehicle"})
    assert groups["vehicle"].nonzero()[:, 0].tolist() == [len(ground), len(ground) + 1]
    assert int(groups["ground"].sum()) == len(ground) - int(box.holds(ground).sum())
    with pytest.raises(ValueError, match="no ground"):
        recordings.find_groups(PointCloud(cloud.positions[:5], cloud.features[:5]), [], {})


def test_a_lidar_records_a_street_the_same_each_time_and_another_lidar_records_other_points(lidars):
    town = build_town(1)
    own, truth = lidars.record(town, 500_000, lidars.OWN, TOYTOWN)
    again, _ = lidars.record(town, 500_000, lidars.OWN, TOYTOWN)
    ahead, _ = lidars.record(town, 500_000, "solid-state", TOYTOWN)
    assert lidars.same_cloud(own, again) and not lidars.same_cloud(own, ahead)
    assert len(truth) == len(own) and own.features.shape == (len(own), 1)
    ground = own.positions[truth == TOYTOWN.classes.index("driveable surface")]
    assert float(ground[:, 2].median()) == pytest.approx(-1.84, abs=0.1)
    assert (ahead.positions[:, 0] > 0).all()
    assert lidars.OWN not in lidars.OTHERS


def test_keyframes_come_with_the_rings_and_moments_that_the_data_set_holds(shifts, tiny_toytown):
    keyframes = shifts.read_keyframes(open_run(GOLDEN_RUN), tiny_toytown, None)
    assert [keyframe.moment_us for keyframe in keyframes] == [500_000, 1_000_000]
    assert [keyframe.street for keyframe in keyframes] == [0, 0]
    town = build_town(500_000)
    for keyframe in keyframes:
        rng = np.random.default_rng([town.seed, 1, keyframe.moment_us])
        sweep = lidar_sweep(town, keyframe.moment_us / 1e6, rng, azimuth_steps=360)
        assert keyframe.rings.tolist() == sweep.rings.tolist()


def test_the_cloud_as_it_is_has_the_score_of_an_evaluation_and_dropped_points_change_nothing(
    shifts, tiny_toytown
):
    run = open_run(GOLDEN_RUN)
    keyframes = shifts.read_keyframes(run, tiny_toytown, 1)
    counts = shifts.measure_grid(run, keyframes)
    label = run.class_mapping.translate(
        predict(run.student(), run.prompts, keyframes[0].cloud).logits.argmax(1)
    )
    right = int((label == keyframes[0].truth).sum())
    whole = counts[shifts.AS_IT_IS].shifted
    assert np.trace(whole[0]) == right and whole.sum() == int((keyframes[0].truth >= 0).sum())
    kept = keyframes[0].rings % 2 == 0
    half = counts["rings", "every 2nd"]
    assert np.trace(half.unshifted[0]) == int((label == keyframes[0].truth)[kept].sum())
    assert half.shifted.sum() == half.unshifted.sum() < whole.sum()
    assert not np.array_equal(counts["mount", "+1 m"].shifted, whole)


@pytest.mark.real_data
def test_real_clouds_stand_with_their_sensor_at_the_origin_and_their_boxes_on_things(real_data, recordings):
    found = {each.name: each for each in recordings.read_recordings(real_data, TOYTOWN)}
    keyframe = found["nuscenes-keyframe"]
    assert int(keyframe.groups["vehicle"].sum()) > 500 and int(keyframe.groups["person"].sum()) > 80
    assert int(found["kitti-000000"].groups["person"].sum()) > 300
    assert int(found["kitti-000001"].groups["cyclist"].sum()) > 10
    assert sum(name.startswith("pandaset") for name in found) == 30
    frame = found["pandaset-002-30-spinning"]
    road = frame.cloud.positions[frame.truth == TOYTOWN.classes.index("driveable surface")]
    assert -2.5 < float(road[road[:, :2].norm(dim=1) < 15, 2].median()) < -1.5
