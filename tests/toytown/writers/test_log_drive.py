"""The embedded world as a drive log, and a student that learns from one."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene import cli
from clip2scene.classes.tables import TOYTOWN
from clip2scene.config import DataConfig
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.geometry.projection import project_points
from clip2scene.inference.segment import segment_files
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import read_json, write_json
from clip2scene.runs.folder import announce
from clip2scene.runs.run import open_run
from clip2scene.toytown.sensors import camera_rig, ego_from_lidar, lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.toytown.writers import log_drive
from clip2scene.toytown.writers.layouts import write_drive_log
from clip2scene.toytown.writers.recording import EXPOSURE_LEAD_US, Recording
from clip2scene.training.train import pretrain
from clip2scene.types import IGNORE_LABEL, PointCloud

TINY = Recording(
    keyframes_per_scene=2, sweeps_per_keyframe=2, width=160, height=96, azimuth_steps=360, ground_truth=True
)
SMALLEST = Recording(keyframes_per_scene=1, sweeps_per_keyframe=1, width=32, height=16, azimuth_steps=40)
KEYFRAMES_US = (500_000, 1_000_000)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The towns and moments of ``tiny_toytown`` as a drive log: read it, never write to it."""
    root = tmp_path_factory.mktemp("data") / "log"
    write_drive_log(root, num_scenes=1, num_val_scenes=1, seed=0, recording=TINY, workers=1)
    return root


@pytest.fixture(scope="module")
def town():
    """The town that the first drive goes through."""
    return build_town(0)


def swept(town, time_us):
    return lidar_sweep(town, time_us / 1e6, np.random.default_rng([0, 1, time_us]), azimuth_steps=360)


@pytest.mark.parametrize("number", range(2))
def test_points_and_labels_come_back_exactly(log, town, number):
    sweep, sample = swept(town, KEYFRAMES_US[number]), DriveLog(log)[number]
    assert np.array_equal(sample.cloud.positions.numpy(), sweep.positions)
    assert np.array_equal(sample.cloud.features[:, 0].numpy(), sweep.intensity.astype(np.float32))
    nuscenes = {name: number for number, name in enumerate(TOYTOWN.classes)}
    raw_names = read_json(log / "classes.json")["classes"]
    slow = {row["ids"][0]: nuscenes[row["name"]] for row in raw_names}
    assert sample.labels.tolist() == [slow.get(label + 1, IGNORE_LABEL) for label in sweep.labels.tolist()]
    assert len(sample.labels.unique()) > 5


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("view", range(6))
def test_pairs_are_those_of_the_town_itself(log, town, number, view):
    time_us, camera = KEYFRAMES_US[number], camera_rig(160, 96)[view]
    taken_us = time_us - EXPOSURE_LEAD_US[camera.name]
    sample = DriveLog(log)[number]
    assert sample.cameras[view].name == camera.name
    world_from_lidar = town.world_from_ego(time_us / 1e6) @ ego_from_lidar()
    world_from_camera = town.world_from_ego(taken_us / 1e6) @ camera.ego_from_camera
    cloud = swept(town, time_us).positions.astype(np.float64)
    world = cloud @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]
    rays = (world - world_from_camera[:3, 3]) @ world_from_camera[:3, :3] @ camera.intrinsics.T
    pixels, depths = rays[:, :2] / rays[:, 2:], rays[:, 2]
    seen = (depths >= 1) & (pixels >= 1).all(1) & (pixels <= [158, 94]).all(1)
    pairs = project_points(sample.cloud.positions, [sample.cameras[view]])
    assert pairs.points.tolist() == np.flatnonzero(seen).tolist()
    assert len(pairs) > 300
    assert np.abs(pairs.pixels.numpy() - pixels[seen]).max() < 1e-3
    assert np.abs(pairs.depths.numpy() - depths[seen]).max() < 1e-4


def test_clouds_labels_and_cameras_are_those_of_the_nuscenes_layout(log, tiny_toytown):
    mine = DriveLog(log, split="val", sweeps=2)
    theirs = NuScenes(tiny_toytown, split="val", class_set=TOYTOWN, sweeps=2)
    assert mine.class_set.classes == TOYTOWN.classes
    assert mine.class_set.prompts == TOYTOWN.prompts
    for number in range(2):
        ours, other = mine[number], theirs[number]
        assert torch.equal(ours.cloud.positions, other.cloud.positions)
        assert torch.equal(ours.labels, other.labels)
        apart = ours.sweeps[0].positions - other.sweeps[0].positions
        assert apart.abs().max() < 1e-3
        for camera, expected in zip(ours.cameras, other.cameras, strict=True):
            assert camera.name == expected.name
            assert (camera.camera_from_lidar - expected.camera_from_lidar).abs().max() < 1e-5


def test_images_are_without_loss_and_agree_with_their_truth(log):
    dataset = DriveLog(log)
    sample, agree, seen = dataset[0], 0, 0
    pairs = project_points(sample.cloud.positions, sample.cameras)
    nuscenes_of = torch.tensor([row["ids"][0] - 1 for row in read_json(log / "classes.json")["classes"]])
    for view, camera in enumerate(sample.cameras):
        with Image.open(log / "groundtruth" / camera.name / f"{sample.token}.png") as image:
            truth = torch.from_numpy(np.array(image)).long()
        mine = pairs.views == view
        column, row = pairs.pixels[mine].round().long().unbind(1)
        labels = sample.labels[pairs.points[mine]]
        judged = labels != IGNORE_LABEL
        agree += int((truth[row, column] == nuscenes_of[labels])[judged].sum())
        seen += int(judged.sum())
    assert agree / seen > 0.9, agree / seen


def test_the_poses_of_clouds_alone_nearly_do(log, tmp_path):
    """Interpolated over 50 ms, a driving vehicle's pose is off by less than a tenth of a pixel."""
    fine = DriveLog(log, labels=False)
    shutil.copytree(log, tmp_path / "log")
    lines = (log / "poses.csv").read_text().splitlines(keepends=True)
    (tmp_path / "log" / "poses.csv").write_text("".join(each for each in lines if not each.startswith(",")))
    coarse = DriveLog(tmp_path / "log", labels=False)
    for number in range(2):
        found = project_points(fine[number].cloud.positions, coarse[number].cameras, border=2.0)
        truth = project_points(fine[number].cloud.positions, fine[number].cameras, border=1.0)
        exact = {
            key: place
            for place, key in enumerate(zip(truth.views.tolist(), truth.points.tolist(), strict=True))
        }
        places = [exact[key] for key in zip(found.views.tolist(), found.points.tolist(), strict=True)]
        assert 0 < (found.pixels - truth.pixels[places]).abs().max() < 0.1


def test_the_same_seed_writes_the_same_files_and_another_does_not(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("other", 6)):
        write_drive_log(tmp_path / name, num_scenes=1, seed=seed, recording=SMALLEST, workers=1)
    found = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("a", "b", "other")
    ]
    assert found[0] == found[1] != found[2]
    assert not (tmp_path / "a" / "groundtruth").exists()
    assert list(read_json(tmp_path / "a" / "splits.json")["splits"]) == ["train"]
    assert len(DriveLog(tmp_path / "a")) == 1


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(log_drive, "_write_image", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_drive_log(tmp_path / "town", num_scenes=1, recording=SMALLEST, workers=1)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line; returns the exit code, stdout and stderr."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["clip2scene", *map(str, words)])
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


def test_the_commands_of_the_documents_make_learn_from_and_judge_on_a_drive_log(call, log, tmp_path):
    town, run = tmp_path / "town", tmp_path / "run"
    few = ("--scenes", 1, "--val-scenes", 0, "--keyframes", 1, "--sweeps", 1, "--workers", 1)
    assert call("make-toytown", "--layout", "drive-log", "--out", town, *few)[0] == 0
    assert len(DriveLog(town)[0].cameras) == 6
    small = ("--steps", 2, "--student.width", 0.25, "--student.voxel-size", 0.5)
    options = ("--data-root", log, "--out", run, "--teacher.templates", "toytown", *small)
    assert call("pretrain", "own", *options)[0] == 0
    code, out, _ = call("evaluate", run, "--data-root", log, "--pictures", 1)
    assert code == 0
    assert "terrain" in out
    metrics = read_json(run / "metrics.json")
    assert metrics["classes"] == list(TOYTOWN.classes)
    assert metrics["num_points"] > 1000
    assert metrics["columns"]["teacher_seen"]["miou"] > 0.15
    assert len(list((run / "pictures").iterdir())) == 3


@pytest.fixture(scope="module")
def learnt(log, tiny_recipe, tmp_path_factory):
    """A label-free run in classes of one's own, three of them."""
    folder = tmp_path_factory.mktemp("runs")
    own = folder / "log"
    shutil.copytree(log, own)
    ids = {name: 1 + number for number, name in enumerate(("road", "car", "tree"))}
    content = [{"name": f"my {name}", "prompts": [name], "ids": [raw]} for name, raw in ids.items()]
    write_json(own / "classes.json", log_drive.HEADER | {"classes": content})
    recipe = replace(tiny_recipe, data=DataConfig(layout="drive-log"), steps=2)
    pretrain(recipe, data_root=own, out=folder / "run")
    return own, folder / "run"


def test_a_run_in_own_classes_is_of_use_when_the_data_are_gone(call, learnt, tmp_path):
    own, run = learnt
    scores = evaluate(run, data_root=own)
    assert read_json(run / "metrics.json")["classes"] == ["my road", "my car", "my tree"]
    assert scores["student"].num_points > 0
    own.rename(tmp_path / "gone")
    assert open_run(run).class_mapping.classes == ("my road", "my car", "my tree")
    cloud = next((tmp_path / "gone" / "lidar").iterdir())
    code, _, _ = call("segment", run, cloud, "--prompts", "road, house", "--out", tmp_path / "out")
    assert code == 0
    with pytest.raises(ValueError, match="calibration.json is missing"):
        evaluate(run, data_root=own)
    (tmp_path / "gone").rename(own)


def test_cloud_files_are_segmented_in_the_axes_and_intensity_of_the_log_that_was_learnt_from(
    log, tiny_recipe, tmp_path
):
    own, run = tmp_path / "log", tmp_path / "run"
    shutil.copytree(log, own)
    content = read_json(own / "calibration.json")
    content["lidar"] |= {"axes": "BRU", "intensity_max": 200}  # turned by half a turn
    for camera in content["cameras"]:
        motion = np.array(camera["camera_from_lidar"])
        camera["camera_from_lidar"] = (motion @ np.diag([-1.0, -1, 1, 1])).tolist()
    write_json(own / "calibration.json", content)
    for path in sorted((own / "lidar").iterdir()):
        np.save(path, np.load(path) * np.array([-1, -1, 1, 200], np.float32))
    recipe = replace(tiny_recipe, data=DataConfig(layout="drive-log"), steps=2)
    announce(run, ["calibration.json"])
    write_json(run / "calibration.json", "left by a call that was cut short")
    pretrain(recipe, data_root=own, out=run)
    sample = DriveLog(own)[0]
    shutil.copyfile(own / "lidar" / f"{sample.token}.npy", tmp_path / "a.npy")
    shutil.rmtree(own)
    segment_files(run, [tmp_path / "a.npy"], ["road", "car", "tree"], tmp_path / "out")
    segmenter = Segmenter.load(run)
    segmenter.set_prompts(["road", "car", "tree"])
    with np.load(tmp_path / "out" / "a.npz") as answer:
        expected = segmenter.segment(sample.cloud).scores.half()
        assert np.array_equal(answer["scores"], expected)
        flipped = PointCloud(sample.cloud.positions * torch.tensor([-1.0, -1, 1]), sample.cloud.features)
        assert not np.array_equal(answer["scores"], segmenter.segment(flipped).scores.half())
    (run / "calibration.json").unlink()
    with pytest.raises(ValueError, match="does not tell the axes .* copy the log's calibration.json into it"):
        segment_files(run, [tmp_path / "a.npy"], ["road"], tmp_path / "out")


def test_data_in_other_classes_are_not_judged_by_mistake(learnt, log):
    _, run = learnt
    with pytest.raises(ValueError, match="has the classes barrier.* trained to be evaluated in my road"):
        evaluate(run, data_root=log)


def test_corrected_numbers_are_looked_at_again(learnt):
    own, run = learnt
    before = evaluate(run, data_root=own)["student"].num_points
    text = (own / "classes.json").read_text()
    content = read_json(own / "classes.json")
    content["classes"][0]["ids"] = [11]  # the road's true number
    write_json(own / "classes.json", content)
    after = evaluate(run, data_root=own)["student"].num_points
    (own / "classes.json").write_text(text)
    assert after > before + 1000


def test_words_that_cannot_be_judged_in_own_classes_are_refused_before_learning(
    learnt, tiny_recipe, tmp_path
):
    own, _ = learnt
    recipe = replace(tiny_recipe, data=DataConfig(layout="drive-log", words="nuscenes"))
    with pytest.raises(ValueError, match="it is not known what class .* is in 'drive-log'"):
        pretrain(recipe, data_root=own, out=tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_without_classes_the_words_are_those_asked_for_and_nothing_is_judged(log, tiny_recipe, tmp_path):
    own = tmp_path / "log"
    shutil.copytree(log, own)
    (own / "classes.json").unlink()
    recipe = replace(tiny_recipe, data=DataConfig(layout="drive-log", classes="toytown"), steps=2)
    pretrain(recipe, data_root=own, out=tmp_path / "run")
    assert open_run(tmp_path / "run").prompts.classes == TOYTOWN.classes
    with pytest.raises(ValueError, match="classes.json is missing"):
        evaluate(tmp_path / "run", data_root=own)
