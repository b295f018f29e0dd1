import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from clip2scene.evaluation.small_clip import FIRST_HELD_OUT_TOWN
from clip2scene.experiments import demo
from clip2scene.io import read_json
from clip2scene.recipes import RECIPES
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.run import open_run
from clip2scene.toytown.writers.layouts import _plan
from clip2scene.toytown.writers.recording import Recording
from clip2scene.training.train import pretrain

SIDE_BY_SIDE = demo._side_by_side
FULL_SIZE = dict(demo.WORLDS)
TOWNS = {"nuscenes": "tiny_toytown", "semantic-kitti": "tiny_kitti", "scannet": "tiny_rooms"}


@pytest.fixture(scope="module", autouse=True)
def small_student(tiny_run):
    """Let the student in the package be as small as those that are trained here, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clip2scene.runs.builtin.ASSET", tiny_run)
        patch.setattr(demo, "_side_by_side", one_after_another)  # starting processes takes longer
        yield


@pytest.fixture(scope="module")
def shrink(request, tiny_recipe, tmp_path_factory, small_student):
    """Make a demo small: its world is there already or is written in a second, its recipe takes a second."""
    with pytest.MonkeyPatch.context() as patch:

        def make(data):
            world, out = demo.WORLDS[data], tmp_path_factory.mktemp(data)
            few = {name: getattr(tiny_recipe, name) for name in ("student", "steps")}
            recipe = replace(world.recipe, **few, data=replace(world.recipe.data, sweeps=1))
            if data in TOWNS:
                shutil.copytree(request.getfixturevalue(TOWNS[data]), out / "toytown")
            else:
                records = {
                    "recording": Recording(1, 1, width=160, height=96, azimuth_steps=360),
                    "workers": 1,
                }
                world = replace(world, records=records, num_scenes=1, num_val_scenes=1)
            patch.setitem(demo.WORLDS, data, replace(world, recipe=recipe))
            return out

        yield make


@pytest.fixture(scope="module")
def streets(shrink):
    """The default demo: its folder and its report."""
    out = shrink("nuscenes")
    return out, demo.run_demo(out)


@pytest.fixture(scope="module")
def rooms(shrink):
    out = shrink("scannet")
    return out, demo.run_demo(out, data="scannet")


def one_after_another(*runs):
    for recipe, data, out, start in runs:
        pretrain(recipe, data_root=data, out=out, start=demo._start(start))


def pictures_of(report):
    return [line.split()[-1] for line in report.splitlines() if line.startswith("picture:")]


def test_the_demo_reports_what_it_found_and_a_second_call_keeps_what_is_there(streets, monkeypatch):
    out, report = streets
    assert (out / "report.txt").read_text() == report + "\n"
    assert "No label was used." in report
    for column in ("student_seen", "teacher_seen", "random", "supervised"):
        assert column in report.split()
    pictures = pictures_of(report)
    assert len(pictures) == 8  # three of each of two samples, one in words, one of the student in the package
    assert all((out / path).stat().st_size > 10_000 for path in pictures)
    trained = [out / run / "checkpoint.safetensors" for run in ("label-free", "supervised")]
    before = [path.stat().st_mtime_ns for path in trained]
    monkeypatch.setattr(demo, "draw_samples", lambda *args, **options: pictures[:-2])
    monkeypatch.setattr(demo, "picture_sample", lambda *args, **options: pictures[-2])
    again = demo.run_demo(out)
    assert [path.stat().st_mtime_ns for path in trained] == before
    assert again.splitlines()[:-1] == report.splitlines()[:-1]  # the last line is the time


def test_streets_go_on_from_the_student_in_the_package_which_is_scored_and_drawn_beside(streets, tiny_run):
    out, report = streets
    assert report.split("\n")[0].split()[-1] == "builtin"
    score = 100 * read_json(tiny_run / "metrics.json")["miou"]
    assert f"streets and sensors, and scores {score:.1f} as it is." in report
    path = pictures_of(report)[-1]
    assert path.endswith("-builtin.png") and (out / path).stat().st_size > 10_000
    for run in ("label-free", "supervised"):
        assert open_run(out / run).sources.init["origin"] == str(tiny_run)


def test_rooms_begin_with_chance_and_are_not_compared_with_a_student_of_streets(rooms):
    out, report = rooms
    assert "the student in the package" not in report
    for run in ("label-free", "supervised"):
        assert open_run(out / run).sources.init is None


def test_a_package_without_a_student_is_said_before_anything_is_trained(shrink, monkeypatch, tmp_path):
    out = shrink("nuscenes")
    monkeypatch.setattr("clip2scene.runs.builtin.ASSET", tmp_path / "none")
    with pytest.raises(ValueError, match="'builtin' is the student that comes with clip2scene, but"):
        demo.run_demo(out)
    assert not (out / "label-free").exists()


@pytest.mark.parametrize("data", ["semantic-kitti", "drive-log"])
def test_the_streets_are_learnt_without_labels_in_other_layouts_too(data, shrink):
    out = shrink(data)
    report = demo.run_demo(out, data=data)
    assert "No label was used." in report
    assert demo.WORLDS[data].caveat in " ".join(report.split())
    pictures = {path[:-4].split("-")[-1] for path in pictures_of(report)}
    assert pictures - {"builtin"} == {"above", "cameras", "carried", "words"}
    assert "Both went on from the student in the package (builtin)" in report
    assert ("builtin" in pictures) == (data == "drive-log")  # SemanticKITTI's classes are others
    assert (out / "report.txt").exists()


def test_the_rooms_teacher_is_called_a_stand_in_that_saw_labels(rooms):
    out, report = rooms
    assert "No label was used" not in report
    assert "a stand-in trained on 2D labels" in report
    metrics = read_json(out / "label-free" / "metrics.json")
    assert metrics["label_free"] and metrics["teacher_trained_on_2d_labels"]
    (words,) = [path for path in pictures_of(report) if path.endswith("-words.png")]
    with Image.open(words) as picture:
        assert picture.width == 1600


def test_an_unknown_world_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ValueError, match="no demo has data 'mars'; choose one of nuscenes, semantic-kitti"):
        demo.run_demo(tmp_path / "demo", data="mars")
    assert not (tmp_path / "demo").exists()


def test_the_folder_of_another_worlds_demo_is_refused(shrink, tiny_recipe):
    out = shrink("nuscenes")
    (out / "label-free").mkdir()
    create_or_resume(tiny_recipe, data_root=out / "toytown", out=out / "label-free", teacher_weights=None)
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        demo.run_demo(out, data="scannet")


def test_a_fault_in_a_training_process_reaches_the_caller(tiny_recipe, tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        SIDE_BY_SIDE((tiny_recipe, tmp_path / "nowhere", tmp_path / "run", None))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", ["nuscenes", "semantic-kitti", "drive-log"])
def test_the_demos_towns_are_none_that_the_small_clip_was_trained_or_judged_on(data):
    world = FULL_SIZE[data]
    jobs = list(_plan(Path(), world.num_scenes, world.num_val_scenes, demo.TOWNS, Recording()))
    towns = {town for *_, town, _ in jobs}
    assert len(towns) == world.num_scenes + world.num_val_scenes
    assert min(towns) >= 1_000_000  # training painted towns below
    assert max(towns) < FIRST_HELD_OUT_TOWN


def test_the_default_demo_is_the_one_whose_figures_are_published():
    world = FULL_SIZE["nuscenes"]
    assert next(iter(FULL_SIZE)) == "nuscenes"
    assert (world.num_scenes, world.num_val_scenes) == (100, 20)
    assert world.recipe == RECIPES["toytown-onward"] and world.start == Path("builtin")
    assert world.records == {"recording": Recording(keyframes_per_scene=2, sweeps_per_keyframe=2)}
    assert world.caveat == ""
