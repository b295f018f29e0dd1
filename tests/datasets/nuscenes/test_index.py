import json

import numpy as np
import pytest
from tests.datasets.nuscenes.conftest import VERSION, assert_same, edit

from clip2scene.datasets.nuscenes.cache import open_index
from clip2scene.datasets.nuscenes.index import CHANNELS, index_from_arrays, index_to_arrays
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.nuscenes.records import choose_sweeps, find_files
from clip2scene.datasets.nuscenes.tables import TABLES, build_index


def slow_files(tables, scenes, sweeps):
    """Find the files of each keyframe and its earlier sweeps in tables read whole, record by record."""
    rows = {
        name: {row["token"]: row for row in json.loads((tables / f"{name}.json").read_text())}
        for name in TABLES
    }
    scene_order = [token for token, row in rows["scene"].items() if row["name"] in scenes]
    samples = [row for row in rows["sample"].values() if row["scene_token"] in scene_order]
    samples.sort(key=lambda row: (scene_order.index(row["scene_token"]), row["timestamp"]))
    scene_of = {row["token"]: row["scene_token"] for row in samples}
    keyframes = {token: {} for token in scene_of}
    turns = {token: [] for token in scene_order}
    for row in rows["sample_data"].values():
        calibration = rows["calibrated_sensor"][row["calibrated_sensor_token"]]
        channel = rows["sensor"][calibration["sensor_token"]]["channel"]
        pose = rows["ego_pose"][row["ego_pose_token"]]
        fields = {key: row[key] for key in ("token", "filename", "width", "height", "timestamp")}
        mount = {key: calibration[key] for key in ("token", "translation", "rotation", "camera_intrinsic")}
        way = {key: pose[key] for key in ("token", "translation", "rotation")}
        if row["sample_token"] in scene_of and channel in CHANNELS:
            found = fields | {"calibration": mount, "ego_pose": way}
            if row["is_key_frame"]:
                keyframes[row["sample_token"]][channel] = found
            if channel == "LIDAR_TOP":
                turns[scene_of[row["sample_token"]]].append(found)
    answers = []
    for token, files in keyframes.items():
        history = sorted(turns[scene_of[token]], key=lambda row: row["timestamp"])
        times = [row["timestamp"] for row in history]
        chosen = choose_sweeps(times, files["LIDAR_TOP"]["timestamp"], sweeps - 1)
        answers.append((token, files, [history[number] for number in chosen]))
    return answers


def files_by_index(index, tables, scenes, sweeps):
    """Find the same by way of an index."""
    samples = [n for n, scene in enumerate(index.sample_scene) if index.scenes[scene] in scenes]
    keyframes, earlier = find_files(index, np.array(samples), tables, sweeps=sweeps)

    def record(number):
        row = index.record(int(number)) | {"timestamp": int(index.file_time_us[number])}
        row["calibration"] = {
            key: row["calibration"][key] for key in row["calibration"] if key != "sensor_token"
        }
        return row

    return [
        (
            index.sample_token[sample],
            {CHANNELS[at]: record(number) for at, number in enumerate(own) if number >= 0},
            [record(number) for number in before if number >= 0],
        )
        for sample, own, before in zip(samples, keyframes, earlier, strict=True)
    ]


def through_a_file(index):
    """Lay an index out and take it up again."""
    return index_from_arrays(index_to_arrays(index))


@pytest.mark.parametrize("sweeps", [1, 2])
def test_an_index_gives_what_the_tables_say_record_by_record(tiny_toytown, sweeps):
    tables = tiny_toytown / VERSION
    index = build_index(tables)
    for scenes in ({"scene-0001"}, {"scene-0001", "scene-0002"}):
        truth = slow_files(tables, scenes, sweeps)
        assert files_by_index(index, tables, scenes, sweeps) == truth
        assert files_by_index(through_a_file(index), tables, scenes, sweeps) == truth


def make_tables(tables, seed):
    """Write tables of several scenes: shuffled, with radars, shared poses, odd names."""
    generator = np.random.default_rng(seed)
    channels = [*CHANNELS, "RADAR_FRONT"]
    rows = {name: [] for name in TABLES}
    rows["sensor"] = [{"token": f"sensor {each}", "channel": each} for each in channels]
    for number in range(3):
        rows["scene"].append({"token": f"scene {number}", "name": f"scene-{9 - number}"})
        for each in channels:
            rows["calibrated_sensor"].append(
                {
                    "token": f"{number} {each}",
                    "sensor_token": f"sensor {each}",
                    **numbers(generator),
                    "camera_intrinsic": generator.random((3, 3)).tolist() if each.startswith("CAM") else [],
                }
            )
        for step in range(4):
            token = f"{number}-{step}-sample"
            rows["sample"].append(
                {"token": token, "timestamp": 500_000 * step, "scene_token": f"scene {number}"}
            )
            for each in channels:
                for back in range(10 if each == "LIDAR_TOP" else 2):
                    time = 10_000_000 + 500_000 * step - 50_000 * back + int(generator.integers(20_000))
                    file = f"{token} {each} {back} Zürich"
                    rows["sample_data"].append(
                        {
                            "token": file,
                            "sample_token": token,
                            "ego_pose_token": file if back else f"{number} {step}",
                            "calibrated_sensor_token": f"{number} {each}",
                            "timestamp": time,
                            "is_key_frame": back == 0,
                            "filename": f"samples/{file}",
                            "width": 16,
                            "height": None if each == "LIDAR_TOP" else 9,
                        }
                    )
    poses = {row["ego_pose_token"] for row in rows["sample_data"]}
    rows["ego_pose"] = [{"token": token, **numbers(generator)} for token in sorted(poses)]
    tables.mkdir()
    for name, table in rows.items():
        order = generator.permutation(len(table)) if name != "scene" else range(len(table))
        (tables / f"{name}.json").write_text(json.dumps([table[at] for at in order], ensure_ascii=False))


def numbers(generator):
    return {"translation": generator.normal(size=3).tolist(), "rotation": generator.normal(size=4).tolist()}


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_tables_with_many_sweeps_give_the_same_files(tmp_path, seed):
    tables = tmp_path / VERSION
    make_tables(tables, seed)
    index = through_a_file(build_index(tables))
    for sweeps in (1, 2, 5, 10):
        for scenes in ({"scene-8"}, {"scene-7", "scene-9"}):
            truth = slow_files(tables, scenes, sweeps)
            for _, files, earlier in truth:  # a lidar has no size
                for row in [files["LIDAR_TOP"], *earlier]:
                    row["height"] = 0
            assert sum(len(earlier) for *_, earlier in truth) >= (sweeps - 1) * 4 * len(scenes) * 0.8
            assert files_by_index(index, tables, scenes, sweeps) == truth


def test_every_sample_is_the_same_from_the_tables_and_from_the_index_file(town, tmp_path, forbid_tables):
    fresh = {sweeps: NuScenes(town, split=None, sweeps=sweeps) for sweeps in (1, 2)}
    open_index(town / VERSION, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("nuscenes-*.npz"))) == 1
    forbid_tables()
    for sweeps, data in fresh.items():
        cached = NuScenes(town, split=None, sweeps=sweeps, index_folder=tmp_path / "cache")
        assert cached.tokens == data.tokens and cached.scenes == data.scenes and len(cached) == 4
        for number in range(len(data)):
            assert len(data[number].sweeps) == sweeps - 1
            assert_same(cached[number], data[number])


@pytest.mark.parametrize("path", ["/etc/passwd", "samples/../../secret", "a\\b", "nul\0l"])
def test_paths_that_leave_the_folder_are_refused_for_labels_and_sweeps_too(town, path):
    edit(town, "lidarseg", lambda rows: [row.update(filename=path) for row in rows])
    with pytest.raises(ValueError, match="expected a path inside"):
        NuScenes(town)[0]
    edit(
        town,
        "sample_data",
        lambda rows: [row.update(filename=path) for row in rows if not row["is_key_frame"]],
    )
    with pytest.raises(ValueError, match="expected a path inside"):
        NuScenes(town, sweeps=2, labels=False)[0]
