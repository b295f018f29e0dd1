import json
from dataclasses import replace

import numpy as np
import pytest

from clip2scene.classes.tables import TOYTOWN
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.toytown.lidars import ego_from_lidar
from clip2scene.toytown.sensors import camera_rig
from clip2scene.toytown.writers import layouts as writers
from clip2scene.toytown.writers.layouts import write_drive_log, write_nuscenes, write_semantic_kitti
from clip2scene.toytown.writers.recording import EXPOSURE_LEAD_US, Recording, take_sweep

VERSION = "v1.0-trainval"
SMALLEST = Recording(keyframes_per_scene=1, sweeps_per_keyframe=1, width=32, height=16, azimuth_steps=40)


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_the_same_seed_writes_the_same_bytes_and_another_seed_another_town(tmp_path):
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        write_nuscenes(tmp_path / name, num_scenes=1, seed=seed, recording=SMALLEST, workers=1)
    first, again, other = (contents(tmp_path / name) for name in ("first", "again", "other"))
    assert first == again
    assert set(first) != set(other), "tokens are those of the town"


LAYOUTS = {
    "nuscenes": (
        write_nuscenes,
        lambda root: NuScenes(root, class_set=TOYTOWN),
        EXPOSURE_LEAD_US["CAM_FRONT"],
    ),
    "semantic-kitti": (write_semantic_kitti, SemanticKitti, 0),
    "drive-log": (write_drive_log, DriveLog, EXPOSURE_LEAD_US["CAM_FRONT"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_varied_drives_come_back_with_their_own_lidars(tmp_path, layout):
    write, read, lead_us = LAYOUTS[layout]
    recording = replace(SMALLEST, varied=True)
    write(tmp_path / "town", num_scenes=2, seed=3, recording=recording, workers=1)
    camera, data = camera_rig(32, 16)[0], read(tmp_path / "town")
    for number, seed in enumerate((3_000_000, 3_000_001)):
        town = recording.build_town(seed)
        of_log = replace(recording, lidar=recording.lidar_of(3_000_000))
        taken = of_log if layout == "drive-log" else recording
        sample, sweep = data[number], take_sweep(town, 500_000, taken)
        assert np.array_equal(sample.cloud.positions.numpy(), sweep.positions)
        assert ((sample.labels.numpy() < 0) >= (sweep.labels < 0)).all()
        world_from_camera = town.world_from_ego(0.5 - lead_us / 1e6) @ camera.ego_from_camera
        world_from_lidar = town.world_from_ego(0.5) @ ego_from_lidar(taken.lidar_of(seed))
        expected = np.linalg.inv(world_from_camera) @ world_from_lidar
        assert np.abs(sample.cameras[0].camera_from_lidar.numpy() - expected).max() < 1e-5


def test_the_towns_of_val_do_not_depend_on_how_many_train(monkeypatch, tmp_path):
    towns = []
    monkeypatch.setattr(writers, "_record_all", lambda jobs, workers: towns.append(jobs) or [])
    for number in (1, 3):
        write_nuscenes(
            tmp_path / str(number), num_scenes=number, num_val_scenes=2, recording=SMALLEST, workers=1
        )
    first, second = ([town for _, _, _, town, _ in jobs] for jobs in towns)
    assert first[-2:] == second[-2:] and not set(first[-2:]) & set(second[:3])
    names = [name for _, name, *_ in towns[1]]
    splits = json.loads((tmp_path / "3" / VERSION / "splits.json").read_text())
    assert splits == {"train": names[:3], "val": names[3:]}


def test_two_processes_write_what_one_writes(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        write_nuscenes(tmp_path / name, num_scenes=1, num_val_scenes=1, recording=SMALLEST, workers=workers)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_recording_that_fails_leaves_nothing_behind(monkeypatch, tmp_path):
    def fail(*arguments, **settings):
        raise RuntimeError("the town burned down")

    monkeypatch.setattr("clip2scene.toytown.writers.recording.render_camera", fail)
    with pytest.raises(RuntimeError, match="burned"):
        write_nuscenes(tmp_path / "out", num_scenes=1, recording=SMALLEST, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_never_overwritten(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ValueError, match="already exists"):
        write_nuscenes(tmp_path, num_scenes=1, recording=SMALLEST, workers=1)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    "numbers", [{"num_scenes": 0}, {"num_scenes": 1, "seed": -1}, {"num_scenes": 1, "workers": 0}]
)
def test_impossible_numbers_of_scenes_are_refused(tmp_path, numbers):
    with pytest.raises(ValueError, match="expected at least one scene"):
        write_nuscenes(tmp_path / "out", recording=SMALLEST, **numbers)


def test_kinds_are_missing_from_training_streets_alone(tmp_path):
    recording = Recording(
        keyframes_per_scene=1, sweeps_per_keyframe=1, width=32, height=16, missing_kinds=1.0
    )
    write_nuscenes(tmp_path / "town", num_scenes=1, num_val_scenes=1, recording=recording, workers=1)
    samples, annotations = (
        json.loads((tmp_path / "town" / VERSION / f"{table}.json").read_text())
        for table in ("sample", "sample_annotation")
    )
    assert {row["sample_token"] for row in annotations} == {samples[1]["token"]}
