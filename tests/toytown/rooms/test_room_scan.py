"""Furnished rooms, written in ScanNet's layout and read back, against the room itself."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene.classes.tables import SCANNET, SCANNET_200
from clip2scene.config import DataConfig, TeacherConfig
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.distill.lift import PairingOptions, find_pairs
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.geometry.projection import project_points
from clip2scene.io import read_json
from clip2scene.toytown.rooms import room_scan
from clip2scene.toytown.rooms.room import Room
from clip2scene.toytown.rooms.room_scan import Walk, hand_held, sample_surface, sees
from clip2scene.toytown.town.shading import shade
from clip2scene.toytown.writers.layouts import write_scannet
from clip2scene.training.train import pretrain
from clip2scene.types import IGNORE_LABEL

TINY = Walk(6, 128, 96, 112, 84, points_per_m2=100.0, ground_truth=True)
SMALLEST = Walk(2, 16, 12, 16, 12, points_per_m2=2.0)
PAIRING = PairingOptions(min_depth=0.3)
EVERY = FrameChoice(step=1)


@pytest.fixture(scope="module")
def room():
    """The first training room of ``tiny_rooms``."""
    return Room(0)


@pytest.fixture(scope="module")
def surface(room):
    return sample_surface(room, 0, hand_held(room, 0, 6), 100.0)


def test_points_colours_and_labels_come_back_exactly(tiny_rooms, surface):
    sample = ScanNet(tiny_rooms, choice=EVERY)[0]
    assert np.array_equal(sample.cloud.positions.numpy(), surface.positions)
    assert np.array_equal((sample.cloud.features * 255).round().numpy(), surface.colours)
    slow = [SCANNET.train_id_of_raw.get(raw, IGNORE_LABEL) for raw in surface.labels.tolist()]
    assert sample.labels.tolist() == slow
    assert len(sample.labels.unique()) > 15


@pytest.mark.parametrize("view", range(6))
def test_pairs_are_those_of_the_room_itself(tiny_rooms, room, surface, view):
    """By hand: projected with the colour intrinsics, compared with a ray of the depth camera's pixel."""
    pose, (of_colour, of_depth) = hand_held(room, 0, 6)[view], TINY.intrinsics
    local = (surface.positions.astype(np.float64) - pose[:3, 3]) @ pose[:3, :3]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (local @ of_colour.T)[:, :2] / local[:, 2:]
        column, row = np.rint((local @ of_depth.T)[:, :2] / local[:, 2:]).T
    depths = room_scan.depth_image(room.town.at(0.0), pose, of_depth, (112, 84))
    expected = {}
    for point in np.flatnonzero(local[:, 2] >= 0.3):
        u, v = pixels[point]
        if 1 <= u <= 126 and 1 <= v <= 94 and 0 <= column[point] < 112 and 0 <= row[point] < 84:
            away = abs(round(float(depths[int(row[point]), int(column[point])]), 3) - local[point, 2])
            if away <= 0.05:
                expected[int(point)] = (u, v, local[point, 2], away)
    sample = ScanNet(tiny_rooms, choice=EVERY)[0]
    pairs = find_pairs(sample.cloud.positions, sample, PAIRING)
    mine = pairs.views == view
    found = pairs.points[mine].tolist()
    doubtful = {point for point, (*_, away) in expected.items() if abs(away - 0.05) < 1e-4}
    assert set(found) ^ set(expected) <= doubtful
    assert len(found) > 150
    both = [point for point in found if point in expected]
    truth = np.array([expected[point][:3] for point in both])
    at = {point: number for number, point in enumerate(found)}
    kept = [at[point] for point in both]
    assert np.abs(pairs.pixels[mine].numpy()[kept] - truth[:, :2]).max() < 1e-3
    assert np.abs(pairs.depths[mine].numpy()[kept] - truth[:, 2]).max() < 1e-4


def test_the_words_of_things_lead_to_the_200_classes(tiny_rooms, room, surface):
    sample = ScanNet(tiny_rooms, class_set=SCANNET_200, choice=EVERY)[0]
    assert set(room_scan.CATEGORY_OF_NOUN) == set(room_scan.NYU40_OF_NOUN)
    nouns = [room.town.instances.nouns[instance] for instance in surface.instances]
    assert [SCANNET_200.classes[label] for label in sample.labels.tolist()] == nouns
    assert len(set(nouns)) > 18


def test_depth_takes_away_what_the_camera_cannot_see_and_little_else(tiny_rooms, room, surface):
    sample, poses = ScanNet(tiny_rooms, choice=EVERY)[0], hand_held(room, 0, 6)
    everything = project_points(sample.cloud.positions, sample.cameras, min_depth=0.3)
    kept = find_pairs(sample.cloud.positions, sample, PAIRING)
    truly = np.stack([sees(room.town.at(0.0), pose[:3, 3], surface.positions) for pose in poses])
    right = truly[kept.views.numpy(), kept.points.numpy()].mean()
    assert right > 0.96, right  # a table top is thinner than the tolerance
    assert truly[everything.views.numpy(), everything.points.numpy()].mean() < 0.85
    inside = project_points(  # the depth camera sees a little less of the room
        sample.cloud.positions,
        [sample.read_depth(view).camera for view in range(6)],
        min_depth=0.3,
    )
    visible = int(truly[inside.views.numpy(), inside.points.numpy()].sum())
    assert 0.85 < right * len(kept) / visible < 1.0


def test_images_agree_with_the_labels_of_what_they_are_paired_with(tiny_rooms):
    dataset = ScanNet(tiny_rooms, choice=EVERY)
    sample, agree, judged = dataset[0], 0, 0
    pairs = find_pairs(sample.cloud.positions, sample, PAIRING)
    for view in range(6):
        with Image.open(dataset.label_map_path(sample.token, view)) as image:
            truth = torch.from_numpy(np.array(image)).long()
        mine = pairs.views == view
        column, row = pairs.pixels[mine].round().long().unbind(1)
        labels = sample.labels[pairs.points[mine]]
        agree += int((truth[row, column] == labels)[labels != IGNORE_LABEL].sum())
        judged += int((labels != IGNORE_LABEL).sum())
        assert sample.read_image(view).shape == (96, 128, 3)
    assert agree / judged > 0.95, agree / judged


def test_the_lamp_lights_what_it_sees_and_nothing_else(room, surface):
    light = room.town.light
    dark = Room(0)
    dark.town.light = replace(light, ambient=np.zeros(3, np.float32))
    snapshot, pose = dark.town.at(0.0), hand_held(room, 0, 6)[0]
    places = surface.positions[sees(snapshot, pose[:3, 3], surface.positions)][::20]
    lines = places - pose[:3, 3].astype(np.float32)
    rays = (lines / np.linalg.norm(lines, axis=1, keepdims=True)).astype(np.float32)
    origins = np.broadcast_to(pose[:3, 3].astype(np.float32), rays.shape).copy()
    ray_hits = snapshot.cast(origins, rays)
    got = shade(snapshot, ray_hits, origins, rays, np.full(len(rays), 0.01, np.float32)).max(1)
    seen = sees(snapshot, light.lamp, places)
    facing = np.einsum("ij,ij->i", ray_hits.normals, light.lamp - places) > 0.02
    lit = seen & facing
    assert (got[lit] > 0).mean() > 0.98
    assert (got[~lit] == 0).mean() > 0.9
    assert 0.3 < lit.mean() < 0.98


def test_the_same_seed_writes_the_same_files_and_val_rooms_stay_when_train_grows(tmp_path):
    for name, seed, scenes in (("a", 5, 1), ("b", 5, 1), ("other", 6, 1), ("more", 5, 2)):
        write_scannet(
            tmp_path / name, num_scenes=scenes, num_val_scenes=1, seed=seed, walk=SMALLEST, workers=1
        )
    found = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("a", "b", "other")
    ]
    assert found[0] == found[1] != found[2]
    assert not list((tmp_path / "a").rglob("semantic_maps"))
    val, same = (ScanNet(tmp_path / name, split="val")[0] for name in ("a", "more"))
    assert (val.token, same.token) == ("scene0001_00", "scene0002_00")
    assert torch.equal(val.cloud.positions, same.cloud.positions)


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(room_scan, "_write_images", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_scannet(tmp_path / "rooms", num_scenes=1, walk=SMALLEST, workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"depth_width": 0}, {"points_per_m2": 0.0}])
def test_impossible_walks_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Walk(**wrong)


def test_a_teacher_that_is_right_in_the_images_is_right_on_the_points(tiny_rooms, tiny_recipe, tmp_path):
    data = DataConfig(layout="scannet", min_depth=0.3, frame_step=1)
    recipe = replace(tiny_recipe, data=data, teacher=TeacherConfig(kind="label-maps"), steps=3)
    pretrain(recipe, data_root=tiny_rooms, out=tmp_path / "run")
    scores = evaluate(tmp_path / "run", data_root=tiny_rooms)
    assert scores["teacher_seen"].accuracy > 0.95
    assert scores["teacher_seen"].miou > 0.7
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["classes"] == list(SCANNET.classes)
    # Other frames, other pseudo-labels: the manifest holds the files of the frames that are used.
    choices = [ScanNet(tiny_rooms, choice=FrameChoice(step=step)) for step in (1, 2)]
    files, fewer = (set(each.input_files(labels=False, class_maps=False)) for each in choices)
    assert fewer < files


def test_rooms_are_made_learnt_and_judged_from_the_command_line(call, tiny_rooms, tmp_path, monkeypatch):
    few = ("--scenes", 1, "--val-scenes", 0, "--keyframes", 1, "--sweeps", 1, "--workers", 1)
    assert call("make-toytown", "--layout", "scannet", "--out", tmp_path / "rooms", *few)[0] == 0
    assert len(ScanNet(tmp_path / "rooms")[0].cameras) == 1
    small = ("--steps", 2, "--student.width", 0.25, "--student.voxel-size", 0.5)
    scans = ("--data.layout", "scannet", "--teacher.no-consolidate")
    data = (*scans, "--data.words", "scannet", "--data.classes", "own")
    frames = ("--data.min-depth", 0.3, "--data.frame-step", 3, "--data.views", 2)
    out = ("--data-root", tiny_rooms, "--out", tmp_path / "run")
    code, said, err = call("pretrain", "toytown", "--data.sweeps", 1, *data, *frames, *small, *out)
    assert code == 0, err
    code, said, err = call("evaluate", tmp_path / "run", "--data-root", tiny_rooms, "--pictures", 1)
    assert code == 0, err
    assert "bookshelf" in said
    assert len(list((tmp_path / "run" / "pictures").iterdir())) == 3
    room = tiny_rooms / "scans" / "scene0002_00" / "scene0002_00_vh_clean_2.ply"
    code, _, err = call(
        "segment", tmp_path / "run", room, "--prompts", "wall, house", "--out", tmp_path / "s"
    )
    assert code == 0, err
    with np.load(tmp_path / "s" / "scene0002_00_vh_clean_2.npz") as answers:
        assert len(answers["labels"]) == len(ScanNet(tiny_rooms, split="val")[0].cloud)
    code, _, err = call(
        "pretrain", "toytown", *data, "--data.sweeps", 2, *small, *out[:2], "--out", tmp_path / "x"
    )
    assert code == 1
    assert "rooms have no sweeps" in err
    shutil.rmtree(tmp_path / "run")
