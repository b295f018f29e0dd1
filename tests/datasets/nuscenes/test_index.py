import json
import os
import re
import shutil

import numpy as np
import pytest
import torch

from clip2scene.datasets.nuscenes import cache as nuscenes_cache
from clip2scene.datasets.nuscenes.cache import open_index
from clip2scene.datasets.nuscenes.index import CHANNELS, index_from_arrays, index_to_arrays
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.nuscenes.records import choose_sweeps, find_files
from clip2scene.datasets.nuscenes.tables import TABLES, build_index

VERSION = "v1.0-trainval"


@pytest.fixture
def town(tiny_toytown, tmp_path):
    """A toytown whose tables a test may change; they were written long ago."""
    return link_town(tiny_toytown, tmp_path / "town")


def link_town(source, root):
    """Copy the tables and link to the rest."""
    shutil.copytree(source / VERSION, root / VERSION)
    for folder in ("samples", "sweeps", "lidarseg"):
        (root / folder).symlink_to(source / folder)
    age(root / VERSION)
    return root


def age(tables, seconds=3600):
    """Set the tables' time of change back."""
    for path in tables.glob("*.json"):
        before = path.stat().st_mtime_ns - seconds * 10**9
        os.utime(path, ns=(before, before))


def edit(root, table, change):
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


@pytest.fixture
def forbid_tables(monkeypatch):
    """Let every reading of tables fail from the call on."""

    def forbid():
        monkeypatch.setattr(nuscenes_cache, "build_index", lambda *_, **__: pytest.fail("read the tables"))

    return forbid


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


def assert_same(sample, other):
    assert sample.token == other.token
    for cloud, another in zip((sample.cloud, *sample.sweeps), (other.cloud, *other.sweeps), strict=True):
        assert torch.equal(cloud.positions, another.positions)
        assert torch.equal(cloud.features, another.features)
    for view, (camera, another) in enumerate(zip(sample.cameras, other.cameras, strict=True)):
        assert (camera.name, camera.width, camera.height) == (another.name, another.width, another.height)
        assert torch.equal(camera.intrinsics, another.intrinsics)
        assert torch.equal(camera.camera_from_lidar, another.camera_from_lidar)
        assert torch.equal(sample.read_image(view), other.read_image(view))
    assert torch.equal(sample.labels, other.labels)


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


def test_an_index_of_changed_tables_is_made_anew(town, tmp_path):
    def open_towns():
        return NuScenes(town, split=None, index_folder=tmp_path / "cache")

    before = open_towns().tokens
    path = town / VERSION / "sample.json"
    changed = path.read_text().replace(before[0][:8], "feedbeef")
    assert len(changed) == path.stat().st_size  # the same size, another time
    path.write_text(changed)
    data = town / VERSION / "sample_data.json"
    data.write_text(data.read_text().replace(before[0][:8], "feedbeef"))
    age(town / VERSION)
    assert open_towns().tokens == (f"feedbeef{before[0][8:]}", *before[1:])
    path.unlink()
    with pytest.raises(ValueError, match=r"sample\.json is missing"):
        open_towns()


@pytest.mark.parametrize(
    "damage", ["cut", "flip", "empty", "nonsense", "array", "pickle", "positions", "missing column"]
)
def test_a_damaged_index_is_made_anew(town, tmp_path, damage, caplog):
    cache = tmp_path / "cache"
    expected = NuScenes(town, split=None, index_folder=cache)
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    with np.load(path) as loaded:
        arrays = dict(loaded)
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[content.index(b"samples/LIDAR_TOP") + 3] ^= 4
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "nonsense":
        path.write_bytes(b"nonsense")
    elif damage == "array":
        with path.open("wb") as file:
            np.save(file, arrays["pose"])
    elif damage == "pickle":
        np.savez(path, **arrays | {"pose": np.array([{}], dtype=object)})
    elif damage == "positions":
        np.savez(path, **arrays | {"file_sample": arrays["file_sample"] + 1})
    else:
        np.savez(path, **{name: array for name, array in arrays.items() if name != "file_size"})
    again = NuScenes(town, split=None, index_folder=cache)
    assert "is damaged; it is made anew" in caplog.text
    for number in range(4):
        assert_same(again[number], expected[number])
    caplog.clear()
    open_index(town / VERSION, cache)
    assert not caplog.text, "the new file is whole"


def test_whatever_bits_of_an_index_file_flip_it_is_as_it_was_or_made_anew(town, tmp_path):
    tables, cache = town / VERSION, tmp_path / "cache"
    expected = index_to_arrays(open_index(tables, cache))
    (path,) = cache.iterdir()
    content = path.read_bytes()
    signature = nuscenes_cache._signature(tables)
    generator, damaged = np.random.default_rng(0), 0
    headers = [at for at in range(len(content)) if content[at : at + 4] in (b"PK\x03\x04", b"PK\x01\x02")]
    near_headers = [at + offset for at in headers for offset in generator.integers(0, 120, 12)]
    anywhere = generator.integers(0, len(content), 100)
    encrypted = [headers[-1] + 8]  # a flag that makes the archive ask for a password
    for place in [*encrypted, *near_headers, *anywhere]:
        changed = bytearray(content)
        changed[min(place, len(content) - 1)] ^= 1 if place in encrypted else 1 << generator.integers(8)
        path.write_bytes(changed)
        found = nuscenes_cache._read(path, signature)
        if found is None:
            damaged += 1
        else:
            for name, array in index_to_arrays(found).items():
                assert np.array_equal(array, expected[name])
    assert damaged > 200


def test_a_table_from_the_future_is_told_as_it_keeps_the_index_from_being_written(town, tmp_path, caplog):
    path = town / VERSION / "scene.json"
    later = path.stat().st_mtime_ns + 2 * 3600 * 10**9
    os.utime(path, ns=(later, later))
    assert len(open_index(town / VERSION, tmp_path / "cache").scenes) == 2
    assert "scene.json was changed in the future" in caplog.text and not (tmp_path / "cache").exists()


def test_small_tables_leave_no_file_and_large_ones_one_beside_them(town, monkeypatch, forbid_tables):
    monkeypatch.delenv(nuscenes_cache.FOLDER_VARIABLE, raising=False)
    before = sorted((town / VERSION).iterdir())
    NuScenes(town)
    assert sorted((town / VERSION).iterdir()) == before
    monkeypatch.setattr(nuscenes_cache, "SMALLEST_BYTES", 0)
    NuScenes(town)
    beside = town / VERSION / nuscenes_cache.BESIDE
    assert sorted((town / VERSION).iterdir()) == sorted([*before, beside])
    forbid_tables()
    assert len(NuScenes(town)) == 2


def test_tables_that_have_just_been_written_are_not_trusted_to_stay(town, tmp_path):
    (town / VERSION / "scene.json").touch()
    NuScenes(town, index_folder=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_index_goes_where_one_says_or_where_one_may_write(town, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(nuscenes_cache, "SMALLEST_BYTES", 0)
    monkeypatch.setattr(nuscenes_cache, "BESIDE", "scene.json/index.npz")  # no folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(nuscenes_cache.FOLDER_VARIABLE, raising=False)
    NuScenes(town)
    assert "cannot be written" in caplog.text
    assert len(list((tmp_path / "home" / "clip2scene").iterdir())) == 1
    monkeypatch.setenv(nuscenes_cache.FOLDER_VARIABLE, str(tmp_path / "named"))
    NuScenes(town)
    assert len(list((tmp_path / "named").iterdir())) == 1
    monkeypatch.setenv(nuscenes_cache.FOLDER_VARIABLE, str(town / VERSION / "scene.json"))
    caplog.clear()
    assert len(NuScenes(town)) == 2
    assert "cannot be written" in caplog.text


def test_another_data_set_has_an_index_of_its_own(town, tiny_toytown, tmp_path):
    other = link_town(tiny_toytown, tmp_path / "other")
    edit(other, "scene", lambda rows: rows[0].update(name="scene-7777"))
    age(other / VERSION)
    for root, scene in ((town, "scene-0001"), (other, "scene-7777")) * 2:
        assert NuScenes(root, split=None, index_folder=tmp_path / "cache").scenes[0] == scene
    assert len(list((tmp_path / "cache").iterdir())) == 2


FIELDS = {
    "scene": ("token", "name"),
    "sample": ("token", "timestamp", "scene_token"),
    "sensor": ("token", "channel"),
    "calibrated_sensor": ("token", "sensor_token", "translation", "rotation", "camera_intrinsic"),
    "ego_pose": ("token", "translation", "rotation"),
    "sample_data": (
        *("token", "sample_token", "ego_pose_token", "calibrated_sensor_token", "timestamp"),
        *("is_key_frame", "filename", "width", "height"),
    ),
    "lidarseg": ("sample_data_token", "filename"),
    "category": ("index", "name"),
}
WRONG = (None, True, -7, 2**70, 1.5, "", "no such", "\ud800", [], [None] * 3, [1e400] * 4, {}, [[{}]])


def look_at_everything(root):
    data = NuScenes(root, split=None, sweeps=2)
    return [sample for sample in data if sample.read_image(0).any()]


@pytest.mark.parametrize(("table", "field"), [(table, field) for table in FIELDS for field in FIELDS[table]])
def test_a_field_of_a_wrong_type_is_one_clear_error_or_changes_nothing(town, table, field):
    truth = look_at_everything(town)
    original = json.loads((town / VERSION / f"{table}.json").read_text())
    refused = 0
    named = rf"\b{table}(\.json)?\b" + ("|/no such cannot be read" if field == "filename" else "")
    for value in WRONG:
        wrong = [dict(row) for row in original]
        for row in wrong:
            row[field] = value
        (town / VERSION / f"{table}.json").write_text(json.dumps(wrong))
        try:
            found = look_at_everything(town)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error).strip() and len(str(error)) > 30
            assert re.search(named, str(error)), (value, str(error))
        else:
            for sample, other in zip(found, truth, strict=True):
                assert_same(sample, other)
    assert refused >= len(WRONG) - 2


@pytest.mark.parametrize("table", FIELDS)
def test_a_table_cut_short_or_gone_or_of_another_kind_is_named(town, table):
    path = town / VERSION / f"{table}.json"
    content = path.read_bytes()
    places = np.random.default_rng(0).integers(0, len(content) - 3, 15)
    for wrong in (*(content[:at] for at in places), b"{}", b"3", b"[3]", b"[[]]", b"\x00" * 50):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=rf"{table}\.json"):
            NuScenes(town, split=None, version=VERSION)
    path.unlink()
    with pytest.raises(ValueError, match=rf"{table}\.json is missing"):
        NuScenes(town, split=None, version=VERSION)


@pytest.mark.parametrize(
    "table", ["scene", "sample", "sensor", "calibrated_sensor", "ego_pose", "sample_data"]
)
def test_a_token_that_stands_twice_is_refused(town, table):
    token = json.loads((town / VERSION / f"{table}.json").read_text())[0]["token"]
    edit(town, table, lambda rows: rows.append(dict(rows[0])))
    with pytest.raises(ValueError, match=rf"{table}\.json.*{token}"):
        NuScenes(town)


@pytest.mark.parametrize(
    ("table", "field", "target"),
    [
        ("sample", "scene_token", "scene"),
        ("sample_data", "sample_token", "sample"),
        ("calibrated_sensor", "sensor_token", "sensor"),
    ],
)
def test_a_reference_to_nowhere_is_refused_instead_of_leaving_samples_out(town, table, field, target):
    edit(town, table, lambda rows: rows[-1].update({field: "lost"}))
    with pytest.raises(ValueError, match=rf"{table}\.json.*'lost', which {target}\.json lacks"):
        NuScenes(town, scenes=["scene-0001"])


@pytest.mark.parametrize(
    ("table", "field"),
    [("scene", "token"), ("scene", "name"), ("sample", "token"), ("sensor", "token")]
    + [("calibrated_sensor", "token"), ("lidarseg", "filename")]
    + [("sample_data", field) for field in ("token", "filename", "ego_pose_token")],
)
def test_half_a_character_is_told_with_the_table_and_record_that_hold_it(town, table, field):
    edit(town, table, lambda rows: rows[0].update({field: "half \ud800"}))
    with pytest.raises(ValueError, match=rf"record 0 of .*{table}\.json is damaged"):
        NuScenes(town, split=None)


def test_a_channel_that_is_missing_is_told_of_the_table_of_sensors(town):
    def misspell(rows):
        for row in rows:
            row["channel"] = row["channel"].replace("CAM_BACK_LEFT", "CAM_BACK_LEF")

    edit(town, "sensor", misspell)
    with pytest.raises(ValueError, match=r"sensor\.json has no channel CAM_BACK_LEFT; expected LIDAR_TOP, "):
        NuScenes(town)


def test_two_keyframes_or_label_files_or_scenes_of_one_name_are_refused(town):
    edit(town, "scene", lambda rows: [row.update(name="scene-0001") for row in rows])
    with pytest.raises(ValueError, match="several scenes of one name"):
        NuScenes(town)
    edit(town, "scene", lambda rows: rows[1].update(name="scene-0002"))
    edit(town, "lidarseg", lambda rows: rows.append(dict(rows[0])))
    with pytest.raises(ValueError, match="two label files"):
        NuScenes(town)
    edit(
        town,
        "sample_data",
        lambda rows: rows.append(next(r for r in rows if r["is_key_frame"]) | {"token": "n"}),
    )
    with pytest.raises(ValueError, match="more than one keyframe of LIDAR_TOP for sample"):
        NuScenes(town)


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
