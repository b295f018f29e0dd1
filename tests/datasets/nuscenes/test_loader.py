import json
import math
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from tests.datasets.nuscenes.conftest import VERSION, edit, lidar_records

from clip2scene.classes.tables import NUSCENES, TOYTOWN
from clip2scene.datasets.checks import CLOUD_FROM_SENSOR
from clip2scene.datasets.nuscenes.loader import CAMERAS, NuScenes
from clip2scene.datasets.nuscenes.records import choose_sweeps
from clip2scene.geometry.projection import drop_occluded, invert_rigid, project_points


def keyframe_file(root, channel):
    return sorted((root / "samples" / channel).iterdir())[0]


def rotation_matrix(wxyz):
    w, x, y, z = wxyz
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


def slow_projection(root, token, channel):
    """Carry raw lidar points into an image one frame after another, in float64, as the tables say."""
    tables = {
        name: {row["token"]: row for row in json.loads((root / VERSION / f"{name}.json").read_text())}
        for name in ("sample_data", "calibrated_sensor", "sensor", "ego_pose")
    }

    def record(wanted):
        for row in tables["sample_data"].values():
            calibration = tables["calibrated_sensor"][row["calibrated_sensor_token"]]
            found = tables["sensor"][calibration["sensor_token"]]["channel"]
            if row["sample_token"] == token and row["is_key_frame"] and found == wanted:
                return row, calibration, tables["ego_pose"][row["ego_pose_token"]]
        raise AssertionError(wanted)

    row, calibration, pose = record("LIDAR_TOP")
    points = np.fromfile(root / row["filename"], np.float32).reshape(-1, 5)[:, :3].astype(np.float64)
    for step in (calibration, pose):
        points = points @ rotation_matrix(step["rotation"]).T + step["translation"]
    row, calibration, pose = record(channel)
    for step in (pose, calibration):
        points = (points - step["translation"]) @ rotation_matrix(step["rotation"])
    pixels = points @ np.array(calibration["camera_intrinsic"]).T
    return pixels[:, :2] / pixels[:, 2:], points[:, 2]


def test_projection_through_the_loader_equals_the_tables_chain_step_by_step(tiny_toytown):
    data = NuScenes(tiny_toytown, split="train")
    sample = data[1]
    pairs = project_points(sample.cloud.positions, sample.cameras)
    for view, channel in enumerate(CAMERAS):
        pixels, depths = slow_projection(tiny_toytown, sample.token, channel)
        mine = pairs.views == view
        assert mine.sum() > 100
        np.testing.assert_allclose(pairs.pixels[mine].numpy(), pixels[pairs.points[mine]], atol=1e-3)
        np.testing.assert_allclose(pairs.depths[mine].numpy(), depths[pairs.points[mine]], atol=1e-3)


def test_the_vehicles_motion_between_lidar_and_camera_is_in_the_extrinsics(tiny_toytown):
    data = NuScenes(tiny_toytown, split="train")
    front, back_left = (data[0].cameras[view].camera_from_lidar.double() for view in (0, 4))
    assert (
        CAMERAS[4] == "CAM_BACK_LEFT"
    )  # it takes its image when the sweep ends, the front camera 35 ms before
    calibrations = json.loads((tiny_toytown / VERSION / "calibrated_sensor.json").read_text())
    ego_from = [np.eye(4) for _ in calibrations]
    for rigid, row in zip(ego_from, calibrations, strict=True):
        rigid[:3, :3], rigid[:3, 3] = rotation_matrix(row["rotation"]), row["translation"]
    sensors = {
        row["token"]: row["channel"]
        for row in json.loads((tiny_toytown / VERSION / "sensor.json").read_text())
    }
    ego_from = {
        sensors[row["sensor_token"]]: rigid for row, rigid in zip(calibrations, ego_from, strict=True)
    }
    turned = ego_from["LIDAR_TOP"] @ np.linalg.inv(CLOUD_FROM_SENSOR.numpy())

    def moved(camera_from_lidar, channel):
        """Return how far ahead of its old place the vehicle was when the sweep ended."""
        then_from_now = ego_from[channel] @ camera_from_lidar.numpy() @ np.linalg.inv(turned)
        return then_from_now[0, 3]

    assert 0.05 < moved(front, "CAM_FRONT") < 1.0
    assert moved(back_left, "CAM_BACK_LEFT") < 0.1 * moved(front, "CAM_FRONT")


def test_points_carry_the_label_of_the_pixel_they_fall_on(tiny_toytown):
    data = NuScenes(tiny_toytown, split="train")
    sample = data[0]
    pairs = drop_occluded(project_points(sample.cloud.positions, sample.cameras), sample.cameras)
    agree = []
    for view, camera in enumerate(sample.cameras):
        stem = keyframe_file(tiny_toytown, camera.name).stem
        truth = np.asarray(Image.open(tiny_toytown / "groundtruth" / camera.name / f"{stem}.png")).astype(int)
        mine = pairs.views == view
        columns, rows = pairs.pixels[mine].round().long().T.numpy()
        agree.append(truth[rows, columns] == sample.labels[pairs.points[mine]].numpy())
    agree = np.concatenate(agree)
    assert len(agree) > 1000
    assert agree.mean() > 0.85  # the rest are outlines, coarse at 160 x 96 pixels


def test_a_sample_holds_a_turned_cloud_with_intensity_in_0_to_1_and_six_cameras(tiny_toytown):
    data = NuScenes(tiny_toytown, split="train")
    sample = data[0]
    raw = np.fromfile(keyframe_file(tiny_toytown, "LIDAR_TOP"), np.float32).reshape(-1, 5)
    forward, left = raw[:, 1], -raw[:, 0]
    np.testing.assert_allclose(sample.cloud.positions[:, 0], forward, atol=1e-5)
    np.testing.assert_allclose(sample.cloud.positions[:, 1], left, atol=1e-5)
    np.testing.assert_allclose(sample.cloud.features[:, 0], raw[:, 3] / 255, atol=1e-6)
    assert 0 <= sample.cloud.features.min() and sample.cloud.features.max() <= 1
    assert [camera.name for camera in sample.cameras] == list(CAMERAS)
    assert sample.read_image(3).shape == (96, 160, 3)
    ahead = torch.tensor([[20.0, 0.0, 0.0]])
    assert project_points(ahead, sample.cameras).views.tolist() == [0], (
        "forward is where the front camera looks"
    )


def test_splits_come_from_the_data_sets_own_list(tiny_toytown):
    train, val = NuScenes(tiny_toytown, split="train"), NuScenes(tiny_toytown, split="val")
    assert set(train.scenes) == {"scene-0001"} and set(val.scenes) == {"scene-0002"}
    assert len(train) == len(val) == 2 and not set(train.tokens) & set(val.tokens)
    whole = NuScenes(tiny_toytown, split=None)
    assert whole.tokens == train.tokens + val.tokens
    assert NuScenes(tiny_toytown, scenes=["scene-0002"]).tokens == val.tokens
    with pytest.raises(ValueError, match="unknown split 'test', expected one of train, val"):
        NuScenes(tiny_toytown, split="test")
    with pytest.raises(ValueError, match="scene-0815"):
        NuScenes(tiny_toytown, scenes=["scene-0815"])


def test_without_labels_no_label_file_or_table_is_touched(damaged):
    expected = NuScenes(damaged)[0]
    shutil.rmtree(damaged / "lidarseg")
    (damaged / VERSION / "lidarseg.json").unlink()
    (damaged / VERSION / "category.json").unlink()
    sample = NuScenes(damaged, labels=False)[0]
    assert sample.labels is None
    torch.testing.assert_close(sample.cloud.positions, expected.cloud.positions)
    with pytest.raises(ValueError, match="lidarseg.json is missing"):
        NuScenes(damaged)


def test_a_smaller_class_set_keeps_the_same_names(tiny_toytown):
    whole, small = NuScenes(tiny_toytown)[0], NuScenes(tiny_toytown, class_set=TOYTOWN)[0]
    assert (whole.labels >= 0).any()
    for train_id, name in enumerate(TOYTOWN.classes):
        assert torch.equal(small.labels == train_id, whole.labels == NUSCENES.classes.index(name))


def test_a_missing_image_is_named(damaged):
    data = NuScenes(damaged)
    keyframe_file(damaged, "CAM_BACK").unlink()
    sample = data[0]
    with pytest.raises(ValueError, match=rf"sample {sample.token}: image .*CAM_BACK.*\.jpg is missing"):
        sample.read_image(CAMERAS.index("CAM_BACK"))


def test_a_broken_image_and_one_of_another_size_are_named(damaged):
    sample = NuScenes(damaged)[0]
    path = keyframe_file(damaged, "CAM_FRONT")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="CAM_FRONT.*cannot be read"):
        sample.read_image(0)
    Image.new("RGB", (32, 16)).save(path)
    with pytest.raises(ValueError, match="32x16, expected 160x96"):
        sample.read_image(0)


def damage_cloud(root, change):
    path = keyframe_file(root, "LIDAR_TOP")
    path.write_bytes(change(path.read_bytes()))


def test_a_truncated_an_empty_and_a_missing_cloud_are_named(damaged):
    data = NuScenes(damaged)
    damage_cloud(damaged, lambda content: content[:-7])
    with pytest.raises(ValueError, match=rf"sample {data.tokens[0]}: .*LIDAR_TOP.*is truncated"):
        data[0]
    damage_cloud(damaged, lambda content: b"")
    with pytest.raises(ValueError, match="LIDAR_TOP.*is empty"):
        data[0]
    keyframe_file(damaged, "LIDAR_TOP").unlink()
    with pytest.raises(ValueError, match="LIDAR_TOP.*is missing"):
        data[0]


def test_nan_coordinates_are_counted_and_named(damaged):
    def poison(content):
        records = np.frombuffer(content, np.float32).reshape(-1, 5).copy()
        records[[3, 8], 1] = np.nan
        return records.tobytes()

    damage_cloud(damaged, poison)
    with pytest.raises(ValueError, match="LIDAR_TOP.*2 points of .* with NaN"):
        NuScenes(damaged)[0]


@pytest.mark.parametrize("strange", [math.nan, math.inf, -1.0, 255.5])
def test_intensities_that_no_lidar_measures_are_counted_and_named(damaged, strange):
    """One strange number would spoil every answer of its sample, through the norms of the network."""

    def poison(path):
        content = path.read_bytes()
        records = np.frombuffer(content, np.float32).reshape(-1, 5).copy()
        records[[3, 8], 3] = strange
        path.write_bytes(records.tobytes())
        return content

    keyframe, sweep = (damaged / record["filename"] for record in lidar_records(damaged)[1::-1])
    content = poison(keyframe)
    with pytest.raises(ValueError, match=r"LIDAR_TOP.*2 intensities of \d+ that are not in 0\.\.255"):
        NuScenes(damaged)[0]
    keyframe.write_bytes(content)
    assert NuScenes(damaged)[0].cloud.features.max() <= 1
    poison(sweep)
    with pytest.raises(ValueError, match=r"sweeps.*2 intensities of \d+ that are not in 0\.\.255"):
        NuScenes(damaged, sweeps=2)[0]


def test_labels_that_do_not_fit_the_cloud_are_refused(damaged):
    for path in (damaged / "lidarseg" / VERSION).iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"_lidarseg.bin holds \d+ labels, but .* \d+ points"):
        NuScenes(damaged)[0]


@pytest.mark.parametrize(
    ("table", "field", "value", "fault"),
    [
        ("calibrated_sensor", "rotation", [2.0, 0.0, 0.0, 0.0], "not a rigid motion"),
        ("calibrated_sensor", "translation", [math.nan, 0.0, 0.0], "not a rigid motion"),
        ("ego_pose", "rotation", [0.5, 0.0, 0.0, 0.0], "not a rigid motion"),
        ("ego_pose", "rotation", ["a", 0.0, 0.0, 0.0], "ego_pose.json"),
        ("calibrated_sensor", "camera_intrinsic", [[0.0, 0, 0]], "intrinsics are"),
        ("sample_data", "filename", "/etc/passwd", "expected a path inside"),
        ("sample_data", "filename", "samples/../../secret.bin", "expected a path inside"),
    ],
)
def test_tables_with_a_wrong_entry_are_refused(damaged, table, field, value, fault):
    edit(damaged, table, lambda rows: [row.update({field: value}) for row in rows])
    with pytest.raises(ValueError, match=fault):
        sample = NuScenes(damaged)[0]
        sample.read_image(0)


@pytest.mark.parametrize(
    ("matrix", "what"),
    [
        ([[130.0, 0, 80], [0, 130, 48], [0, 0, 5]], "a third row that scales"),
        ([[130.0, 0, 0], [0, 130, 0], [80, 48, 1]], "rows for columns"),
        ([[520.0, 0, 320], [0, 520, 192], [0, 0, 1]], "of an image four times as large"),
        ([[1e308, 0, 80], [0, 1e308, 48], [0, 0, 1]], "beyond float32"),
        ([[130.0, 0, 80], [0, -130, 48], [0, 0, 1]], "a focal length below 0"),
        ([[130.0, 0, math.nan], [0, 130, 48], [0, 0, 1]], "no number"),
    ],
)
def test_intrinsics_that_are_no_pinhole_cameras_with_this_image_are_refused(damaged, matrix, what):
    edit(
        damaged,
        "calibrated_sensor",
        lambda rows: [row.update(camera_intrinsic=matrix) for row in rows if row["camera_intrinsic"]],
    )
    fault = "calibrated_sensor.json, record .*(intrinsics are .*positive fx and fy|about 641x385, got 160x96)"
    with pytest.raises(ValueError, match=fault):
        NuScenes(damaged)[0]


def test_a_token_that_could_climb_out_of_a_folder_is_refused(damaged):
    edit(damaged, "sample", lambda rows: [row.update(token="../" + row["token"]) for row in rows])
    with pytest.raises(ValueError, match="expected letters and digits"):
        NuScenes(damaged)


def test_labels_that_nuscenes_does_not_have_are_refused(damaged):
    path = sorted((damaged / "lidarseg" / VERSION).iterdir())[0]
    path.write_bytes(bytes([31, 32, 255]) + path.read_bytes()[3:])
    dataset, found = NuScenes(damaged, split=None), []
    for number in range(len(dataset)):
        try:
            found.append(dataset[number])
        except ValueError as error:
            assert f"{path.name} holds the labels [32, 255] at 2 points" in str(error)
    assert len(found) == len(dataset) - 1


@pytest.mark.parametrize("table", ["sample_data", "ego_pose", "calibrated_sensor", "lidarseg"])
def test_a_missing_table_is_named(damaged, table):
    (damaged / VERSION / f"{table}.json").unlink()
    with pytest.raises(ValueError, match=f"{table}.json is missing"):
        NuScenes(damaged, version=VERSION)


def test_a_table_that_lacks_fields_or_rows_is_named(damaged):
    edit(damaged, "ego_pose", lambda rows: rows.pop())
    with pytest.raises(ValueError, match="ego_pose.json .* lacks 1 poses"):
        NuScenes(damaged, split=None)
    edit(damaged, "sample", lambda rows: [row.pop("timestamp") for row in rows])
    with pytest.raises(ValueError, match="sample.json lacks a field .*timestamp"):
        NuScenes(damaged)


def test_the_version_must_be_named_when_there_is_none_or_more_than_one(damaged, tmp_path):
    with pytest.raises(ValueError, match="expected one folder of nuScenes tables"):
        NuScenes(tmp_path / "toytown" / "samples")
    with pytest.raises(ValueError, match="is not a folder"):
        NuScenes(tmp_path / "nowhere")
    shutil.copytree(damaged / VERSION, damaged / "v1.0-mini")
    with pytest.raises(ValueError, match="name the version"):
        NuScenes(damaged, split=None)
    assert len(NuScenes(damaged, version=VERSION)) == 2


def test_of_several_versions_the_one_that_a_split_belongs_to_is_opened(damaged):
    shutil.copytree(damaged / VERSION, damaged / "v1.0-test")
    (damaged / "v1.0-test" / "splits.json").write_text(json.dumps({"test": ["scene-0002"]}))
    assert NuScenes(damaged, split="val").version == VERSION
    data = NuScenes(damaged, split="test")
    assert data.version == "v1.0-test" and set(data.scenes) == {"scene-0002"}
    with pytest.raises(ValueError, match="name the version"):
        NuScenes(damaged, split="mini_val")
    with pytest.raises(ValueError, match="name the version"):
        NuScenes(damaged, split="val", scenes=["scene-0001"])


@pytest.mark.real_data
def test_a_real_keyframe_projects_as_its_own_extrinsics_say(real_data, tmp_path):
    folder = real_data / "nuscenes-keyframe"
    info = json.loads((folder / "info.json").read_text())["sample"]
    root, travelled = rebuild_tables(folder, info, tmp_path / "keyframe")
    # the published extrinsics hold a straight drive: every camera stands where a steady speed puts it
    speeds = [metres / seconds for metres, seconds in travelled.values() if seconds > 0.005]
    assert len(speeds) == 5 and max(speeds) - min(speeds) < 0.5 and 8 < min(speeds) < 10
    sample = NuScenes(root, split=None, labels=False)[0]
    pairs = project_points(sample.cloud.positions, sample.cameras)
    raw = np.fromfile(folder / info["lidar_points"]["lidar_path"], np.float32).reshape(-1, 5)[:, :3]
    for view, channel in enumerate(CAMERAS):
        own = info["images"][channel]
        in_camera = raw @ np.array(own["lidar2cam"])[:3, :3].T + np.array(own["lidar2cam"])[:3, 3]
        pixels = in_camera @ np.array(own["cam2img"]).T
        u, v = (pixels[:, :2] / pixels[:, 2:]).T
        seen = (in_camera[:, 2] >= 1) & (u >= 1) & (u <= 1598) & (v >= 1) & (v <= 898)
        mine = pairs.views == view
        assert set(np.flatnonzero(seen)) == set(pairs.points[mine].tolist())
        np.testing.assert_allclose(
            pairs.pixels[mine].numpy(), np.stack([u, v], 1)[pairs.points[mine]], atol=0.02
        )
        assert sample.read_image(view).shape == (900, 1600, 3)
    assert 0.9 < len(drop_occluded(pairs, sample.cameras)) / len(pairs) < 1.0


def rebuild_tables(folder, info, root):
    """Write the v1.0 tables of one keyframe; each camera's ego pose is the one its extrinsics imply."""
    tables = {
        name: []
        for name in (
            "scene",
            "sample",
            "sample_data",
            "sensor",
            "calibrated_sensor",
            "ego_pose",
            "lidarseg",
            "category",
        )
    }
    tables["scene"].append({"token": "scene", "name": "scene-0061"})
    tables["sample"].append({"token": info["token"], "timestamp": 0, "scene_token": "scene"})
    world_from_ego = np.array(info["ego2global"], np.float64)
    ego_from_lidar = np.array(info["lidar_points"]["lidar2ego"], np.float64)
    travelled = {}

    def add(channel, path, pose, place, intrinsics, size):
        tables["sensor"].append({"token": channel, "channel": channel})
        tables["calibrated_sensor"].append(
            {"token": channel, "sensor_token": channel, "camera_intrinsic": intrinsics, **as_fields(place)}
        )
        tables["ego_pose"].append({"token": channel, **as_fields(pose)})
        names = ("token", "ego_pose_token", "calibrated_sensor_token")
        row = {**dict.fromkeys(names, channel), "sample_token": info["token"], "is_key_frame": True}
        tables["sample_data"].append({**row, "filename": path, "width": size[0], "height": size[1]})
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(folder / path)

    add("LIDAR_TOP", info["lidar_points"]["lidar_path"], world_from_ego, ego_from_lidar, [], (0, 0))
    for channel, own in info["images"].items():
        ego_from_camera = np.array(own["cam2ego"], np.float64)
        camera_from_lidar = np.array(own["lidar2cam"], np.float64)
        then_from_now = ego_from_camera @ camera_from_lidar @ np.linalg.inv(ego_from_lidar)
        travelled[channel] = (then_from_now[0, 3], info["timestamp"] - own["timestamp"])
        pose = world_from_ego @ np.linalg.inv(then_from_now)
        add(channel, own["img_path"], pose, ego_from_camera, own["cam2img"], (1600, 900))
    (root / "v1.0-mini").mkdir()
    for name, rows in tables.items():
        (root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    return root, travelled


def as_fields(rigid):
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rigid[:3, :3]).as_quat()
    return {"translation": rigid[:3, 3].tolist(), "rotation": [w, x, y, z]}


def test_lidar_and_camera_frames_are_inverse_of_each_other(tiny_toytown):
    camera = NuScenes(tiny_toytown)[0].cameras[0]
    lidar_from_camera = invert_rigid(camera.camera_from_lidar)
    # the front camera stands ahead of and a little below the lidar's place
    assert lidar_from_camera[0, 3] > 0.2 and abs(lidar_from_camera[1, 3]) < 0.3


def slow_registration(root, record, keyframe):
    """Carry a sweep's points into the keyframe's turned lidar frame one frame after another, in float64."""
    points = np.fromfile(root / record["filename"], np.float32).reshape(-1, 5)[:, :3].astype(np.float64)
    for step in (record["calibration"], record["pose"]):
        points = points @ rotation_matrix(step["rotation"]).T + step["translation"]
    for step in (keyframe["pose"], keyframe["calibration"]):
        points = (points - step["translation"]) @ rotation_matrix(step["rotation"])
    return np.stack([points[:, 1], -points[:, 0], points[:, 2]], 1)


def test_a_sweep_goes_through_its_own_sensor_and_pose_into_the_keyframe_as_the_tables_say(damaged):
    def lean(rows):
        """Give sweeps a sensor of their own, and a vehicle that pitches and rolls."""
        for row in rows:
            row["rotation"] = [0.9, 0.1, -0.3, 0.3]

    edit(damaged, "ego_pose", lambda rows: lean(rows[::3]))
    earlier, keyframe = lidar_records(damaged)[:2]
    edit(
        damaged,
        "calibrated_sensor",
        lambda rows: rows.append(earlier["calibration"] | {"token": "other", "translation": [0.5, 0.2, 2.0]}),
    )
    edit(
        damaged,
        "sample_data",
        lambda rows: [
            row.update(calibrated_sensor_token="other") for row in rows if row["token"] == earlier["token"]
        ],
    )
    earlier, keyframe = lidar_records(damaged)[:2]
    assert not earlier["is_key_frame"] and keyframe["is_key_frame"]
    (sweep,) = NuScenes(damaged, sweeps=2)[0].sweeps
    expected = slow_registration(damaged, earlier, keyframe)
    np.testing.assert_allclose(sweep.positions.numpy(), expected, atol=2e-5)
    raw = np.fromfile(damaged / earlier["filename"], np.float32).reshape(-1, 5)
    np.testing.assert_allclose(sweep.features[:, 0], raw[:, 3] / 255, atol=1e-6)


def test_a_still_world_registers_onto_itself_while_the_vehicle_drives_and_turns(tmp_path, monkeypatch):
    from clip2scene.toytown import sensors
    from clip2scene.toytown.town.world import build_town
    from clip2scene.toytown.writers.layouts import write_nuscenes
    from clip2scene.toytown.writers.recording import Recording

    exact = partial(sensors.lidar_sweep, range_noise=0.0)
    monkeypatch.setattr("clip2scene.toytown.writers.recording.lidar_sweep", exact)
    recording = Recording(keyframes_per_scene=1, width=32, height=16, azimuth_steps=120)
    write_nuscenes(tmp_path / "town", num_scenes=1, seed=2, recording=recording, workers=1)
    town = build_town(2_000_000)
    start, end = town.world_from_ego(0.05), town.world_from_ego(0.5)
    turned = math.degrees(math.acos(np.trace(end[:2, :2].T @ start[:2, :2]) / 2))
    assert turned > 0.5 and np.linalg.norm(end[:3, 3] - start[:3, 3]) > 2
    sample = NuScenes(tmp_path / "town", sweeps=10)[0]
    assert len(sample.sweeps) == 9
    world_from_cloud = end @ sensors.ego_from_lidar()
    snapshot = town.at(0.5)
    for back, sweep in enumerate(sample.sweeps, start=1):
        time_us = 500_000 - back * 50_000
        rng = np.random.default_rng([town.seed, 1, time_us])
        truth = exact(town, time_us / 1e6, rng, azimuth_steps=120)
        still = town.instances.starts[truth.instances, 4] == 0
        assert len(still) == len(sweep) and still.sum() > 2000
        points = sweep.positions.numpy()[still] @ world_from_cloud[:3, :3].T + world_from_cloud[:3, 3]
        assert distance_to_surface(snapshot, points).max() < 1e-3


def distance_to_surface(snapshot, points, reach=0.05):
    """Bound the distance of each point to the nearest surface, by rays through it along the axes."""
    nearest = np.full(len(points), np.inf)
    for axis in np.concatenate([np.eye(3), -np.eye(3)]):
        directions = np.tile(axis, (len(points), 1)).astype(np.float32)
        ray_hits = snapshot.cast((points - reach * axis).astype(np.float32), directions)
        nearest = np.minimum(nearest, np.abs(ray_hits.distances - reach))
    return nearest


def test_sweeps_stand_newest_first_between_the_keyframe_and_half_a_second_before():
    times = list(range(0, 2_000_000, 50_000))
    assert [times[place] for place in choose_sweeps(times, 1_000_000, 9)] == list(
        range(950_000, 500_000, -50_000)
    )
    assert [times[place] for place in choose_sweeps(times, 1_000_000, 4)] == [
        900_000,
        800_000,
        700_000,
        550_000,
    ]
    assert choose_sweeps(times, 0, 9) == []


def test_the_keyframe_alone_is_read_as_before(damaged):
    def spoil(rows):
        for row in rows:
            if not row["is_key_frame"]:
                row.update(calibrated_sensor_token="nowhere", ego_pose_token="nowhere", filename="/nowhere")
                del row["timestamp"]

    edit(damaged, "sample_data", spoil)
    assert NuScenes(damaged)[0].sweeps == ()
    with pytest.raises(ValueError, match="sample_data.json holds 2 records without a timestamp"):
        NuScenes(damaged, sweeps=2)


def test_a_sweep_whose_pose_is_no_rigid_motion_is_named(damaged):
    pose = lidar_records(damaged)[0]["ego_pose_token"]
    edit(
        damaged,
        "ego_pose",
        lambda rows: [r.update(rotation=[2, 0, 0, 0]) for r in rows if r["token"] == pose],
    )
    data = NuScenes(damaged, sweeps=2)
    with pytest.raises(
        ValueError, match=rf"sample {data.tokens[0]}: ego_pose.json, record {pose}: .*not a rigid"
    ):
        data[0]


def test_a_broken_sweep_and_a_broken_timestamp_are_named(damaged):
    data = NuScenes(damaged, sweeps=2)
    path = damaged / lidar_records(damaged)[0]["filename"]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=rf"sample {data.tokens[0]}: .*sweeps.*is truncated"):
        data[0]
    path.unlink()
    with pytest.raises(ValueError, match=rf"sample {data.tokens[0]}: .*sweeps.*is missing"):
        data[0]
    edit(damaged, "sample_data", lambda rows: [row.update(timestamp="noon") for row in rows])
    with pytest.raises(ValueError, match="sample_data.json .* without a timestamp that is a whole number"):
        NuScenes(damaged, sweeps=2)


def test_points_of_the_recording_vehicle_are_dropped_from_earlier_sweeps_only(damaged):
    whole = NuScenes(damaged, sweeps=2)[0]
    near = np.array([[0.5, -0.5, -1, 0, 0], [0.5, 1.5, -1, 0, 0], [-1.5, 0.5, -1, 0, 0]], "<f4")
    for record in lidar_records(damaged)[:2]:
        path = damaged / record["filename"]
        path.write_bytes(path.read_bytes() + near.tobytes())
    sample = NuScenes(damaged, sweeps=2, labels=False)[0]
    assert len(sample.cloud) == len(whole.cloud) + 3
    assert len(sample.sweeps[0]) == len(whole.sweeps[0]) + 2


@pytest.mark.parametrize(
    "content",
    [{"train": 3}, [["a"]], 3, {"train": [1]}, {"train": [["a"]]}, {"train": "scene-0001"}, {}, None],
)
def test_a_broken_list_of_splits_is_told_by_its_file(damaged, content):
    (damaged / VERSION / "splits.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"splits\.json") as caught:
        NuScenes(damaged)
    assert "\n" not in str(caught.value)
