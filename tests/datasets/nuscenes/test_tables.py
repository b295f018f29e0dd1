import json
import re

import numpy as np
import pytest
from tests.datasets.nuscenes.conftest import VERSION, assert_same, edit

from clip2scene.datasets.nuscenes.loader import NuScenes

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
    named = rf"\b{table}(\.json)?\b" + ("|/no such is missing" if field == "filename" else "")
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
