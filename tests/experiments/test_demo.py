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

TOWNS = {"nuscenes": "tiny_toytown", "semantic-kitti": "tiny_kitti", "scannet": "tiny_rooms"}


@pytest.fixture
def small_demo(request, monkeypatch, tiny_recipe, tiny_run, tmp_path):
    """Make a demo small: its world is there already or is written in a second, its recipe takes a second.

    The student in the package is as small.
    """
    monkeypatch.setattr("clip2scene.runs.builtin.ASSET", tiny_run)
    monkeypatch.setattr(demo, "_side_by_side", one_after_another)  # starting processes takes longer

    def shrink(data):
        world = demo.WORLDS[data]
        few = {name: getattr(tiny_recipe, name) for name in ("student", "steps")}
        recipe = replace(world.recipe, **few, data=replace(world.recipe.data, sweeps=1))
        monkeypatch.setitem(demo.WORLDS, data, replace(world, recipe=recipe))
        if data in TOWNS:
            shutil.copytree(request.getfixturevalue(TOWNS[data]), tmp_path / "toytown")
        else:
            recording = Recording(1, 1, width=160, height=96, azimuth_steps=360)
            small = replace(demo.WORLDS[data], records={"recording": recording}, num_scenes=1)
            monkeypatch.setitem(demo.WORLDS, data, replace(small, num_val_scenes=1))
        return tmp_path

    return shrink


def one_after_another(*runs):
    for recipe, data, out, onward in runs:
        pretrain(recipe, data_root=data, out=out, start=demo._start(onward))


def pictures_of(report):
    return [line.split()[-1] for line in report.splitlines() if line.startswith("picture:")]


def test_the_demo_reports_what_it_found_and_a_second_call_keeps_what_is_there(small_demo, monkeypatch):
    out = small_demo("nuscenes")
    report = demo.run_demo(out)
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


def test_streets_go_on_from_the_student_in_the_package_which_is_scored_and_drawn_beside(small_demo, tiny_run):
    out = small_demo("nuscenes")
    report = demo.run_demo(out)
    assert report.split("\n")[0].split()[-1] == "builtin"
    score = 100 * read_json(tiny_run / "metrics.json")["miou"]
    assert f"streets and sensors, and scores {score:.1f} as it is." in report
    path = pictures_of(report)[-1]
    assert path.endswith("-builtin.png") and (out / path).stat().st_size > 10_000
    for run in ("label-free", "supervised"):
        assert open_run(out / run).sources.init["origin"] == str(tiny_run)


def test_rooms_begin_with_chance_and_are_not_compared_with_a_student_of_streets(small_demo):
    out = small_demo("scannet")
    assert "the student in the package" not in demo.run_demo(out, data="scannet")
    for run in ("label-free", "supervised"):
        assert open_run(out / run).sources.init is None


def test_a_package_without_a_student_is_said_before_anything_is_trained(small_demo, monkeypatch, tmp_path):
    out = small_demo("nuscenes")
    monkeypatch.setattr("clip2scene.runs.builtin.ASSET", tmp_path / "none")
    with pytest.raises(ValueError, match="'builtin' is the student that comes with clip2scene, but"):
        demo.run_demo(out)
    assert not (out / "label-free").exists()


@pytest.mark.parametrize("data", ["semantic-kitti", "drive-log"])
def test_the_streets_are_learnt_without_labels_in_other_layouts_too(data, small_demo):
    out = small_demo(data)
    report = demo.run_demo(out, data=data)
    assert "No label was used." in report
    assert demo.WORLDS[data].caveat in " ".join(report.split())
    pictures = {path[:-4].split("-")[-1] for path in pictures_of(report)}
    assert pictures - {"builtin"} == {"above", "cameras", "carried", "words"}
    assert "Both went on from the student in the package (builtin)" in report
    assert ("builtin" in pictures) == (data == "drive-log")  # SemanticKITTI's classes are others
    assert (out / "report.txt").exists()


def test_the_rooms_teacher_is_called_a_stand_in_that_saw_labels(small_demo):
    out = small_demo("scannet")
    report = demo.run_demo(out, data="scannet")
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


def test_the_folder_of_another_worlds_demo_is_refused(small_demo, tiny_recipe):
    out = small_demo("nuscenes")
    (out / "label-free").mkdir()
    create_or_resume(tiny_recipe, data_root=out / "toytown", out=out / "label-free", teacher_weights=None)
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        demo.run_demo(out, data="scannet")


def test_a_fault_in_a_training_process_reaches_the_caller(tiny_recipe, tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        demo._side_by_side((tiny_recipe, tmp_path / "nowhere", tmp_path / "run", False))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("data", ["nuscenes", "semantic-kitti", "drive-log"])
def test_the_demos_towns_are_none_that_the_small_clip_was_trained_or_judged_on(data):
    world = demo.WORLDS[data]
    jobs = list(_plan(Path(), world.num_scenes, world.num_val_scenes, demo.TOWNS, Recording()))
    towns = {town for *_, town, _ in jobs}
    assert len(towns) == world.num_scenes + world.num_val_scenes
    assert min(towns) >= 1_000_000  # training painted towns below
    assert max(towns) < FIRST_HELD_OUT_TOWN


def test_the_default_demo_is_the_one_whose_figures_are_published():
    world = demo.WORLDS["nuscenes"]
    assert next(iter(demo.WORLDS)) == "nuscenes"
    assert (world.num_scenes, world.num_val_scenes) == (100, 20)
    assert world.recipe == RECIPES["toytown-onward"] and world.onward
    assert world.records == {"recording": Recording(keyframes_per_scene=2, sweeps_per_keyframe=2)}
    assert world.caveat == ""
