"""A drive in nuScenes' layout: every row and every file that the tables name."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from clip2scene.classes.tables import NUSCENES, NUSCENES_CATEGORIES
from clip2scene.toytown.writers.nuscenes_drive import MAP_EDGE_M

VERSION = "v1.0-trainval"
FIELDS = {  # every field that nuScenes' schema knows
    "attribute": "token name description",
    "calibrated_sensor": "token sensor_token translation rotation camera_intrinsic",
    "category": "token name description index",
    "ego_pose": "token translation rotation timestamp",
    "instance": "token category_token nbr_annotations first_annotation_token last_annotation_token",
    "lidarseg": "token sample_data_token filename",
    "log": "token logfile vehicle date_captured location",
    "map": "token log_tokens category filename",
    "sample": "token timestamp scene_token next prev",
    "sample_annotation": "token sample_token instance_token attribute_tokens visibility_token translation "
    "size rotation num_lidar_pts num_radar_pts next prev",
    "sample_data": "token sample_token ego_pose_token calibrated_sensor_token filename fileformat width "
    "height timestamp is_key_frame next prev",
    "scene": "token name description log_token nbr_samples first_sample_token last_sample_token",
    "sensor": "token channel modality",
    "visibility": "token level description",
}


@pytest.fixture(scope="module")
def tables(tiny_toytown):
    found = {}
    for name in FIELDS:
        rows = json.loads((tiny_toytown / VERSION / f"{name}.json").read_text())
        found[name] = {row["token"]: row for row in rows}
        assert len(found[name]) == len(rows), f"tokens of {name} repeat"
    return found


@pytest.mark.parametrize("name", FIELDS)
def test_every_row_has_exactly_the_fields_of_the_schema(tables, name):
    assert tables[name], "an empty table proves nothing"
    for row in tables[name].values():
        assert set(row) == set(FIELDS[name].split())


def test_every_token_that_a_row_names_exists(tables):
    named = 0
    for name, rows in tables.items():
        for row in rows.values():
            for field, value in row.items():
                if field in ("next", "prev"):
                    assert value == "" or value in rows, (name, field)
                elif field.endswith("_token") or field.endswith("_tokens"):
                    target = re.sub(r"^(first|last)_", "", field).rsplit("_token", 1)[0]
                    target = {"annotation": "sample_annotation"}.get(target, target)
                    for token in value if isinstance(value, list) else [value]:
                        assert token in tables[target], (name, field)
                        named += 1
    assert named > 100


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("sample", "scene_token"),
        ("sample_data", "calibrated_sensor_token"),
        ("sample_annotation", "instance_token"),
    ],
)
def test_chains_run_through_all_rows_of_a_group_in_order_of_time(tables, name, group):
    rows = tables[name]
    heads = [row for row in rows.values() if row["prev"] == ""]
    assert len(heads) == len({row[group] for row in rows.values()})
    visited = 0
    for head in heads:
        row, before = head, None
        while True:
            visited += 1
            if before is not None:
                assert row["prev"] == before["token"] and row[group] == before[group]
                assert when(tables, name, row) > when(tables, name, before)
            if row["next"] == "":
                break
            before, row = row, rows[row["next"]]
    assert visited == len(rows)


def when(tables, name, row):
    return (
        tables["sample"][row["sample_token"]]["timestamp"]
        if name == "sample_annotation"
        else row["timestamp"]
    )


def test_counts_and_ends_of_scenes_and_instances_are_true(tables):
    for scene in tables["scene"].values():
        mine = [row for row in tables["sample"].values() if row["scene_token"] == scene["token"]]
        mine.sort(key=lambda row: row["timestamp"])
        assert scene["nbr_samples"] == len(mine) == 2
        assert [scene["first_sample_token"], scene["last_sample_token"]] == [
            mine[0]["token"],
            mine[-1]["token"],
        ]
    for instance in tables["instance"].values():
        mine = [
            row for row in tables["sample_annotation"].values() if row["instance_token"] == instance["token"]
        ]
        assert instance["nbr_annotations"] == len(mine)


def test_the_32_lidarseg_categories_stand_at_their_index(tables):
    names = sorted((row["index"], row["name"]) for row in tables["category"].values())
    assert names == list(enumerate(NUSCENES_CATEGORIES))


def test_every_file_of_the_tables_is_there_and_whole(tiny_toytown, tables):
    for row in tables["sample_data"].values():
        path = tiny_toytown / row["filename"]
        assert path.parts[-3] == ("samples" if row["is_key_frame"] else "sweeps")
        if row["fileformat"] == "jpg":
            with Image.open(path) as image:
                assert image.size == (row["width"], row["height"]) == (160, 96)
        else:
            assert path.stat().st_size % 20 == 0 and path.stat().st_size > 20_000
    for row in tables["lidarseg"].values():
        cloud = tiny_toytown / tables["sample_data"][row["sample_data_token"]]["filename"]
        labels = np.fromfile(tiny_toytown / row["filename"], np.uint8)
        assert len(labels) * 20 == cloud.stat().st_size
        known = set(NUSCENES.train_id_of_raw)
        assert np.isin(labels, [0, *known]).all() and len(set(labels.tolist()) & known) >= 5
    listed = {row["filename"] for row in tables["sample_data"].values()}
    there = {str(path.relative_to(tiny_toytown)) for path in tiny_toytown.glob("s[aw]*/*/*")}
    assert there == listed


def test_sweeps_fill_the_time_before_each_keyframe_at_20_hertz(tables):
    lidar = [row for row in tables["sample_data"].values() if row["fileformat"] == "pcd"]
    sweeps = [row for row in lidar if not row["is_key_frame"]]
    assert len(lidar) == 8 and len(sweeps) == 4
    for row in sweeps:
        assert tables["sample"][row["sample_token"]]["timestamp"] - row["timestamp"] == 50_000


def test_cameras_take_their_images_at_different_times_before_the_sweep_ends(tables):
    for sample in tables["sample"].values():
        lead = [
            sample["timestamp"] - row["timestamp"]
            for row in tables["sample_data"].values()
            if row["sample_token"] == sample["token"] and row["fileformat"] == "jpg"
        ]
        assert len(set(lead)) == 6 and min(lead) >= 0 and max(lead) < 50_000


def test_lidar_files_keep_to_nuscenes_axes_and_numbers(tiny_toytown, tables):
    for row in tables["sample_data"].values():
        if row["fileformat"] != "pcd":
            continue
        cloud = np.fromfile(tiny_toytown / row["filename"], np.float32).reshape(-1, 5)
        assert np.isfinite(cloud).all()
        assert (cloud[:, 3] == np.round(cloud[:, 3])).all() and 0 <= cloud[:, 3].min() <= cloud[
            :, 3
        ].max() <= 255
        assert set(cloud[:, 4].astype(int).tolist()) <= set(range(32))
        calibration = tables["calibrated_sensor"][row["calibrated_sensor_token"]]
        # a turn of a quarter: the sensor's y axis is the vehicle's x axis
        np.testing.assert_allclose(np.abs(calibration["rotation"]), [0.5**0.5, 0, 0, 0.5**0.5], atol=1e-6)


def test_the_points_of_a_box_lie_in_it(tiny_toytown, tables):
    sensors = {row["token"]: row["channel"] for row in tables["sensor"].values()}
    checked = 0
    for row in tables["sample_data"].values():
        calibration = tables["calibrated_sensor"][row["calibrated_sensor_token"]]
        if not row["is_key_frame"] or sensors[calibration["sensor_token"]] != "LIDAR_TOP":
            continue
        points = np.fromfile(tiny_toytown / row["filename"], np.float32).reshape(-1, 5)[:, :3].astype(float)
        for step in (calibration, tables["ego_pose"][row["ego_pose_token"]]):
            points = points @ matrix(step["rotation"]).T + step["translation"]
        for box in tables["sample_annotation"].values():
            if box["sample_token"] != row["sample_token"] or box["num_lidar_pts"] < 10:
                continue
            own = (points - box["translation"]) @ matrix(box["rotation"])
            width, length, height = box["size"]
            inside = (np.abs(own) <= np.array([length, width, height]) / 2 + 0.15).all(axis=1)
            if inside.sum() >= 0.8 * box["num_lidar_pts"]:
                checked += 1
            else:  # a thing that drove on while the lidar turned
                attributes = [tables["attribute"][token]["name"] for token in box["attribute_tokens"]]
                assert any(name.endswith(("moving", "with_rider")) for name in attributes)
    assert checked >= 5


def matrix(wxyz):
    w, x, y, z = wxyz
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_the_map_shows_road_where_the_vehicle_drives(tiny_toytown, tables):
    for row in tables["map"].values():
        mask = np.asarray(Image.open(tiny_toytown / row["filename"]))
        assert mask.shape == (MAP_EDGE_M * 10, MAP_EDGE_M * 10) and mask.dtype == np.uint8
        assert 0 < (mask == 255).mean() < 0.2 and set(np.unique(mask)) == {0, 255}
    for pose in tables["ego_pose"].values():
        assert all(0 < metres < MAP_EDGE_M for metres in pose["translation"][:2])


def test_ground_truth_labels_have_the_size_of_the_image(tiny_toytown):
    pictures = sorted((tiny_toytown / "groundtruth").glob("*/*.png"))
    assert len(pictures) == 24
    labels = np.asarray(Image.open(pictures[0]))
    assert labels.shape == (96, 160)
    assert set(np.unique(labels).tolist()) <= {*range(16), 255}
