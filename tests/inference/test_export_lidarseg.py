import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from clip2scene import cli
from clip2scene.classes.tables import CITYSCAPES, NUSCENES, TOYTOWN
from clip2scene.config import to_dict
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.inference import export_lidarseg as module
from clip2scene.inference.export_kitti import predictions
from clip2scene.inference.export_lidarseg import challenge_ids, export_lidarseg
from clip2scene.runs.run import open_run

CHALLENGE = {
    **{1: "barrier", 2: "bicycle", 3: "bus", 4: "car", 5: "construction vehicle", 6: "motorcycle"},
    **{7: "pedestrian", 8: "traffic cone", 9: "trailer", 10: "truck", 11: "driveable surface"},
    **{12: "other flat", 13: "sidewalk", 14: "terrain", 15: "manmade", 16: "vegetation"},
}
"""As the challenge's rules list them."""


@pytest.fixture
def val(tiny_toytown):
    return NuScenes(tiny_toytown, split="val", labels=False, class_set=TOYTOWN)


@pytest.fixture
def submission(tiny_run, tiny_toytown, tmp_path):
    """A whole submission, which a test may break."""
    export_lidarseg(tiny_run, data_root=tiny_toytown, split="val", out=tmp_path / "out")
    return tmp_path / "out"


def lidar_keyframes(root, scene):
    """Find tokens and clouds of a scene's lidar keyframes in the tables."""
    tables = {
        name: json.loads((root / "v1.0-trainval" / f"{name}.json").read_text())
        for name in ("scene", "sample", "sample_data")
    }
    (scene_token,) = (row["token"] for row in tables["scene"] if row["name"] == scene)
    samples = {row["token"] for row in tables["sample"] if row["scene_token"] == scene_token}
    return {
        row["token"]: root / row["filename"]
        for row in tables["sample_data"]
        if row["sample_token"] in samples and row["is_key_frame"] and "LIDAR_TOP" in row["filename"]
    }


def test_class_numbers_are_the_challenges():
    assert [CHALLENGE[number] for number in challenge_ids(NUSCENES).tolist()] == list(NUSCENES.classes)
    assert [CHALLENGE[number] for number in challenge_ids(TOYTOWN).tolist()] == list(TOYTOWN.classes)
    with pytest.raises(ValueError, match="the challenge has no class road, "):
        challenge_ids(CITYSCAPES)


def test_a_submission_has_one_byte_a_point_for_every_keyframe_and_declares_its_inputs(
    submission, tiny_run, tiny_toytown, val
):
    clouds = lidar_keyframes(tiny_toytown, "scene-0002")
    files = {path.name: path for path in (submission / "lidarseg" / "val").iterdir()}
    assert set(files) == {f"{token}_lidarseg.bin" for token in clouds} and len(files) == 2
    predicted = dict(predictions(open_run(tiny_run), val))
    token_of_cloud = {path: token for token in val.tokens for _, path in [val.lidar_file(token)]}
    for token, cloud in clouds.items():
        labels = np.fromfile(files[f"{token}_lidarseg.bin"], np.uint8)
        assert len(labels) == cloud.stat().st_size // 20
        assert [CHALLENGE[label] for label in labels.tolist()] == [
            TOYTOWN.classes[label] for label in predicted[token_of_cloud[cloud]].tolist()
        ]
    assert json.loads((submission / "val" / "submission.json").read_text()) == {
        "meta": {
            "use_camera": False,
            "use_lidar": True,
            "use_radar": False,
            "use_map": False,
            "use_external": True,
        }
    }


def test_an_interrupted_export_goes_on_where_it_stopped(
    tiny_run, tiny_toytown, tmp_path, monkeypatch, submission, val
):
    asked = []

    def stumble(run, dataset, numbers):
        asked.append(list(numbers))
        for count, each in enumerate(predictions(run, dataset, numbers)):
            if count == 1 and len(asked) == 1:
                raise KeyboardInterrupt
            yield each

    monkeypatch.setattr(module, "predictions", stumble)
    out = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        export_lidarseg(tiny_run, data_root=tiny_toytown, split="val", out=out)
    assert len(list((out / "lidarseg" / "val").iterdir())) == 1 and not (out / "val").exists()
    counts = export_lidarseg(tiny_run, data_root=tiny_toytown, split="val", out=out, use_external=False)
    assert asked == [[0, 1], [1]]
    for path in (submission / "lidarseg" / "val").iterdir():
        assert (out / "lidarseg" / "val" / path.name).read_bytes() == path.read_bytes()
    assert counts[0] == 0 and counts.sum() == sum(len(val[number].cloud) for number in range(2))
    assert not json.loads((out / "val" / "submission.json").read_text())["meta"]["use_external"]


def test_what_a_killed_export_left_half_written_is_not_submitted(submission, tiny_run, tiny_toytown):
    leftover = submission / "lidarseg" / "val" / ".partial-k2b1.bin"
    leftover.write_bytes(b"\x01")
    counts = export_lidarseg(tiny_run, data_root=tiny_toytown, split="val", out=submission)
    assert counts.sum() > 0 and not leftover.exists()
    assert len(list((submission / "lidarseg" / "val").iterdir())) == 2


def test_another_runs_predictions_are_not_mixed_in(submission, tiny_run, tiny_toytown, tmp_path):
    other = shutil.copytree(tiny_run, tmp_path / "other")
    recipe = to_dict(replace(open_run(other).recipe, seed=77))
    (other / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(ValueError, match="predictions of another run"):
        export_lidarseg(other, data_root=tiny_toytown, split="val", out=submission)
    export_lidarseg(tiny_run, data_root=tiny_toytown, split="train", out=submission)  # lies beside the other
    (submission / "export.json").unlink()
    with pytest.raises(ValueError, match="holds lidarseg that no export wrote"):
        export_lidarseg(tiny_run, data_root=tiny_toytown, split="val", out=submission)


def test_a_run_of_another_layout_is_refused(tiny_run, tiny_toytown, tmp_path):
    other = shutil.copytree(tiny_run, tmp_path / "other")
    run = open_run(other)
    recipe = to_dict(replace(run.recipe, data=replace(run.recipe.data, layout="pandaset", classes="own")))
    (other / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(ValueError, match="layout 'pandaset'; the challenge is nuScenes'"):
        export_lidarseg(other, data_root=tiny_toytown, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda labels: labels[:-1], r"holds \d+ labels, but .* \d+ points"),
        (lambda labels: b"\x00" + labels[1:], r"classes outside 1\.\.16"),
        (lambda labels: b"\x11" + labels[1:], r"classes outside 1\.\.16"),
        (lambda labels: b"", "is empty"),
    ],
)
def test_a_submission_whose_labels_the_challenge_would_refuse_is_not_described(
    submission, tiny_run, tiny_toytown, change, fault
):
    description = submission / "val" / "submission.json"
    description.unlink()
    path = sorted((submission / "lidarseg" / "val").iterdir())[1]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=fault):
        export_lidarseg(tiny_run, data_root=tiny_toytown, split="val", out=submission)
    assert not description.exists()


def test_labels_of_other_samples_are_noticed(submission, tiny_run, tiny_toytown):
    (submission / "lidarseg" / "val" / "feedbeef_lidarseg.bin").write_bytes(b"\x01")
    with pytest.raises(ValueError, match="feedbeef_lidarseg.bin is of no keyframe of split 'val'"):
        export_lidarseg(tiny_run, data_root=tiny_toytown, split="val", out=submission)


def test_names_that_lead_out_of_the_submission_are_refused(tiny_run, tiny_toytown, tmp_path):
    root = tmp_path / "town"
    shutil.copytree(tiny_toytown / "v1.0-trainval", root / "v1.0-trainval")
    for folder in ("samples", "sweeps"):
        (root / folder).symlink_to(tiny_toytown / folder)
    (root / "v1.0-trainval" / "splits.json").write_text(json.dumps({"../val": ["scene-0002"]}))
    with pytest.raises(ValueError, match="cannot name a file of a submission"):
        export_lidarseg(tiny_run, data_root=root, split="../val", out=tmp_path / "out")
    path = root / "v1.0-trainval" / "sample_data.json"
    token = next(iter(lidar_keyframes(root, "scene-0002")))
    path.write_text(path.read_text().replace(f'"token": "{token}"', '"token": "../../evil"'))
    (root / "v1.0-trainval" / "splits.json").write_text(json.dumps({"val": ["scene-0002"]}))
    with pytest.raises(ValueError, match="evil_?.* cannot name a file"):
        export_lidarseg(tiny_run, data_root=root, split="val", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_exports_and_says_what_to_submit(tiny_run, tiny_toytown, tmp_path, monkeypatch, capsys):
    words = [
        "clip2scene",
        "export-lidarseg",
        str(tiny_run),
        "--data-root",
        str(tiny_toytown),
        "--split",
        "val",
    ]
    monkeypatch.setattr("sys.argv", [*words, "--out", str(tmp_path / "out"), "--no-use-external"])
    cli.main()
    said = capsys.readouterr()
    assert f"submit {tmp_path / 'out' / 'lidarseg'} and {tmp_path / 'out' / 'val'}" in said.out
    assert "label val: 100%" in said.err
    assert len(list((tmp_path / "out" / "lidarseg" / "val").iterdir())) == 2
