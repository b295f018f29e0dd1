"""Logs of 123D become drive logs that hold the same; test_by_py123d.py compares with the library itself."""

import builtins
import sys

import numpy as np
import pytest
import torch
from tests.logs_123d import (
    INTRINSICS,
    LIDAR_AT,
    START_US,
    STEP_US,
    Table,
    as_arrow,
    as_laz,
    clouds_table,
    images_table,
    jpeg,
    lidar,
    pa,
    pinhole,
    pose,
    small_log,
    sweep,
)

from clip2scene import cli
from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.convert.py123d_to_log import convert_123d, list_123d
from clip2scene.datasets.dataset import count_images
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.geometry.projection import project_points, rigid_from_quaternion

MERGED, FRONT, EGO = "lidar.lidar_merged", "camera.pcam_f0", "ego_state_se3"


def opened(folder, **options):
    return DriveLog(folder, labels=False, class_set=NUSCENES, **options)


def changed(log, name, **columns):
    return log.changed(**{name.replace(".", "__"): log.tables[name].changed(**columns)})


def fails(log, folder, **options):
    """Convert a log that cannot be; the message."""
    with pytest.raises(ValueError) as said:  # noqa: PT011 - its words are looked at by the caller
        convert_123d(log.write(folder / "in"), folder / "log", **options)
    assert not (folder / "log").exists() and "\n" not in str(said.value)
    return str(said.value)


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_clouds_images_moments_and_poses_come_back(compression, tmp_path):
    source = small_log().write(tmp_path / "in", compression)
    made = convert_123d(source, tmp_path / "log")
    assert (made.clouds, made.images) == (4, 4)
    assert made.notes == (f"log one of made_train, clouds of {MERGED}, written by py123d 0.7.0",)
    log = opened(tmp_path / "log", sweeps=3)
    assert len(log) == count_images(log) == 4
    view = torch.eye(4).double()
    view[:3, 3] = torch.tensor(LIDAR_AT)
    for number, sample in enumerate(log):
        positions, intensity = sweep(number)
        assert torch.allclose(sample.cloud.positions + torch.tensor(LIDAR_AT), torch.tensor(positions))
        assert torch.equal(sample.cloud.features[:, 0], torch.tensor(intensity / 255).float())
        assert (tmp_path / f"log/images/pcam_f0/{sample.token}.jpg").read_bytes() == jpeg(number)
        assert sample.cameras[0].width == sample.read_image(0).shape[1] > 40
        told = log.timestamps(number)
        assert told.cloud_us == START_US + STEP_US * number
        assert told.image_us == {"pcam_f0": told.cloud_us + 7_000}
        world = rigid_from_quaternion(pose(number)[3:], pose(number)[:3]) @ view
        assert torch.allclose(told.world_from_cloud, world)
        assert len(sample.sweeps) == min(number, 2)


def test_points_meet_the_pixels_that_the_metadata_of_both_sensors_say(tmp_path):
    images = images_table([jpeg(n) for n in range(4)], pinhole(is_undistorted=True), lead_us=0)
    convert_123d(small_log().changed(camera__pcam_f0=images).write(tmp_path / "in"), tmp_path / "log")
    sample, (positions, _), (fx, fy, cx, cy, _) = opened(tmp_path / "log")[2], sweep(2), INTRINSICS
    pairs = project_points(sample.cloud.positions, sample.cameras)
    x, y, z = (positions[pairs.points.numpy()] - [1.5, 0.1, 1.4]).T  # from the camera, which looks along x
    assert len(pairs) > 20
    assert np.allclose(pairs.pixels, np.column_stack([cx - fx * y / x, cy - fy * z / x]), atol=1e-3)


def test_clouds_are_on_the_grid_of_laz(tmp_path):
    convert_123d(small_log(2, cloud=as_laz).write(tmp_path / "in"), tmp_path / "log")
    for number, sample in enumerate(opened(tmp_path / "log")):
        apart = sample.cloud.positions + torch.tensor(LIDAR_AT) - torch.tensor(sweep(number)[0])
        assert apart.abs().max() < 0.0051
        assert torch.equal(sample.cloud.features[:, 0], torch.tensor(sweep(number)[1] / 255).float())


def test_the_moment_of_a_cloud_is_that_of_its_pose_not_the_begin_of_its_turn(tmp_path):
    log = small_log()
    shifted = [time + 30_000 for time in log.tables["sync"].columns["sync.timestamp_us"]]
    convert_123d(
        changed(log, "sync", **{"sync.timestamp_us": shifted})
        .changed(**{"camera__pcam_f0": images_table([jpeg(n) for n in range(4)], pinhole(), lead_us=25_000)})
        .write(tmp_path / "in"),
        tmp_path / "log",
        most_apart_ms=6.0,
    )
    assert [opened(tmp_path / "log").timestamps(n).cloud_us for n in range(4)] == shifted


def test_images_go_to_the_nearest_cloud_and_what_is_far_or_has_no_pose_is_left_out_and_counted(tmp_path):
    log = small_log()
    front = log.tables[FRONT]
    times = [
        time + (60_000 if number == 1 else 0) for number, time in enumerate(front.columns["timestamp_us"])
    ]
    log = changed(log, FRONT, timestamp_us=times)
    made = convert_123d(log.write(tmp_path / "in"), tmp_path / "log")
    assert (made.clouds, made.images) == (4, 3), "image 1 lies nearer to cloud 2, which has a nearer one"
    assert "left out 1 images of pcam_f0 that are not the nearest of a cloud" in made.notes
    ego = log.tables[EGO].columns
    ahead = [*ego["timestamp_us"][:2], *(time + 10_000_000 for time in ego["timestamp_us"][2:])]
    made = convert_123d(changed(log, EGO, timestamp_us=ahead).write(tmp_path / "gap"), tmp_path / "other")
    assert made.clouds == 3, "a motion goes on for 0.1 s"
    assert any("1 clouds taken when no pose is known" in note for note in made.notes)


def test_images_that_are_not_there_are_counted_and_are_nobody_s_nearest(tmp_path):
    columns = small_log().tables[FRONT].columns
    first = columns["timestamp_us"][0]
    log = changed(
        small_log(),
        FRONT,
        timestamp_us=[first - 6_000, *columns["timestamp_us"]],
        data=[None, *columns["data"]],
        camera_to_global_se3=[None] * 5,
    )
    made = convert_123d(log.write(tmp_path / "in"), tmp_path / "log")
    assert made.images == 4, "the first is nearer to its cloud than the second, but holds nothing"
    assert "left out 1 images of pcam_f0 that are not there" in made.notes


def test_gaps_in_time_are_said_and_no_sweep_crosses_them(tmp_path):
    log = small_log()
    late = {name: log.tables[name].columns for name in ("sync", EGO, FRONT)}
    for name, key in (("sync", "sync.timestamp_us"), (EGO, "timestamp_us"), (FRONT, "timestamp_us")):
        times = late[name][key]
        log = changed(log, name, **{key: [*times[:2], *(time + 5_000_000 for time in times[2:])]})
    made = convert_123d(log.write(tmp_path / "in"), tmp_path / "log")
    assert "1 gaps of more than 1 s; earlier sweeps do not cross them" in made.notes
    assert [len(sample.sweeps) for sample in opened(tmp_path / "log", sweeps=2)] == [0, 1, 0, 1]


def test_a_log_without_poses_has_one_sweep_a_sample(tmp_path):
    made = convert_123d(small_log().changed(ego_state_se3=None).write(tmp_path / "in"), tmp_path / "log")
    assert any(note.startswith("no poses in it: one sweep a sample") for note in made.notes)
    assert not (tmp_path / "log" / "poses.csv").exists() and len(opened(tmp_path / "log")) == 4
    with pytest.raises(ValueError, match="poses.csv is missing"):
        opened(tmp_path / "log", sweeps=2)


def test_points_and_clouds_that_are_none_are_dropped_and_counted(tmp_path):
    log = small_log()
    positions, intensity = sweep(0)
    broken = positions.copy()
    broken[:3, 1] = np.nan
    contents = [as_arrow(broken, intensity), None, as_arrow(positions[:0], intensity[:0])]
    log = changed(log, MERGED, data=[*contents, *log.tables[MERGED].columns["data"][3:]])
    made = convert_123d(log.write(tmp_path / "in"), tmp_path / "log")
    assert made.clouds == made.images == 2
    assert "dropped 3 points that are not finite" in made.notes
    assert any("1 clouds that are not there, 1 clouds without a point" in note for note in made.notes)
    assert [len(sample.cloud) for sample in opened(tmp_path / "log")] == [197, 200]


def test_clouds_that_the_table_of_moments_does_not_know_are_left_out(tmp_path):
    log = small_log()
    made = convert_123d(
        changed(log, "sync", **{MERGED: [0, None, 2, 3]}).write(tmp_path / "in"), tmp_path / "log"
    )
    assert made.clouds == 3 and any("1 clouds that sync.arrow does not know" in note for note in made.notes)


def test_intensities_of_shares_stay_shares(tmp_path):
    log = small_log()
    contents = [as_arrow(sweep(n)[0], (sweep(n)[1] / 255).astype(np.float32)) for n in range(4)]
    convert_123d(changed(log, MERGED, data=contents).write(tmp_path / "in"), tmp_path / "log")
    found = opened(tmp_path / "log")[0].cloud.features[:, 0]
    assert torch.allclose(found, torch.tensor(sweep(0)[1] / 255).float())


def test_a_lens_that_is_not_read_is_left_out_and_named(tmp_path):
    log = small_log(cameras=("pcam_f0", "ftcam_l0"))
    side = log.tables["camera.ftcam_l0"]
    log = log.changed(camera__ftcam_l0=Table(side.columns, side.types, pinhole(camera_model="ftheta")))
    made = convert_123d(log.write(tmp_path / "in"), tmp_path / "log")
    assert made.notes[0].startswith("left out: ") and "ftheta" in made.notes[0]
    assert [camera.name for camera in opened(tmp_path / "log")[0].cameras] == ["pcam_f0"]
    said = fails(log, tmp_path / "wanted", cameras=("camera.ftcam_l0",))
    assert "a lens that is not read: ftheta, expected pinhole" in said
    said = fails(log.changed(camera__pcam_f0=None), tmp_path / "alone")
    assert "has no camera that is read: " in said and "ftheta" in said


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda log: changed(log, MERGED, data=[None] * 4),
            "has no cloud that can be used: 4 clouds that are n",
        ),
        (
            lambda log: log.changed(lidar__lidar_merged=clouds_table([7] * 4, {"2": lidar()}, pa.int64())),
            "lidar.lidar_merged.arrow, row 0 holds no bytes but int, expected LAZ or Arrow; convert",
        ),
        (
            lambda log: changed(log, FRONT, data=[None] * 4),
            "no image belongs to a cloud (4 images of pcam_f0 that are not there); where they are far",
        ),
        (
            lambda log: changed(log, FRONT, data=[b"no"] * 4),
            "camera.pcam_f0.arrow, row 0 cannot be read as JPEG",
        ),
        (lambda log: changed(log, FRONT, data=[jpeg(0, (32, 24))] * 4), "row 0 is 32x24, expected 64x48"),
        (
            lambda log: changed(log, FRONT, timestamp_us=[1, 2, 3, 4]),
            "no image belongs to a cloud (4 images of",
        ),
        (lambda log: changed(log, FRONT, timestamp_us=[4, 3, 2, 1]), "row 1: the time is 3 us after 4 us"),
        (
            lambda log: changed(log, "sync", **{"sync.timestamp_us": [5, 4, 3, 2]}),
            "sync.arrow, row 1: the time is 4 us after 5 us",
        ),
        (
            lambda log: changed(log, EGO, imu_se3=[[1000.0 * n, 0, 0, 1, 0, 0, 0] for n in range(4)]),
            "poses.csv, line",
        ),
        (
            lambda log: log.changed(
                camera__pcam_f0=images_table([0, 1, 2, 3], pinhole(), pa.int32()),
            ),
            "row 0 is a picture of a video, which is not read; convert the log again with camera_store",
        ),
        (
            lambda log: log.changed(
                camera__pcam_f0=images_table(["a.jpg"] * 4, pinhole(), pa.string()),
            ),
            "row 0 holds no image but names 'a.jpg'; say by --sensor-root where the data set lies",
        ),
    ],
)
def test_logs_that_cannot_be_used_are_told_in_one_sentence(change, why, tmp_path):
    assert why in fails(change(small_log()), tmp_path)


def test_images_may_lie_in_the_data_set_and_nowhere_else(tmp_path):
    root = tmp_path / "downloaded"
    root.mkdir()
    for number in range(4):
        (root / f"{number}.JPG").write_bytes(jpeg(number))
    names = [f"{number}.JPG" for number in range(4)]
    log = small_log().changed(camera__pcam_f0=images_table(names, pinhole(), pa.string()))
    convert_123d(log.write(tmp_path / "in"), tmp_path / "log", sensor_root=root)
    assert (tmp_path / "log/images/pcam_f0/000002.jpg").read_bytes() == jpeg(2)
    outside = changed(log, FRONT, data=["../in/sync.arrow"] * 4)
    assert "which leads out of" in fails(outside, tmp_path / "outside", sensor_root=root)


def test_one_lidar_of_several_is_chosen(tmp_path):
    log = small_log()
    cloud = log.tables[MERGED]
    alone = Table(cloud.columns, cloud.types, lidar("back", (-1.0, 0, 1)))
    sync = log.tables["sync"]
    rows = sync.columns[MERGED]
    named = Table(
        {**sync.columns, "lidar.lidar_back": rows},
        {**sync.types, "lidar.lidar_back": pa.int64()},
        sync.metadata,
    )
    log = log.changed(lidar__lidar_back=alone, sync=named)
    convert_123d(log.write(tmp_path / "in"), tmp_path / "log", lidar="lidar.lidar_back")
    positions = opened(tmp_path / "log")[0].cloud.positions
    assert torch.allclose(positions + torch.tensor([-1.0, 0, 1]), torch.tensor(sweep(0)[0]))


@pytest.mark.parametrize("missing", ["pyarrow", "msgspec"])
def test_without_its_libraries_it_is_said_what_to_install(missing, tmp_path, monkeypatch):
    source = small_log().write(tmp_path / "in")
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.startswith(missing):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=rf"needs the library {missing}; install clip2scene\[123d\]"):
        convert_123d(source, tmp_path / "log")


def test_the_command_lists_writes_and_tells(tmp_path, monkeypatch, capsys):
    source = small_log().write(tmp_path / "logs" / "made_train" / "one")
    assert list_123d(source).split() == [FRONT, EGO, MERGED, "sync"]

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["clip2scene", "convert-123d", *map(str, words)])
        cli.main()
        return capsys.readouterr().out

    assert run(tmp_path, "--list") == f"{source}\n"
    told = run(source, "--out", tmp_path / "log", "--cameras", FRONT)
    assert f"wrote 4 clouds and 4 images to {tmp_path / 'log'}" in told and "log one of made_train" in told
    for words, why in (
        ((source,), "name a new folder with --out"),
        ((tmp_path, "--out", tmp_path / "other"), f"name one of the 1 below it, such as {source}"),
        ((source, "--out", tmp_path / "other", "--most-apart-ms", "-1"), "must lie in 0..1000, got -1"),
    ):
        with pytest.raises(SystemExit):
            run(*words)
        assert why in capsys.readouterr().err
