"""Drives in KITTI's layouts become drive logs that hold the same."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree
from tests.datasets.kitti.test_raw import DAY, DRIVE, oxts, root  # noqa: F401 - a fixture

from clip2scene import cli
from clip2scene.classes.tables import SEMANTIC_KITTI
from clip2scene.datasets.convert.kitti_to_log import convert_kitti
from clip2scene.datasets.dataset import count_images
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.datasets.kitti.raw import KittiRaw
from clip2scene.datasets.kitti.semantic import SemanticKitti


@pytest.fixture(scope="module")
def sequence(tiny_kitti):
    return sorted((tiny_kitti / "sequences").iterdir())[0]


def test_poses_may_be_estimated_from_the_clouds(copied, tmp_path):
    pytest.importorskip("kiss_icp")
    (copied / "poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")  # too few: what is replaced is not read
    made = convert_kitti(copied, tmp_path / "log", odometry=True)
    assert not any("no poses" in note for note in made.notes)
    assert f"poses by KISS-ICP, of {made.clouds} clouds as they were recorded" in made.notes
    places = [DriveLog(tmp_path / "log").timestamps(number).world_from_cloud for number in range(made.clouds)]
    assert torch.equal(places[0], torch.eye(4, dtype=torch.float64))
    assert not torch.equal(places[1], places[0])


@pytest.fixture
def copied(sequence, tmp_path):
    return shutil.copytree(sequence, tmp_path / "00")


def same_camera(one, other):
    assert (one.name, one.width, one.height) == (other.name, other.width, other.height)
    assert torch.equal(one.intrinsics, other.intrinsics)
    assert torch.equal(one.camera_from_lidar, other.camera_from_lidar)


def test_a_sequence_comes_back_point_for_point_and_pixel_for_pixel(sequence, tiny_kitti, tmp_path):
    made = convert_kitti(sequence, tmp_path / "log")
    source = SemanticKitti(tiny_kitti, split=None, sequences=[sequence.name], sweeps=2)
    log = DriveLog(tmp_path / "log", sweeps=2)
    assert made.clouds == made.images == len(log) == len(source) == count_images(log)
    assert log.class_set.classes == SEMANTIC_KITTI.classes
    for one, other in zip(log, source, strict=True):
        assert one.token == other.token.split("-")[1]
        assert torch.equal(one.cloud.positions, other.cloud.positions)
        assert torch.equal(one.cloud.features, other.cloud.features)
        assert torch.equal(one.labels, other.labels) and len(one.labels.unique()) > 4
        same_camera(one.cameras[0], other.cameras[0])
        assert torch.equal(one.read_image(0), other.read_image(0))
        assert len(one.sweeps) == len(other.sweeps)
    nearest = cKDTree(source[1].sweeps[0].positions.numpy()).query(log[1].sweeps[0].positions.numpy())[0]
    assert nearest.max() < 1e-4, "the log leaves out a few more of the vehicle's own points, no others"
    assert (log[1].sweeps[0].positions[:100] - log[0].cloud.positions[:100]).norm(dim=1).max() > 0.2


def test_moments_are_those_of_times_txt(copied, tmp_path):
    names = sorted(path.stem for path in (copied / "velodyne").iterdir())
    (copied / "times.txt").unlink()
    made = convert_kitti(copied, tmp_path / "assumed")
    assert "no times.txt, so clouds count as taken every 0.1 s" in made.notes
    rows = (tmp_path / "assumed" / "poses.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[1]) for row in rows] == [100_000 * number for number in range(len(names))]
    (copied / "times.txt").write_text("".join(f"{0.1037 * number:.6e}\n" for number in range(len(names))))
    convert_kitti(copied, tmp_path / "told")
    rows = (tmp_path / "told" / "poses.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[1]) for row in rows] == [103_700 * number for number in range(len(names))]
    (copied / "times.txt").write_text("0.2\n" * len(names))
    with pytest.raises(ValueError, match="jump backwards"):
        convert_kitti(copied, tmp_path / "log")
    (copied / "times.txt").write_text("0.2\n")
    with pytest.raises(ValueError, match="times.txt should hold the seconds of each cloud"):
        convert_kitti(copied, tmp_path / "log")


def test_a_sequence_that_lacks_clouds_keeps_the_poses_of_the_others(copied, tmp_path):
    convert_kitti(copied, tmp_path / "whole")
    names = sorted(path.stem for path in (copied / "velodyne").iterdir())
    (copied / "velodyne" / f"{names[1]}.bin").unlink()
    convert_kitti(copied, tmp_path / "log")
    whole, rest = ((tmp_path / name / "poses.csv").read_text().splitlines()[1:] for name in ("whole", "log"))
    assert rest == [row for row in whole if not row.startswith(names[1])] and len(rest) == len(whole) - 1


def test_labels_images_and_poses_are_optional(copied, tmp_path):
    for folder in ("labels", "image_2"):
        shutil.rmtree(copied / folder)
    (copied / "poses.txt").unlink()
    made = convert_kitti(copied, tmp_path / "log")
    assert made.images == 0 and any("no poses.txt" in note for note in made.notes)
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == ["calibration.json", "lidar"]
    log = DriveLog(tmp_path / "log", labels=False, class_set=SEMANTIC_KITTI)
    assert count_images(log) == 0 and len(log[0].cloud) > 100


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("velodyne/000001.bin", b"123", "000001.bin is truncated"),
        ("labels/000001.label", b"1234", "holds 1 labels"),
        ("image_2/000001.png", b"no image", "000001.png cannot be read"),
        ("calib.txt", b"", "calib.txt lacks P2, Tr"),
        ("poses.txt", b"1 0 0 0 0 1 0 0 0 0 1 0\n", "holds 1 poses.* remove it to go without poses$"),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_left(copied, tmp_path, file, content, words):
    (copied / file).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        convert_kitti(copied, tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["00"]


def test_images_of_two_sizes_are_refused(copied, tmp_path):
    path = copied / "image_2" / "000001.png"
    with Image.open(path) as image:
        image.resize((image.width + 2, image.height)).save(path)
    with pytest.raises(ValueError, match="000001.png is .* expected one size in a drive"):
        convert_kitti(copied, tmp_path / "log")


def test_a_raw_drive_comes_back(root, tmp_path):  # noqa: F811
    drive = root / DAY / DRIVE
    stamps = [f"2011-09-26 13:02:{25 + number / 10:09.6f}337" for number in range(5)]
    (drive / "velodyne_points" / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    turned = oxts(
        0.3, 4.0, yaw=np.pi / 2 + 0.2
    )  # the inertial unit stands apart from the lidar, so this counts
    (drive / "oxts" / "data" / "0000000002.txt").write_text(turned)
    made = convert_kitti(drive, tmp_path / "log")
    source = KittiRaw(root, sweeps=2)
    log = DriveLog(tmp_path / "log", labels=False, class_set=SEMANTIC_KITTI, sweeps=2)
    assert (made.clouds, made.images) == (4, 4) and "no timestamps" not in " ".join(made.notes)
    for one, other in zip(log, source, strict=True):
        assert torch.equal(one.cloud.positions, other.cloud.positions)
        same_camera(one.cameras[0], other.cameras[0])
        assert torch.equal(one.read_image(0), other.read_image(0))
    # the fifth cloud's predecessor is missing: KITTI's loader gives it no sweep, the log the third's
    assert [len(sample.sweeps) for sample in log] == [0, 1, 1, 1]
    assert torch.allclose(log[2].sweeps[0].positions, source[2].sweeps[0].positions, atol=1e-5)
    times = [int(row.split(",")[1]) for row in (tmp_path / "log" / "poses.csv").read_text().splitlines()[1:]]
    assert np.diff(times).tolist() == [100_000, 100_000, 200_000]
    assert times[0] == 1_317_042_145_000_000  # 26 September 2011, 13:02:25


def test_a_raw_drive_without_oxts_has_no_poses(root, tmp_path):  # noqa: F811
    shutil.rmtree(root / DAY / DRIVE / "oxts")
    made = convert_kitti(root / DAY / DRIVE, tmp_path / "log")
    assert any("no oxts" in note for note in made.notes) and any("every 0.1 s" in note for note in made.notes)
    assert not (tmp_path / "log" / "poses.csv").exists()


def test_poses_of_a_raw_drive_are_not_read_where_they_are_estimated(root, tmp_path):  # noqa: F811
    pytest.importorskip("kiss_icp")
    (root / DAY / "calib_imu_to_velo.txt").unlink()
    made = convert_kitti(root / DAY / DRIVE, tmp_path / "log", odometry=True)
    assert f"poses by KISS-ICP, of {made.clouds} clouds as they were recorded" in made.notes


@pytest.mark.parametrize("option", [("--clouds", "/points"), ("--deskew", "off"), ("--most-apart-ms", "20")])
def test_the_command_converts_drives_and_refuses_what_is_for_bags(
    sequence, tmp_path, monkeypatch, capsys, option
):
    words = ["clip2scene", "convert-recording", str(sequence), "--out", str(tmp_path / "log")]
    monkeypatch.setattr("sys.argv", [*words, *option])
    with pytest.raises(SystemExit):
        cli.main()
    assert f"leave out {option[0]}" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr("sys.argv", words)
    cli.main()
    assert "images to" in capsys.readouterr().out and (tmp_path / "log" / "calibration.json").exists()
