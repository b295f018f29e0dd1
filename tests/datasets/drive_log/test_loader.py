import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.datasets.drive_log.conftest import CAMERA_FROM_LIDAR, NAMES, calibration, points, write

from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.dataset import count_images
from clip2scene.datasets.drive_log.files import HEADER
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.doctor.timing import find_places
from clip2scene.geometry.distortion import Distortion, RawCamera, straight_view
from clip2scene.geometry.projection import invert_rigid, project_points
from clip2scene.types import IGNORE_LABEL

DOCS = Path(__file__).resolve().parents[3] / "docs" / "own_recordings.md"


RFU_FROM_FLU = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])


def test_clouds_labels_and_images_come_back(log):
    dataset = DriveLog(log)
    assert dataset.tokens == NAMES
    assert (len(dataset), count_images(dataset)) == (3, 3)
    for number in range(3):
        sample = dataset[number]
        assert np.array_equal(sample.cloud.positions.numpy(), points(number)[:, :3])
        assert np.array_equal(sample.cloud.features[:, 0].numpy(), points(number)[:, 3])
        assert sample.labels.tolist() == [{0: IGNORE_LABEL, 1: 0, 2: 1, 3: 0}[n % 4] for n in range(50)]
        assert sample.read_image(0)[0, 0].tolist() == [number, 0, 0]
    assert dataset.class_set.prompts == (("car", "van"), ("tree",))
    assert len(set(dataset.class_set.colours)) == 2


def test_the_way_between_cloud_and_image_is_in_the_camera(log):
    still = torch.tensor(CAMERA_FROM_LIDAR, dtype=torch.float32)
    for number in range(3):  # 0.2 m further on; the last one goes on as before
        moved = DriveLog(log)[number].cameras[0].camera_from_lidar
        assert torch.allclose((moved - still)[:3, 3], torch.tensor([0, 0, -0.2]), atol=1e-6)
        assert torch.equal(moved[:3, :3], still[:3, :3])
    (log / "images.csv").unlink()
    assert torch.equal(DriveLog(log)[0].cameras[0].camera_from_lidar, still)


def test_earlier_sweeps_are_carried_by_the_poses_less_the_vehicle(log):
    sample = DriveLog(log, sweeps=3)[2]
    for back, found in enumerate(sample.sweeps, start=1):
        before = points(2 - back)
        own = (np.abs(before[:, :2]) < 1).all(1)
        slow = before[~own, :3] - [back, 0, 0]
        assert np.allclose(found.positions.numpy(), slow, atol=1e-5)
    assert [len(DriveLog(log, sweeps=3)[number].sweeps) for number in range(3)] == [0, 1, 2]
    write(log, "calibration.json", calibration(vehicle_reach_m=15))
    assert len(DriveLog(log, sweeps=2)[1].sweeps[0]) < 30


def test_sweeps_do_not_cross_from_one_drive_to_the_next(log):
    text = (log / "poses.csv").read_text().replace("c.5,200000", "c.5,99200000")
    write(log, "poses.csv", text)
    (log / "images.csv").unlink()
    assert [len(DriveLog(log, sweeps=2)[number].sweeps) for number in range(3)] == [0, 1, 0]
    with pytest.raises(ValueError, match="asked for 3, found at most 2"):
        DriveLog(log, sweeps=3, split=None)


@pytest.mark.parametrize("form", ["matrix", "quaternion"])
def test_a_lidar_with_other_axes_sees_the_same_pixels(log, form):
    straight = DriveLog(log, sweeps=2)
    expected = [straight[1].cloud.positions, straight[1].sweeps[0].positions]
    pairs = project_points(expected[0], straight[1].cameras)
    for number, name in enumerate(NAMES):
        turned = points(number).copy()
        turned[:, :3] = turned[:, :3] @ RFU_FROM_FLU.T
        np.save(log / "lidar" / f"{name}.npy", turned)
    motion = np.array(CAMERA_FROM_LIDAR, dtype=float)
    motion[:3, :3] = motion[:3, :3] @ RFU_FROM_FLU.T
    ego_from_lidar = np.eye(4)
    ego_from_lidar[:3, :3] = RFU_FROM_FLU.T  # flu_from_rfu: the vehicle's frame stays where it was
    content = calibration(axes="RFU", ego_from_lidar=ego_from_lidar.tolist())
    content["cameras"][0]["camera_from_lidar"] = motion.tolist()
    if form == "quaternion":
        half = 0.5**0.5
        content["lidar"]["ego_from_lidar"] = {"rotation": [half, 0, 0, -half], "translation": [0, 0, 0]}
        content["cameras"][0]["camera_from_lidar"] = {
            "rotation": [half, half, 0, 0],
            "translation": motion[:3, 3].tolist(),
        }
    write(log, "calibration.json", content)
    sample = DriveLog(log, sweeps=2)[1]
    assert torch.allclose(sample.cloud.positions, expected[0], atol=1e-5)
    assert torch.allclose(sample.sweeps[0].positions, expected[1], atol=1e-5)
    found = project_points(sample.cloud.positions, sample.cameras)
    assert found.points.tolist() == pairs.points.tolist() != []
    assert torch.allclose(found.pixels, pairs.pixels, atol=1e-3)


def test_counts_become_intensities_between_0_and_1(log):
    counted = points(0)
    counted[:, 3] = np.arange(50) * 4
    np.save(log / "lidar" / "a.npy", counted)
    with pytest.raises(ValueError, match=r"up to 196, 49 of 50 above the 1 that the calibration\.json"):
        DriveLog(log)[0]
    write(log, "calibration.json", calibration(intensity_max=200))
    assert torch.allclose(DriveLog(log)[0].cloud.features[:, 0], torch.arange(50) * 4 / 200)


def test_a_cloud_in_a_maps_frame_does_not_fit_the_cameras_of_a_log(log):
    np.save(log / "lidar" / "a.npy", points(0).astype(np.float64) + [5e5, 5e6, 0, 0])
    with pytest.raises(ValueError, match=r"a\.npy lies far from its origin.*a map's"):
        DriveLog(log)[0]


def test_splits_are_the_users_own_and_other_clouds_are_earlier_sweeps(log):
    write(log, "splits.json", {**HEADER, "splits": {"train": ["a"], "val": ["c.5"]}})
    val = DriveLog(log, split="val", sweeps=3)
    assert (val.tokens, len(val[0].sweeps)) == (("c.5",), 2)
    assert DriveLog(log, split=None).tokens == NAMES
    with pytest.raises(ValueError, match="unknown split 'test', expected one of train, val$"):
        DriveLog(log, split="test")


def test_clouds_without_images_are_left_out_of_learning_only(log):
    (log / "images" / "front" / "b.png").unlink()
    assert DriveLog(log, need_images=True).tokens == ("a", "c.5")
    dataset = DriveLog(log)
    assert (dataset.tokens, count_images(dataset)) == (NAMES, 2)
    assert dataset[1].cameras == ()
    with pytest.raises(ValueError, match="sample b: no camera 0"):
        dataset[1].read_image(0)
    assert dataset.label_map_path("a", 0) == log / "semantic_maps" / "front" / "a.png"
    for name in ("a", "c.5"):
        (log / "images" / "front" / f"{name}.png").unlink()
    with pytest.raises(ValueError, match="none of the 3 clouds of split 'train' has an image of its name"):
        DriveLog(log, need_images=True)


def test_images_of_some_cameras_are_enough(log):
    content = calibration()
    content["cameras"].insert(0, {**content["cameras"][0], "name": "back"})
    write(log, "calibration.json", content)
    sample = DriveLog(log)[0]
    assert [camera.name for camera in sample.cameras] == ["front"]
    assert sample.read_image(0).shape == (24, 32, 3)
    assert DriveLog(log).label_map_path("a", 0).parent.name == "front"


def test_without_poses_clouds_are_in_the_order_of_their_names(log):
    (log / "poses.csv").unlink()
    (log / "images.csv").unlink()
    assert DriveLog(log).tokens == NAMES
    with pytest.raises(ValueError, match=r"poses.csv is missing, which 2 sweeps are moved by"):
        DriveLog(log, sweeps=2)


def test_labels_of_the_samples_that_are_named_are_enough(log):
    expected = DriveLog(log)[2].labels
    (log / "labels" / "b.npy").unlink()
    dataset = DriveLog(log, labels=["c.5"])
    assert (dataset.tokens, torch.equal(dataset[2].labels, expected)) == (NAMES, True)
    assert dataset[0].labels is None  # though its file is there
    with pytest.raises(
        ValueError, match=r"lacks b.npy, in all 1 of 2 label files of the samples that are cho"
    ):
        DriveLog(log, labels=["a", "b"])


def documented():
    """Read the blocks of the section on own recordings, by the file they are of."""
    section = DOCS.read_text(encoding="utf-8").split("\n## ")[0]
    blocks = re.findall(r"(.*?)```(json|csv|python|)\n(.*?)```", section, re.DOTALL)
    return {
        re.findall(r"`(log/[\w.]+|write_log.py)`", before)[-1]: block
        for before, language, block in blocks
        if language
    }


def test_the_documented_example_is_a_whole_drive_log(tmp_path, monkeypatch):
    blocks = documented()
    assert set(blocks) == {
        *("write_log.py", "log/calibration.json", "log/classes.json", "log/splits.json"),
        *("log/poses.csv", "log/images.csv"),
    }
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks["write_log.py"], "write_log.py", "exec"), {})
    for name in ("log/calibration.json", "log/classes.json", "log/splits.json"):
        write(tmp_path, name, blocks[name])
    for name in ("log/poses.csv", "log/images.csv"):
        assert (tmp_path / name).read_text() == blocks[name]
    train, val = (DriveLog(tmp_path / "log", split=split, sweeps=2) for split in ("train", "val"))
    assert (len(train), len(val), count_images(train)) == (3, 1, 3)
    sample = val[0]
    assert len(sample.sweeps) == 1
    assert sample.labels.unique().tolist() == [IGNORE_LABEL, 0, 1, 2]
    assert sample.read_image(0).shape == (480, 640, 3)
    assert len(project_points(sample.cloud.positions, sample.cameras)) > 50
    ahead = torch.tensor([[10.0, 0, 0]])
    pixel = project_points(ahead, sample.cameras).pixels[0]
    assert pixel[0] == pytest.approx(319.5, abs=1e-3), "straight ahead is the image's middle column"
    assert invert_rigid(sample.cameras[0].camera_from_lidar)[0, 3] > 0


def test_every_entry_of_the_schema_is_documented_with_the_files():
    text = DOCS.read_text(encoding="utf-8").split("\n## ")[0]
    path = Path(__file__).resolve().parents[3] / "src" / "clip2scene" / "assets" / "drive-log.schema.json"
    for definition in json.loads(path.read_text())["$defs"].values():
        for name in definition.get("properties", {}):
            assert name in text, f"docs/own_recordings.md does not mention {name}"


def test_moments_tell_when_and_where_clouds_and_images_were_taken(log):
    moved = calibration(ego_from_lidar=[[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]])
    write(log, "calibration.json", moved)
    (log / "images" / "front" / "b.png").unlink()
    told = [DriveLog(log, sweeps=3).timestamps(number) for number in range(3)]
    assert [each.cloud_us for each in told] == [0, 100_000, 200_000]
    assert [each.image_us for each in told] == [{"front": 20_000}, {}, {"front": 220_000}]
    assert [each.sweeps_us for each in told] == [(), (0,), (100_000, 0)]
    for number, each in enumerate(told):
        assert each.world_from_cloud[:3, 3].tolist() == [number + 0.5, 0, 2]
    assert len({each.drive for each in told}) == 1


def test_moments_without_poses_tell_nothing_but_the_cameras(log):
    for name in ("poses.csv", "images.csv"):
        (log / name).unlink()
    told = DriveLog(log).timestamps(1)
    assert (told.cloud_us, told.image_us, told.sweeps_us) == (None, {"front": None}, ())
    assert told.world_from_cloud is None


def test_a_gap_in_time_makes_another_drive_whose_places_are_others(log):
    """Two recordings that each begin at the origin of their own world were not taken at one place."""
    (log / "images.csv").unlink()
    text = (log / "poses.csv").read_text().replace("c.5,200000,2,", "c.5,{},0,")
    drives = {}
    for time_us in (1_100_000, 1_100_001):
        write(log, "poses.csv", text.format(time_us))
        dataset = DriveLog(log)
        drives[time_us] = [dataset.timestamps(number).drive for number in range(3)]
        places = find_places(dataset, range(3))
        assert places == ([0, 0, 0] if time_us == 1_100_000 else [0, 0, 2])
    assert [len(set(names)) for names in drives.values()] == [1, 2]
    between = text.format("1100001").replace("c.5,", ",600000,1,0,0,1,0,0,0\nc.5,")
    write(log, "poses.csv", between)  # known all the way, so one drive
    assert len({DriveLog(log).timestamps(number).drive for number in range(3)}) == 1


def distort(log, **lens):
    content = calibration()
    content["cameras"][0] |= lens
    write(log, "calibration.json", content)


@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", [-0.3, 0.1, 0.001, -0.001, 0]),
        ("plumb_bob", [-0.3, 0.1, 0, 0]),
        ("rational_polynomial", [0.2, -0.1, 0, 0, 0, 0.3, 0, 0]),
        ("equidistant", [0.01, 0, 0, 0]),
    ],
)
def test_distorted_images_are_undistorted_when_they_are_read(log, model, coefficients):
    distort(log, distortion_model=model, distortion=coefficients)
    sample = DriveLog(log, labels=False, class_set=NUSCENES)[0]
    (camera,) = sample.cameras
    assert sample.read_image(0).shape == (camera.height, camera.width, 3)
    raw = RawCamera((30, 0, 15.5, 30, 11.5), 32, 24, Distortion(model, tuple(coefficients)))
    view = straight_view(raw)
    assert (camera.width, camera.height) == (view.width, view.height) != (32, 24)
    assert torch.equal(camera.intrinsics, view.intrinsics.float())
    drawn = np.zeros((24, 32, 3), np.uint8)
    drawn[:, 16:] = 200  # right of the axis, in both
    Image.fromarray(drawn).save(log / "images" / "front" / "a.png")
    seen = sample.read_image(0)[..., 0]
    middle = round(view.centre[0])
    assert seen[:, : middle - 2].max() == 0 and seen[:, middle + 3 :].min() == 200
    with pytest.raises(ValueError, match="images of front in .* are distorted, and class maps with them"):
        DriveLog(log).label_map_path("a", 0)


def test_a_distortion_of_zeros_is_none(log):
    distort(log, distortion_model="plumb_bob", distortion=[0, 0, 0, 0, 0])
    (camera,) = DriveLog(log)[0].cameras
    assert (camera.width, camera.height) == (32, 24)
