import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene import build
from clip2scene.config import DataConfig
from clip2scene.datasets.dataset import Dataset, OpenOptions, count_images
from clip2scene.datasets.kitti.raw import KittiRaw, world_from_imu
from clip2scene.doctor.timing import check_times
from clip2scene.geometry.projection import project_points

DAY, DRIVE = "2011_09_26", "2011_09_26_drive_0001_sync"
POINTS = np.array([[10, 0, 0, 0.25], [20, 3, -1, 1.0], [-8, 1, 0, 0.0]], "<f4")
P2 = "700.0 0 610.0 42.0 0 700.0 185.0 -0.7 0 0 1 0.003"
IMU = (0.8, -0.3, 0.7)  # where the inertial unit's origin lies in the lidar's frame
LATITUDE, LONGITUDE = 49.0, 8.4


def oxts(east_m, north_m, up_m=0.0, roll=0.0, pitch=0.0, yaw=0.0):
    """A line as the inertial unit writes it, so many metres from the start."""
    metres = 6_378_137 * math.pi / 180
    latitude = LATITUDE + north_m / metres
    longitude = LONGITUDE + east_m / metres / math.cos(math.radians(LATITUDE))
    numbers = [latitude, longitude, 110 + up_m, roll, pitch, yaw, *[0.5] * 19]
    return " ".join(f"{number:.14f}" for number in numbers) + " 4 10 4 4 0"


@pytest.fixture
def root(tmp_path):
    """Four clouds of a drive, one missing; the vehicle drives 2 m a cloud to the north."""
    drive = tmp_path / DAY / DRIVE
    for part in ("velodyne_points", "image_02", "oxts"):
        (drive / part / "data").mkdir(parents=True)
    for number in (0, 1, 2, 4):
        name = f"{number:010d}"
        (drive / "velodyne_points" / "data" / f"{name}.bin").write_bytes(POINTS.tobytes())
        Image.new("RGB", (1242, 375), (number, 0, 9)).save(drive / "image_02" / "data" / f"{name}.png")
        (drive / "oxts" / "data" / f"{name}.txt").write_text(oxts(0, 2.0 * number, yaw=math.pi / 2))
    rectify = "R_rect_00: 1 0 0 0 1 0 0 0 1\n"
    dated = "calib_time: 09-Jan-2012 13:57:47\n"
    (tmp_path / DAY / "calib_cam_to_cam.txt").write_text(f"{dated}{rectify}P_rect_02: {P2}\n")
    (tmp_path / DAY / "calib_velo_to_cam.txt").write_text(
        f"{dated}R: 0 -1 0 0 0 -1 1 0 0\nT: 0.1 -0.2 -0.3\n"
    )
    moved = " ".join(map(str, IMU))
    (tmp_path / DAY / "calib_imu_to_velo.txt").write_text(f"{dated}R: 1 0 0 0 1 0 0 0 1\nT: {moved}\n")
    return tmp_path


def test_a_drive_is_read_in_order_with_its_camera(root):
    dataset = KittiRaw(root)
    assert dataset.tokens == tuple(f"{DRIVE}-{number:010d}" for number in (0, 1, 2, 4))
    assert (len(dataset), count_images(dataset), isinstance(dataset, Dataset)) == (4, 4, True)
    sample = dataset[3]
    assert sample.cloud.positions.tolist() == POINTS[:, :3].tolist() and sample.labels is None
    assert sample.read_image(0)[0, 0].tolist() == [4, 0, 9]
    pairs = project_points(sample.cloud.positions, sample.cameras)
    projection = np.array(P2.split(), float).reshape(3, 4)
    rays = projection @ [-3 + 0.1, 1 - 0.2, 20 - 0.3, 1]  # of the second point: right, down, ahead
    assert np.allclose(pairs.pixels[1].numpy(), rays[:2] / rays[2], atol=1e-3)


def test_earlier_sweeps_follow_the_vehicle_up_to_a_gap(root):
    samples = [KittiRaw(root, sweeps=3)[number] for number in range(4)]
    assert [len(sample.sweeps) for sample in samples] == [0, 1, 2, 0]
    for back, sweep in enumerate(samples[2].sweeps, 1):
        straight = torch.from_numpy(POINTS[:, :3] - [2.0 * back, 0, 0]).float()
        assert torch.allclose(sweep.positions, straight, atol=1e-4)
    assert KittiRaw(root)[2].sweeps == ()


def test_a_turning_vehicle_carries_a_point_of_the_world_onto_itself(root):
    """The truth, step by step: the same point of the ground as seen from two poses, imu's offset included."""
    fixes = [(3.0, -4.0, 0.5, 0.02, -0.03, 1.1), (4.5, -2.5, 0.4, -0.01, 0.05, 1.6)]
    ground, seen = np.array([12.0, 5.0, -1.0]), []
    for number, (east, north, up, *angles) in enumerate(fixes):
        path = root / DAY / DRIVE / "oxts" / "data" / f"{number:010d}.txt"
        path.write_text(oxts(east, north, up, *angles))
        in_imu = rotation(*angles).T @ (ground - [east, north, up])
        seen.append((in_imu + IMU).astype("<f4"))
        cloud = np.append(seen[-1], np.float32(0.5))
        (root / DAY / DRIVE / "velodyne_points" / "data" / f"{number:010d}.bin").write_bytes(cloud.tobytes())
    sample = KittiRaw(root, sweeps=2)[1]
    assert np.allclose(sample.cloud.positions[0].numpy(), seen[1])
    assert np.abs(sample.sweeps[0].positions[0].numpy() - seen[1]).max() < 2e-4
    assert np.abs(seen[0] - seen[1]).max() > 1


def rotation(roll, pitch, yaw):
    """The textbook's matrices: left side up, front down, counter-clockwise from east."""
    c, s = math.cos, math.sin
    x = np.array([[1, 0, 0], [0, c(roll), -s(roll)], [0, s(roll), c(roll)]])
    y = np.array([[c(pitch), 0, s(pitch)], [0, 1, 0], [-s(pitch), 0, c(pitch)]])
    z = np.array([[c(yaw), -s(yaw), 0], [s(yaw), c(yaw), 0], [0, 0, 1]])
    return z @ y @ x


def test_mercators_map_is_the_textbooks():
    for latitude in (-60.0, 0.0, 49.0):
        fix = torch.tensor([latitude, 8.4, 7.0, 0.1, -0.2, 2.0]).double()
        found = world_from_imu(fix, 0.7)
        north = 6_378_137 * math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2))
        east = 6_378_137 * math.radians(8.4)
        assert np.allclose(found[:3, 3].numpy(), [0.7 * east, 0.7 * north, 7.0], atol=1e-6)
        assert np.allclose(found[:3, :3].numpy(), rotation(0.1, -0.2, 2.0), atol=1e-6)


def test_missing_images_and_poses_matter_only_where_they_are_needed(root):
    (root / DAY / DRIVE / "image_02" / "data" / "0000000001.png").unlink()
    assert [len(sample.cameras) for sample in map(KittiRaw(root).__getitem__, range(4))] == [1, 0, 1, 1]
    seen = KittiRaw(root, need_images=True, sweeps=2)
    assert [token[-1] for token in seen.tokens] == ["0", "2", "4"]
    assert len(seen[1].sweeps) == 1, "a cloud without an image is still an earlier sweep"
    assert seen.label_map_path(seen.tokens[0], 0) == root / DAY / DRIVE / "semantic_maps" / "0000000000.png"
    (root / DAY / DRIVE / "oxts" / "data" / "0000000001.txt").unlink()
    (root / DAY / "calib_imu_to_velo.txt").unlink()
    assert len(KittiRaw(root)[2].cloud) == 3
    with pytest.raises(ValueError, match="calib_imu_to_velo.txt is missing"):
        KittiRaw(root, sweeps=2)


def test_splits_list_drives_and_without_a_list_all_is_for_learning(root):
    with pytest.raises(ValueError, match="unknown split 'val': list its drives in .*splits.json"):
        KittiRaw(root, split="val")
    (root / "splits.json").write_text(
        json.dumps({"val": [DRIVE], "odd": "all", "lost": ["x"], "none": [], "deep": [["x"]]})
    )
    assert len(KittiRaw(root, split="val")) == 4
    for split, fault in (
        ("odd", "has no list"),
        ("lost", "lacks the drives x"),
        ("none", "lacks the drives"),
        ("deep", r"splits.json lists \['x'\] in split 'deep', expected a name"),
    ):
        with pytest.raises(ValueError, match=fault):
            KittiRaw(root, split=split)
    with pytest.raises(ValueError, match="no labels of points"):
        KittiRaw.open(root, OpenOptions("train", labels=True))
    with pytest.raises(ValueError, match="asked for 4, found at most 3"):
        KittiRaw(root, sweeps=4, split="val")
    with pytest.raises(ValueError, match="lacks the drives of any day"):
        KittiRaw(root / "nowhere")


def test_the_layouts_are_opened_by_their_names(root, real_data):
    opened = build.open_dataset(DataConfig(layout="kitti-raw"), root, split="train", labels=False, sweeps=2)
    assert isinstance(opened, KittiRaw) and len(opened[1].sweeps) == 1
    opened = build.open_dataset(
        DataConfig(layout="kitti-object"), real_data / "kitti-object", split="train", labels=False
    )
    assert len(opened) == 2 == count_images(opened)


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("oxts/data/0000000001.txt", "", "expected 30 numbers"),
        ("oxts/data/0000000001.txt", oxts(0, 0)[:100], "expected 30 numbers"),
        ("oxts/data/0000000001.txt", oxts(0, 0).replace("110.0", "nan.0"), "expected 30 numbers"),
        ("oxts/data/0000000001.txt", oxts(0, 0, up_m=math.nan), "expected 30 numbers"),
        ("oxts/data/0000000001.txt", "99" + oxts(0, 0)[2:], "the first a latitude"),
        ("../calib_cam_to_cam.txt", "R_rect_00: 1 0 0 0 1 0 0 0 1\n", "lacks P_rect_02"),
        ("../calib_velo_to_cam.txt", "R: 0 -1 0 0 0 1 1 0 0\nT: 0 0 0\n", "R of .* is not a rotation"),
        (
            "../calib_imu_to_velo.txt",
            "R: 1 0 0 0 1 0 0 0 1\nT: 0 inf 0\n",
            "expected 3 finite numbers after T:",
        ),
        ("velodyne_points/data/0000000001.bin", "12345", "0000000001.bin is truncated"),
    ],
)
def test_broken_files_are_named(root, file, content, fault):
    (root / DAY / DRIVE / file).write_text(content)
    with pytest.raises(ValueError, match=fault):
        KittiRaw(root, sweeps=2)[1]


@pytest.mark.parametrize(
    "content", [{"train": 3}, [["a"]], 3, {"train": [1]}, {"train": [["a"]]}, {"train": DRIVE}, {}, None]
)
def test_a_broken_list_of_splits_is_told_by_its_file(root, content):
    (root / "splits.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"splits\.json") as caught:
        KittiRaw(root)
    assert "\n" not in str(caught.value)


def test_a_pose_that_no_vehicle_reaches_is_named(root):
    fix = root / DAY / DRIVE / "oxts" / "data" / "0000000001.txt"
    fix.write_text(oxts(0, 2002.0, yaw=math.pi / 2))
    with pytest.raises(
        ValueError, match=r"0000000001.txt: the vehicle at cloud 0000000001 is 20\d\d m from the place 100"
    ):
        KittiRaw(root, sweeps=2)[1]


def test_times_and_places_are_told_where_their_files_are(root):
    dataset = KittiRaw(root)
    assert dataset.timestamps(1).cloud_us is None
    way = dataset.timestamps(3).world_from_cloud[:3, 3] - dataset.timestamps(0).world_from_cloud[:3, 3]
    assert torch.allclose(way, torch.tensor([0.0, 8.0, 0.0]).double(), atol=1e-3), "8 m to the north"
    for sensor, late in (("velodyne_points", 0), ("image_02", 20_000)):
        dates = [f"2011-09-26 13:02:25.{100_000 * number + late:06d}000" for number in range(5)]
        (root / DAY / DRIVE / sensor / "timestamps.txt").write_text("\n".join(dates) + "\n")
    told = [dataset.timestamps(number) for number in range(4)]
    assert [each.cloud_us - told[0].cloud_us for each in told] == [0, 100_000, 200_000, 400_000]
    assert {each.image_us["image_2"] - each.cloud_us for each in told} == {20_000}
    assert [line.mark for line in check_times(dataset, range(4))] == ["ok", "ok"]
    shutil.rmtree(root / DAY / DRIVE / "oxts")
    assert dataset.timestamps(0).world_from_cloud is None
