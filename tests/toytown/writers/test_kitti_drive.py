import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene.classes.tables import NUSCENES, SEMANTIC_KITTI, TOYTOWN_KITTI, train_ids
from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.geometry.projection import project_points
from clip2scene.toytown.sensors import camera_rig, ego_from_lidar, lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.toytown.writers.kitti_drive import RAW_OF_NOUN, raw_labels, sweep_times_us
from clip2scene.toytown.writers.layouts import write_semantic_kitti
from clip2scene.toytown.writers.recording import Recording
from clip2scene.types import IGNORE_LABEL

TINY = Recording(keyframes_per_scene=2, sweeps_per_keyframe=2, width=160, height=96, azimuth_steps=360)
SMALLEST = Recording(keyframes_per_scene=1, sweeps_per_keyframe=1, width=32, height=16, azimuth_steps=40)


@pytest.fixture(scope="module")
def town():
    """The town that sequence 00 of ``tiny_kitti`` drives through."""
    return build_town(0)


def swept(town, number):
    time_us = sweep_times_us(TINY)[number]
    return time_us / 1e6, lidar_sweep(
        town, time_us / 1e6, np.random.default_rng([0, 1, time_us]), azimuth_steps=360
    )


@pytest.mark.parametrize("number", range(4))
def test_points_and_labels_come_back_exactly(tiny_kitti, town, number):
    _, sweep = swept(town, number)
    sample = SemanticKitti(tiny_kitti)[number]
    assert np.array_equal(sample.cloud.positions.numpy(), sweep.positions)
    assert np.array_equal(sample.cloud.features[:, 0].numpy(), sweep.intensity)
    nouns = np.array(town.instances.nouns)[sweep.instances]
    slow = [SEMANTIC_KITTI.train_id_of_raw.get(RAW_OF_NOUN[noun][0], IGNORE_LABEL) for noun in nouns]
    assert sample.labels.tolist() == slow
    assert len(set(slow)) > 5


@pytest.mark.parametrize("number", range(4))
def test_pairs_are_those_of_the_town_itself(tiny_kitti, town, number):
    time_s, sweep = swept(town, number)
    sample = SemanticKitti(tiny_kitti)[number]
    camera = camera_rig(160, 96)[0]
    world_from_lidar = town.world_from_ego(time_s) @ ego_from_lidar()
    world_from_camera = town.world_from_ego(time_s) @ camera.ego_from_camera
    world = sweep.positions.astype(np.float64) @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]
    rays = (world - world_from_camera[:3, 3]) @ world_from_camera[:3, :3] @ camera.intrinsics.T
    pixels, depths = rays[:, :2] / rays[:, 2:], rays[:, 2]
    seen = (depths >= 1) & (pixels >= 1).all(1) & (pixels <= [158, 94]).all(1)
    pairs = project_points(sample.cloud.positions, sample.cameras)
    assert pairs.points.tolist() == np.flatnonzero(seen).tolist()
    assert len(pairs) > 500
    assert np.abs(pairs.pixels.numpy() - pixels[seen]).max() < 1e-3
    assert np.abs(pairs.depths.numpy() - depths[seen]).max() < 1e-4


def test_points_carry_the_label_of_the_pixel_they_fall_on(tiny_kitti):
    agree, seen = 0, 0
    for split in ("train", "val"):
        dataset = SemanticKitti(tiny_kitti, split=split)
        for number, token in enumerate(dataset.tokens):
            sample, (sequence, name) = dataset[number], token.split("-")
            truth = np.array(Image.open(tiny_kitti / "sequences" / sequence / "groundtruth" / f"{name}.png"))
            pairs = project_points(sample.cloud.positions, sample.cameras)
            column, row = pairs.pixels.round().long().unbind(1)
            found = torch.from_numpy(truth)[row, column].long()
            labels = sample.labels[pairs.points]
            judged = labels != IGNORE_LABEL
            agree += int((found == labels)[judged].sum())
            seen += int(judged.sum())
    assert agree / seen > 0.9, agree / seen


def test_clouds_are_those_of_the_same_towns_in_nuscenes_layout(tiny_kitti, tiny_toytown):
    kitti, nuscenes = SemanticKitti(tiny_kitti, split="val"), NuScenes(tiny_toytown, split="val")
    for keyframe in range(2):
        mine, theirs = kitti[2 * keyframe + 1], nuscenes[keyframe]
        assert torch.equal(mine.cloud.positions, theirs.cloud.positions)
        assert (mine.cloud.features - theirs.cloud.features).abs().max() <= 0.5 / 255 + 1e-6
        for name in ("car", "sidewalk", "terrain", "vegetation"):
            where = mine.labels == SEMANTIC_KITTI.classes.index(name)
            assert torch.equal(where, theirs.labels == NUSCENES.classes.index(name)), name


def test_earlier_sweeps_lie_where_the_poses_of_the_town_put_them(tiny_kitti, town):
    sample = SemanticKitti(tiny_kitti, sweeps=3)[3]
    now, _ = swept(town, 3)
    world_from_lidar = town.world_from_ego(now) @ ego_from_lidar()
    assert len(sample.sweeps) == 2
    for before, found in zip((2, 1), sample.sweeps, strict=True):
        then, sweep = swept(town, before)
        motion = np.linalg.inv(world_from_lidar) @ town.world_from_ego(then) @ ego_from_lidar()
        own = (np.abs(sweep.positions[:, :2]) < [2.0, 1.3]).all(1)
        lifted = sweep.positions[~own] @ motion[:3, :3].T + motion[:3, 3]
        assert np.abs(found.positions.numpy() - lifted).max() < 1e-4
        assert np.linalg.norm(motion[:3, 3]) > 0.1, "the vehicle must drive for this to prove anything"


def test_moving_things_have_their_own_ids_and_numbers_and_count_as_standing_ones(tiny_kitti, town):
    table = town.instances
    raw = raw_labels(table)
    moving = table.starts[:, 4] != 0
    for number, noun in enumerate(table.nouns):
        assert raw[number] & 0xFFFF == RAW_OF_NOUN[noun][int(moving[number])]
        assert raw[number] >> 16 == (0 if table.on_ground[number] else number)
    assert {252, 254} <= set((raw[moving] & 0xFFFF).tolist())
    for still, moves in RAW_OF_NOUN.values():
        both = train_ids(torch.tensor([still, moves]), SEMANTIC_KITTI)
        assert both[0] == both[1]
    files = sorted((tiny_kitti / "sequences" / "00" / "labels").iterdir())
    written = np.concatenate([np.fromfile(path, "<u4") for path in files])
    assert set(written.tolist()) <= set(raw.tolist())
    assert len(set((written >> 16).tolist())) > 10


def test_the_classes_of_toytown_are_those_its_nouns_are_written_as():
    raw = torch.tensor([still for still, _ in RAW_OF_NOUN.values()])
    for noun, label in zip(RAW_OF_NOUN, train_ids(raw, TOYTOWN_KITTI).tolist(), strict=True):
        if noun == "cone":
            assert label == IGNORE_LABEL
        else:
            assert noun in TOYTOWN_KITTI.prompts[label]
    assert set(build_town(3).instances.nouns) <= set(RAW_OF_NOUN)


def test_calibration_and_poses_have_the_form_of_kitti(tiny_kitti):
    folder = tiny_kitti / "sequences" / "08"
    lines = (folder / "calib.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["P0", "P1", "P2", "P3", "Tr"]
    assert all(len(line.split()) == 13 for line in lines)
    poses = np.loadtxt(folder / "poses.txt")
    assert poses.shape == (4, 12)
    assert np.allclose(poses[0].reshape(3, 4), np.eye(4)[:3], atol=1e-12)
    assert np.allclose(np.diff(np.loadtxt(folder / "times.txt")), [0.05, 0.45, 0.05])
    driven = poses.reshape(-1, 3, 4)[:, :, 3]
    assert (np.diff(driven[:, 2]) > 0).all(), "camera 0 looks forward: it drives along its z"
    assert abs(driven[-1, 2]) > 3 * np.abs(driven[-1, :2]).max()


def test_sequences_take_the_official_numbers_first(tmp_path, monkeypatch):
    root = tmp_path / "town"
    monkeypatch.setattr(
        "clip2scene.toytown.writers.layouts.record_sequence", lambda folder, *_: folder.mkdir(parents=True)
    )
    write_semantic_kitti(root, num_scenes=12, num_val_scenes=2, recording=SMALLEST, workers=1)
    splits = json.loads((root / "splits.json").read_text())
    assert splits["train"] == ["00", "01", "02", "03", "04", "05", "06", "07", "09", "10", "22", "23"]
    assert splits["val"] == ["08", "24"]
    assert sorted(path.name for path in (root / "sequences").iterdir()) == sorted(sum(splits.values(), []))


def test_the_same_seed_writes_the_same_files_and_another_does_not(tmp_path):
    names = ("a", "b", "other")
    for name, seed in zip(names, (5, 5, 6), strict=True):
        write_semantic_kitti(tmp_path / name, num_scenes=1, seed=seed, recording=SMALLEST, workers=1)
    found = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in names
    ]
    assert found[0] == found[1] != found[2]
    assert not list((tmp_path / "a").rglob("groundtruth"))


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr("clip2scene.toytown.writers.layouts.record_sequence", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_semantic_kitti(tmp_path / "town", num_scenes=1, recording=SMALLEST, workers=1)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="at least one scene"):
        write_semantic_kitti(tmp_path / "town", num_scenes=0, recording=replace(SMALLEST), workers=1)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="already exists"):
        write_semantic_kitti(tmp_path, num_scenes=1, recording=SMALLEST, workers=1)
