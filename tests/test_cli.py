import inspect
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from clip2scene import cli, parallel
from clip2scene.cli.table import Command
from clip2scene.datasets.clouds import read_cloud, write_ply
from clip2scene.experiments.demo import WORLDS
from clip2scene.io import fingerprint, read_json
from clip2scene.recipes import RECIPES
from clip2scene.runs.checkpoint import load_checkpoint

TABLES = "v1.0-trainval"
SMALL = (  # as the fixture tiny_recipe has it, but for the steps
    *("--steps", "2", "--data.sweeps", "1", "--student.width", "0.25", "--student.voxel-size", "0.5"),
    *("--student.no-level", "--student.turns", "0.0", "--augment.mix", "none"),
    *("--augment.thin-rings", "0.0", "--augment.drop-intensity", "0.0"),
    *("--teacher.attention", "maskclip", "--teacher.refine", "none", "--teacher.no-consolidate"),
)


@pytest.fixture
def damaged(tiny_toytown, tmp_path):
    """A copy of toytown that a test may break."""
    return shutil.copytree(tiny_toytown, tmp_path / "toytown")


@pytest.fixture
def clouds(tmp_path):
    """One cloud in each format that ``segment`` reads."""
    generator = np.random.default_rng(0)
    points = np.concatenate([generator.uniform(-20, 20, (300, 3)), generator.random((300, 1))], 1)
    points = points.astype("<f4")
    folder = tmp_path / "clouds"
    folder.mkdir()
    points.tofile(folder / "kitti.bin")
    np.save(folder / "array.npy", points)
    write_ply(folder / "vertices.ply", torch.from_numpy(points[:, :3].copy()))
    header = "VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 300\n"
    header += "HEIGHT 1\nPOINTS 300\nDATA binary\n"
    (folder / "pcl.pcd").write_bytes(header.encode() + points.tobytes())
    return sorted(folder.iterdir())


@pytest.fixture
def complaint(call):
    """Run a command that must fail, and return its one sentence."""

    def run(*words):
        code, out, err = call(*words)
        lines = [line for line in err.splitlines() if line.startswith("clip2scene: ")]
        assert code == 1, err
        assert not out
        assert lines == err.strip().splitlines()[-1:], err  # at the very end; progress bars come before it
        assert "Traceback" not in err
        return lines[0]

    return run


def first(folder):
    return sorted(folder.iterdir())[0]


def edit(root, table, change):
    path = root / TABLES / f"{table}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_student_is_trained_and_judged_from_the_command_line(call, tiny_toytown, tmp_path):
    run = tmp_path / "run"
    code, out, _ = call("pretrain", "toytown", *SMALL, "--data-root", tiny_toytown, "--out", run)
    assert (code, out) == (0, f"trained toytown: {run}\n")
    assert json.loads((run / "recipe.json").read_text())["student"]["width"] == 0.25
    code, out, _ = call("evaluate", run, "--data-root", tiny_toytown, "--pictures", 1)
    assert code == 0
    assert "mIoU" in out and f"wrote {run / 'metrics.json'}" in out
    assert len(list((run / "pictures").glob("*.png"))) == out.count("drew ") == 3


def test_training_without_labels_begins_with_the_student_in_the_package(
    call, tiny_run, tiny_toytown, tmp_path, monkeypatch
):
    monkeypatch.setattr("clip2scene.runs.builtin.ASSET", tiny_run)
    monkeypatch.chdir(tmp_path)
    words = ("pretrain", "toytown", *SMALL, "--data-root", tiny_toytown, "--out", "run", "--start", "builtin")
    code, _, err = call(*words)
    assert code == 0, err
    began = read_json(Path("run/sources.json"))["start"]
    assert began["knows_words"] and Path(began["origin"]) == tiny_run.resolve()
    code, _, err = call(*words[:-1], "nowhere")
    assert code == 1 and "nowhere is not a run" in err


def test_a_rival_learns_from_any_vision_model_and_still_knows_words(call, tiny_toytown, clouds, tmp_path):
    tower = tmp_path / "dino"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2}
    config = transformers.Dinov2Config(image_size=42, patch_size=14, **sizes)
    transformers.Dinov2Model(config).save_pretrained(tower)
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.3]}
    (tower / "preprocessor_config.json").write_text(json.dumps(colours))
    run = tmp_path / "run"
    options = ("--loss.form", "superpixel-infonce", "--loss.class-balance", "0", "--loss.backbone", tower)
    data = ("--data-root", tiny_toytown)
    code, _, err = call("pretrain", "toytown", *SMALL, *options, *data, "--out", run)
    assert code == 0, err
    assert json.loads((run / "sources.json").read_text())["pixel_channels"] == 16
    code, out, _ = call("evaluate", run, *data, "--pictures", 0)
    assert code == 0 and "mIoU" in out
    assert call("segment", run, clouds[0], "--prompts", "car, person", "--out", tmp_path / "out")[0] == 0


def test_a_folder_without_a_vision_model_is_refused_as_backbone(complaint, tiny_toytown, tmp_path):
    options = (
        "--loss.form",
        "pixel-infonce",
        "--loss.class-balance",
        "0",
        "--loss.backbone",
        tmp_path / "no",
    )
    said = complaint(
        "pretrain", "toytown", *SMALL, *options, "--data-root", tiny_toytown, "--out", tmp_path / "run"
    )
    assert "no is not a folder; download the image backbone and name its folder" in said
    assert not (tmp_path / "run").exists()


def test_the_rival_without_training_is_judged_from_the_command_line(call, complaint, tiny_toytown):
    code, out, _ = call("evaluate-point-clip", "--data-root", tiny_toytown)
    assert code == 0
    assert out.split()[:4] == ["class", "point_clip", "centred", "random"]
    assert "unknown recipe 'cat'" in complaint(
        "evaluate-point-clip", "--data-root", tiny_toytown, "--recipe", "cat"
    )


def test_clouds_of_every_format_are_labelled_with_any_words(call, tiny_run, clouds, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = call("segment", tiny_run, *clouds, "--prompts", "car, person", "--out", out)
    assert code == 0
    own = {".bin": (".label",), ".npy": (".label",), ".pcd": (".pcd",), ".ply": ()}
    made = [
        out / f"{path.stem}{suffix}"
        for path in clouds
        for suffix in (".npz", ".ply", *own[path.suffix], ".classes.json", ".png")
    ]
    assert printed == "".join(f"wrote {path}\n" for path in made)
    assert files_below(out) == sorted(made)
    for path in clouds:
        with np.load(out / f"{path.stem}.npz") as found:
            assert found["names"].tolist() == ["car", "person"]
            assert found["scores"].shape == (300, 2)
            assert np.array_equal(found["labels"] > 0, np.diff(found["scores"].astype(float))[:, 0] > 0)
        coloured = read_cloud(out / f"{path.stem}.ply")
        assert torch.equal(coloured.positions, read_cloud(path).positions)
        with Image.open(out / f"{path.stem}.png") as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20


def bad_cloud(kind, folder):
    points = np.ones((5, 4), dtype="<f4")
    path = folder / "bad.bin"
    if kind == "NaN":
        points[2, 1] = np.nan
    if kind == "too far away":
        points[0, 0] = 1e30
    content = points.tobytes()
    path.write_bytes({"truncated": content[:-3], "is empty": b""}.get(kind, content))
    if kind == "is missing":
        path.unlink()
    return path


@pytest.mark.parametrize("kind", ["NaN", "truncated", "is empty", "is missing", "too far away"])
def test_a_bad_cloud_among_good_ones_leaves_nothing_written(complaint, tiny_run, clouds, tmp_path, kind):
    bad, out = bad_cloud(kind, tmp_path), tmp_path / "out"
    said = complaint("segment", tiny_run, *clouds, bad, "--prompts", "car", "--out", out)
    assert kind == "too far away" or kind in said
    assert str(bad) in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("prompts", "fault"),
    [
        ("car,zeppelin", "zeppelin"),
        ("car, car", "all different"),
        ("car,,person", "not empty"),
        ("", "at least one word"),
    ],
)
def test_words_that_mean_nothing_are_refused(complaint, tiny_run, clouds, tmp_path, prompts, fault):
    said = complaint("segment", tiny_run, clouds[0], "--prompts", prompts, "--out", tmp_path / "out")
    assert fault in said
    assert not (tmp_path / "out").exists()


def test_segmenting_no_cloud_is_refused(complaint, tiny_run, tmp_path):
    assert "cloud" in complaint("segment", tiny_run, "--prompts", "car", "--out", tmp_path / "out")


def test_two_clouds_of_one_name_are_refused_and_dots_in_names_are_kept(
    call, complaint, tiny_run, clouds, tmp_path
):
    for name in ("a.1.bin", "a.2.bin", "a.npy"):
        shutil.copy(clouds[0] if name.endswith("npy") else clouds[1], tmp_path / name)
    good = [tmp_path / "a.1.bin", tmp_path / "a.2.bin"]
    shutil.copy(tmp_path / "a.npy", tmp_path / "a.1.npy")
    out = tmp_path / "out"
    words = ("--prompts", "car", "--out", out)
    assert "different names" in complaint("segment", tiny_run, *good, tmp_path / "a.1.npy", *words)
    assert call("segment", tiny_run, *good, *words)[0] == 0
    assert [path.name for path in files_below(out)] == [
        f"a.{number}{suffix}"
        for number in (1, 2)
        for suffix in (".classes.json", ".label", ".npz", ".ply", ".png")
    ]


def test_a_folder_that_is_no_run_or_is_not_finished_is_refused(
    complaint, tiny_run, tiny_toytown, clouds, tmp_path
):
    words = ("--prompts", "car", "--out", tmp_path / "out")
    assert "is not a run" in complaint("segment", tmp_path, clouds[0], *words)
    assert "is not a run" in complaint("evaluate", tmp_path, "--data-root", tiny_toytown)
    unfinished = shutil.copytree(
        tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint*", "carried", "metrics.json")
    )
    assert "checkpoint" in complaint("segment", unfinished, clouds[0], *words)
    assert "checkpoint" in complaint("evaluate", unfinished, "--data-root", tiny_toytown)
    assert not (unfinished / "carried").exists()  # said at once, not after the teacher has looked
    assert not (tmp_path / "out").exists()


def test_a_damaged_run_is_refused(complaint, tiny_run, clouds, tmp_path):
    words = (clouds[0], "--prompts", "car", "--out", tmp_path / "out")
    for name in ("checkpoint.safetensors", "prompts.safetensors", "recipe.json", "sources.json"):
        run = shutil.copytree(tiny_run, tmp_path / f"without-{name}")
        (run / name).write_bytes(b"{")
        for older in run.glob("checkpoint*"):
            older.write_bytes(b"{") if name.startswith("checkpoint") else None
        assert str(run) in complaint("segment", run, *words)


def weights_of(run):
    """Hash of every byte of a run's weights."""
    return fingerprint(load_checkpoint(run / "checkpoint.safetensors").model)


def break_data(kind, root):
    if kind == "missing image":
        first(root / "samples" / "CAM_BACK").unlink()
    elif kind == "truncated cloud":
        for path in (root / "samples" / "LIDAR_TOP").iterdir():
            path.write_bytes(path.read_bytes()[:-7])
    elif kind == "empty cloud":
        for path in (root / "samples" / "LIDAR_TOP").iterdir():
            path.write_bytes(b"")
    elif kind == "NaN coordinates":
        for path in (root / "samples" / "LIDAR_TOP").iterdir():
            points = np.fromfile(path, "<f4")
            points[5] = np.nan
            points.tofile(path)
    elif kind == "non-rotation":
        edit(root, "calibrated_sensor", lambda rows: [row.update(rotation=[2, 0, 0, 0]) for row in rows])
    elif kind == "blind cameras":
        # Under the ground and looking straight down: nothing is in front of them.
        def bury(rows):
            for row in rows:
                if row["camera_intrinsic"]:
                    row.update(translation=[0, 0, -500.0], rotation=[0, 1, 0, 0])

        edit(root, "calibrated_sensor", bury)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("missing image", r"CAM_BACK"),
        ("truncated cloud", "is truncated"),
        ("empty cloud", "is empty"),
        ("NaN coordinates", "NaN"),
        ("non-rotation", "not a rigid motion"),
        ("blind cameras", "no camera sees any point"),
    ],
)
def test_bad_data_are_told_before_the_first_step(complaint, damaged, tmp_path, kind, fault):
    if kind == "missing image":  # in whichever split it is
        scenes = json.loads((damaged / TABLES / "splits.json").read_text())
        edit(damaged, "splits", lambda splits: splits.update(train=sum(scenes.values(), [])))
    break_data(kind, damaged)
    run = tmp_path / "run"
    said = complaint("pretrain", "toytown", *SMALL, "--data-root", damaged, "--out", run)
    assert fault in said
    assert not list(run.rglob("checkpoint*"))
    assert not list(run.rglob("*.partial*"))


def test_a_run_goes_on_once_its_data_are_mended(call, complaint, tiny_toytown, damaged, tmp_path):
    picture = sorted((damaged / "samples" / "CAM_BACK").iterdir())
    kept = {path: path.read_bytes() for path in picture}
    for path in picture:
        path.unlink()
    words = ("pretrain", "toytown", *SMALL, "--data-root", damaged, "--out", tmp_path / "run")
    assert "is missing" in complaint(*words)
    for path, content in kept.items():
        path.write_bytes(content)
    assert call(*words)[0] == 0
    whole = tmp_path / "whole"
    assert call("pretrain", "toytown", *SMALL, "--data-root", tiny_toytown, "--out", whole)[0] == 0
    assert weights_of(whole) == weights_of(tmp_path / "run")


def test_wrong_weights_leave_no_run_behind(complaint, tiny_toytown, tmp_path):
    words = ("pretrain", "toytown", *SMALL, "--data-root", tiny_toytown, "--out", tmp_path / "run")
    (tmp_path / "weights").mkdir()
    assert "an empty folder" in complaint(*words, "--teacher-weights", tmp_path / "weights")
    assert "there is no folder" in complaint(*words, "--teacher-weights", tmp_path / "nowhere" / "at-all")
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_resumed_with_another_teacher_or_recipe(complaint, tiny_run, tiny_toytown, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = {path: path.read_bytes() for path in files_below(run)}
    words = ("pretrain", "toytown", *SMALL, "--data-root", tiny_toytown, "--out", run)
    assert "another recipe" in complaint(*words)
    same = (*words, "--steps", "6")
    assert "teacher" in complaint(*same, "--teacher-weights", tmp_path)
    assert {path: path.read_bytes() for path in files_below(run)} == before


def test_a_folder_with_other_files_is_never_made_a_run(complaint, tiny_toytown, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    said = complaint("pretrain", "toytown", *SMALL, "--data-root", tiny_toytown, "--out", tmp_path)
    assert "is not empty and holds no run" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unknown_split_and_a_missing_data_root_are_refused(complaint, tiny_run, tiny_toytown, tmp_path):
    said = complaint("evaluate", tiny_run, "--data-root", tiny_toytown, "--split", "test")
    assert "unknown split 'test', expected one of train, val" in said
    assert "is not a folder" in complaint("evaluate", tiny_run, "--data-root", tmp_path / "nowhere")


def test_settings_out_of_range_are_refused_in_a_sentence(call, tiny_toytown, tmp_path):
    words = ("pretrain", "toytown", "--data-root", tiny_toytown, "--out", tmp_path / "run")
    code, _, err = call(*words, "--steps", "0")
    assert code in (1, 2)
    assert "--steps must be at least 1, got 0" in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "fault"),
    [
        ("--device", "cuda:99", "cannot compute on device 'cuda:99'"),
        ("--device", "gpu7", "cannot compute on device 'gpu7'"),
        ("--save-every", "0", "expected 1 or more, got 0"),
    ],
)
def test_an_option_that_cannot_be_is_told_before_anything_is_made(
    complaint, tiny_toytown, tmp_path, option, value, fault
):
    words = ("pretrain", "toytown", *SMALL, "--data-root", tiny_toytown, "--out", tmp_path / "run")
    assert fault in complaint(*words, option, value)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_command_says_how_to_go_on(call, monkeypatch, tmp_path):
    def stop(out: Path, *, seed: int = 0):
        """Stop."""
        raise KeyboardInterrupt

    monkeypatch.setattr("clip2scene.experiments.demo.run_demo", stop)
    code, _, err = call("demo", "--out", tmp_path)
    assert code == 130
    assert "the same command goes on with what it keeps; data sets begin anew" in err


def test_each_demo_has_a_folder_of_its_own(complaint, monkeypatch, tmp_path):
    def tell(root, **_):
        raise ValueError(f"the town is {root}")

    worlds = {name: replace(world, write=tell) for name, world in WORLDS.items()}
    monkeypatch.setattr("clip2scene.experiments.demo.WORLDS", worlds)
    monkeypatch.chdir(tmp_path)
    assert complaint("demo").endswith(f"the town is {Path('demo', 'toytown')}")
    assert f"the town is {Path('demo-scannet', 'toytown')}" in complaint("demo", "--data", "scannet")
    assert f"the town is {Path('mine', 'toytown')}" in complaint("demo", "--data", "scannet", "--out", "mine")


def test_every_command_has_help_and_every_recipe_is_offered(call):
    for command in cli.COMMANDS:
        code, out, _ = call(command, "--help")
        assert code == 0
        assert cli.COMMANDS[command].summary().split()[0] in out
    offered = call("pretrain", "--help")[1]
    assert all(name in offered for name in RECIPES)


def test_a_small_town_is_written_from_the_command_line(call, tmp_path):
    root = tmp_path / "town"
    few = ("--scenes", 1, "--val-scenes", 1, "--keyframes", 1, "--sweeps", 1, "--workers", 1)
    code, out, _ = call("make-toytown", "--out", root, *few)
    assert (code, out) == (0, f"wrote 1 training and 1 validation scenes to {root}\n")
    assert len(list((root / "samples" / "LIDAR_TOP").iterdir())) == 2


def test_rooms_have_no_kinds_to_be_missing(call, tmp_path):
    words = ("make-toytown", "--layout", "scannet", "--missing-kinds", 0.85, "--out", tmp_path / "rooms")
    code, _, err = call(*words)
    assert code and "rooms have no kinds to be missing, got --missing-kinds 0.85" in err
    assert not (tmp_path / "rooms").exists()
    code, _, err = call("make-toytown", "--layout", "scannet", "--varied", "--out", tmp_path / "rooms")
    assert code and "rooms have no streets to vary; leave --varied out" in err
    assert not (tmp_path / "rooms").exists()


def test_the_same_town_is_written_in_another_layout_from_the_command_line(call, tmp_path):
    root = tmp_path / "town"
    few = ("--scenes", 1, "--val-scenes", 0, "--keyframes", 1, "--sweeps", 2, "--workers", 1)
    code, out, _ = call("make-toytown", "--layout", "semantic-kitti", "--out", root, *few)
    assert (code, out) == (0, f"wrote 1 training and 0 validation scenes to {root}\n")
    assert len(list((root / "sequences" / "00" / "image_2").iterdir())) == 2


@pytest.mark.parametrize("fault", [ValueError("the data are missing"), KeyboardInterrupt()])
def test_an_error_is_said_on_a_line_of_its_own(call, monkeypatch, fault):
    def break_off():
        """Break off in the middle."""
        for _ in parallel.progress_bar(range(10), desc="steps"):
            raise fault

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(cli, "COMMANDS", {"break-off": Command(break_off)})
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    code, _, _ = call("break-off")
    *bar, said = terminal.getvalue().splitlines()
    assert code == (1 if isinstance(fault, ValueError) else 130)
    assert bar and said.startswith("clip2scene: ")


def test_commands_and_options_keep_their_earlier_names(call, complaint, tiny_toytown, tmp_path):
    assert call("look", "--help") == call("cache-teacher", "--help")
    assert call("look", "--help")[0] == 0
    words = ("pretrain", "toytown", *SMALL, "--data-root", tiny_toytown, "--out", tmp_path / "run")
    assert call(*words, "--student.no-settles", "--student.no-sees-height")[0] == 0
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["student"]["superpoint_mean"] is False and recipe["student"]["height"] == "none"


def test_an_unknown_command_is_told_and_no_command_lists_them_all(call):
    code, _, err = call("pretend")
    assert code == 2 and "there is no command 'pretend'" in err and "  pretrain " in err
    code, out, _ = call()
    assert code == 0 and all(f"  {name} " in out for name in cli.COMMANDS)


def test_every_option_is_described(call):
    for name in cli.COMMANDS:
        run = cli.COMMANDS[name].as_function({})
        for option in inspect.signature(run).parameters:
            assert re.search(rf"^    {option}: \S", run.__doc__, re.MULTILINE), (name, option)
