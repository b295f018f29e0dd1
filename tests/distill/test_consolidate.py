from collections import defaultdict
from dataclasses import replace

import pytest
import torch

from clip2scene.datasets.drives import Moment
from clip2scene.distill import consolidate
from clip2scene.distill.consolidate import (
    ConsolidateOptions,
    consolidate_split,
    find_moving,
    other_moments,
    scores_of,
)
from clip2scene.distill.lifted import LiftedSample, load_lifted, save_lifted
from clip2scene.types import PointCloud

ROAD, WALL, CAR = 0, 1, 2
SENSOR_M = 1.8  # above the road
STEP_US = 500_000


def sweep(ego, boxes):
    """Turn a lidar at x = ego above a road with a wall on the left and boxes (x, y) on it.

    Returns positions in the lidar's frame, which is turned by 30 degrees, and the class of each.
    """
    azimuth, elevation = torch.meshgrid(
        torch.deg2rad(torch.arange(0.0, 360.0, 1.0)),
        torch.deg2rad(torch.arange(-24.0, 4.0, 1.0)),
        indexing="ij",
    )
    x, y = azimuth.cos() * elevation.cos(), azimuth.sin() * elevation.cos()
    rays = torch.stack([x, y, elevation.sin()], -1).reshape(-1, 3).double()
    ranges = torch.stack([-SENSOR_M / rays[:, 2], 8.0 / rays[:, 1]])  # to the road, to the wall at y = 8
    ranges[~(ranges > 0)] = torch.inf
    for box_x, box_y in boxes:
        low = torch.tensor([box_x - ego - 2.0, box_y - 1.0, -SENSOR_M]).double()
        near, far = sorted_planes(rays, low, low + torch.tensor([4.0, 2.0, 1.5]).double())
        hit = torch.where((near < far) & (near > 0), near, torch.inf)
        ranges = torch.cat([ranges, hit[None]])
    nearest, what = ranges.min(0)
    kept = nearest < 40.0
    world = (rays * nearest[:, None])[kept] + torch.tensor([ego, 0.0, 0.0]).double()
    pose = torch.eye(4, dtype=torch.float64)
    turn = torch.deg2rad(torch.tensor(30.0)).double()
    pose[:2, :2] = torch.tensor([[turn.cos(), -turn.sin()], [turn.sin(), turn.cos()]])
    pose[0, 3] = ego
    return ((world - pose[:3, 3]) @ pose[:3, :3]).float(), what[kept].clamp(max=CAR), pose


def sorted_planes(rays, low, high):
    """Range at which each ray enters and leaves a box around the origin's neighbourhood."""
    first, second = low / rays, high / rays
    return torch.minimum(first, second).amax(1), torch.maximum(first, second).amin(1)


def logits_of(classes):
    return torch.eye(3)[classes]


def record(folder, moments=7, boxes=lambda number: [(12.0, -4.0)], wrong=0.0, superpoints=None, seen=None):
    """Write the samples of a drive; a share of the teacher's labels is wrong."""
    draw = torch.Generator().manual_seed(0)
    told, paths, truth = [], [], []
    folder.mkdir(exist_ok=True)
    for number in range(moments):
        positions, classes, pose = sweep(2.0 * number, boxes(number))
        said = (classes + (torch.rand(len(classes), generator=draw) < wrong) * 1) % 3
        points = torch.arange(len(classes)) if seen is None else seen(number, classes).nonzero()[:, 0]
        pieces = None if superpoints is None else superpoints(number, classes)
        lifted = LiftedSample(
            PointCloud(positions, torch.zeros(len(positions), 1)),
            points,
            logits_of(said[points]),
            None,
            pieces,
        )
        path = folder / f"s{number}.safetensors"
        save_lifted(path, lifted)
        told.append(Moment(number, number * STEP_US, pose))
        paths.append(path)
        truth.append(classes)
    return {"a": tuple(told)}, paths, truth


def labels_of(paths):
    return [load_lifted(path).consolidated for path in paths]


def right(found, truth):
    hits = torch.cat(found) == torch.cat(truth)
    return hits.float().mean().item()


WIDE = ConsolidateOptions(place_size=0.5, least_share=0.0)


def test_noise_of_single_moments_is_outvoted(tmp_path):
    drives, paths, truth = record(tmp_path / "in", moments=9, wrong=0.3)
    raw = [load_lifted(path).teacher_labels() for path in paths]
    assert right(raw, truth) == pytest.approx(0.7, abs=0.01)
    found = labels_of(consolidate_split(drives, paths, options=WIDE))
    assert right(found, truth) > 0.9


def test_labels_are_those_of_a_slow_count_of_votes(tmp_path, monkeypatch):
    monkeypatch.setattr(
        consolidate,
        "find_moving",
        lambda moments, paths, viewpoint: [
            torch.zeros(len(load_lifted(path).cloud), dtype=torch.bool) for path in paths
        ],
    )
    drives, paths, _ = record(tmp_path / "in", moments=3, wrong=0.3)
    votes = defaultdict(lambda: torch.zeros(3, dtype=torch.double))
    places = []
    for moment, path in zip(drives["a"], paths, strict=True):
        lifted = load_lifted(path)
        world = lifted.cloud.positions.double() @ moment.drive_from_cloud[:3, :3].T
        world += moment.drive_from_cloud[:3, 3]
        places.append([tuple(row) for row in torch.floor(world / 0.5).long().tolist()])
        mine = defaultdict(lambda: torch.zeros(3, dtype=torch.double))
        for place, score in zip(places[-1], scores_of(lifted).double(), strict=True):
            mine[place] += score
        for place, total in mine.items():
            votes[place] += total / total.sum()
    found = labels_of(consolidate_split(drives, paths, options=WIDE))
    for labels, of_points in zip(found, places, strict=True):
        slow = torch.stack([votes[place] for place in of_points])
        clear = slow.topk(2).values.diff(dim=1)[:, 0].abs() > 0.01  # a tie may go either way
        assert clear.float().mean() > 0.7
        assert torch.equal(labels[clear], slow.argmax(1)[clear])


def passing(number):
    return [(4.0 + 5.0 * number, -4.0)]


def test_a_moving_box_keeps_its_class_and_leaves_none_along_its_path(tmp_path):
    pieces = lambda number, classes: torch.where(classes == CAR, 0, -1)  # noqa: E731
    drives, paths, truth = record(tmp_path / "in", boxes=passing, superpoints=pieces)
    moving = find_moving(drives["a"], paths, (0.0, 0.0, 0.0))
    is_car = torch.cat(truth) == CAR
    assert torch.cat(moving)[is_car].float().mean() > 0.95
    assert torch.cat(moving)[~is_car].float().mean() < 0.02
    found = labels_of(consolidate_split(drives, paths, options=WIDE))
    assert (torch.cat(found)[is_car] == CAR).float().mean() > 0.95
    assert (torch.cat(found)[~is_car] == CAR).float().mean() < 0.002


def test_a_box_that_stands_through_the_drive_does_not_move(tmp_path):
    drives, paths, truth = record(tmp_path / "in")
    moving = torch.cat(find_moving(drives["a"], paths, (0.0, 0.0, 0.0)))
    assert moving[torch.cat(truth) == CAR].float().mean() < 0.02


def test_points_that_no_camera_saw_get_the_class_of_their_place(tmp_path):
    odd = lambda number, classes: torch.full_like(classes, number % 2, dtype=torch.bool)  # noqa: E731
    drives, paths, truth = record(tmp_path / "in", seen=odd)
    found = labels_of(consolidate_split(drives, paths, options=WIDE))
    unseen = found[2], truth[2]
    labelled = unseen[0] >= 0
    assert not load_lifted(paths[2]).visible().any()
    assert labelled.float().mean() > 0.7
    assert (unseen[0] == unseen[1])[labelled].float().mean() > 0.97


def test_where_no_class_has_its_share_there_is_no_label(tmp_path):
    drives, paths, _ = record(tmp_path / "in", moments=4, wrong=0.45)
    free = torch.cat(labels_of(consolidate_split(drives, paths, options=WIDE)))
    strict = torch.cat(labels_of(consolidate_split(drives, paths, options=replace(WIDE, least_share=0.75))))
    assert (free >= 0).all()
    assert 0.05 < (strict >= 0).float().mean() < 0.95
    assert torch.equal(free[strict >= 0], strict[strict >= 0])
    impure = lambda number, classes: torch.zeros_like(classes)  # noqa: E731 - road, wall and car in one
    drives, paths, _ = record(tmp_path / "impure", moments=2, superpoints=impure)
    found = torch.cat(labels_of(consolidate_split(drives, paths, options=replace(WIDE, least_share=0.95))))
    assert (found == -1).all()


def test_the_order_of_samples_does_not_matter(tmp_path):
    drives, paths, _ = record(tmp_path / "in", moments=4, wrong=0.3)
    found = labels_of(consolidate_split(drives, paths, options=WIDE))
    turned = {"a": tuple(replace(each, number=3 - each.number) for each in drives["a"])}
    other = [path.parent.parent / "out" / path.name for path in paths]
    other[0].parent.mkdir()
    for path, copy in zip(paths, other, strict=True):
        copy.write_bytes(path.read_bytes())
    again = labels_of(consolidate_split(turned, other[::-1], options=WIDE))
    assert all(torch.equal(one, two) for one, two in zip(found, again[::-1], strict=True))


def test_a_drive_of_one_moment_stays_as_it_was_lifted(tmp_path):
    drives, paths, _ = record(tmp_path / "in", moments=1)
    assert consolidate_split(drives, paths, options=WIDE) == paths


def test_poses_that_contradict_the_clouds_are_refused(tmp_path):
    drives, paths, _ = record(tmp_path / "in", moments=4)
    wrong = torch.eye(4, dtype=torch.float64)
    wrong[1, 3] = 4.0  # the vehicle is said to change lanes between any two moments
    moments = [
        replace(each, drive_from_cloud=wrong @ each.drive_from_cloud) if each.number % 2 else each
        for each in drives["a"]
    ]
    with pytest.raises(ValueError, match="contradict.*expected at most.*--teacher.no-consolidate"):
        consolidate_split({"a": tuple(moments)}, paths, options=WIDE)


def test_an_interrupted_call_goes_on_and_other_settings_have_files_of_their_own(tmp_path, monkeypatch):
    drives, paths, _ = record(tmp_path / "in", moments=2)
    first = consolidate_split(drives, paths, options=WIDE)
    kept = labels_of(first)
    first[1].unlink()
    assert consolidate_split(drives, paths, options=WIDE) == first
    assert all(torch.equal(one, two) for one, two in zip(kept, labels_of(first), strict=True))
    monkeypatch.setattr(consolidate, "_consolidate_drive", lambda *work: pytest.fail("they are all there"))
    assert consolidate_split(drives, paths, options=WIDE) == first
    shifted = {"a": tuple(replace(each, time_us=each.time_us + 1) for each in drives["a"])}
    with pytest.raises(pytest.fail.Exception):
        consolidate_split(drives, paths, options=replace(WIDE, place_size=1.0))
    with pytest.raises(pytest.fail.Exception):
        consolidate_split(shifted, paths, options=WIDE)


def test_what_moved_is_looked_for_up_to_two_seconds_away():
    fast = [Moment(number, number * 100_000, torch.eye(4, dtype=torch.float64)) for number in range(60)]
    assert other_moments(fast, 30) == [10, 20, 25, 35, 40, 50]
    assert other_moments(fast, 0) == [5, 10, 20]
    assert other_moments(fast[:2], 0) == [1]
