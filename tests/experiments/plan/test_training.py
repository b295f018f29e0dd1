import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from clip2scene.experiments.plan import training, whole
from clip2scene.experiments.plan.estimate import Measurement
from clip2scene.experiments.plan.figures import Ask
from clip2scene.experiments.plan.training import plan_training
from clip2scene.recipes import supervised

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """Starting a process takes seconds, and is measured elsewhere."""
    monkeypatch.setattr(training, "measure_start", lambda module: Measurement((3.0,)))


def figures(plan):
    return {each.name: each for each in plan.figures}


def faults(plan):
    return [line for line in plan.lines if line.mark == "fault"]


def test_the_whole_is_the_sum_of_what_was_measured(tiny_recipe, tiny_toytown, monkeypatch, tmp_path):
    monkeypatch.setattr(whole.shutil, "disk_usage", lambda _: Usage(10, 9, 1))
    twice = replace(tiny_recipe.optimiser, accumulate=2)
    recipe = replace(tiny_recipe, batch_size=2, optimiser=twice)
    plan = plan_training(recipe, Ask(tiny_toytown, budget=2.0, within=1e-9))
    found = figures(plan)
    step = found["computing a step"]
    assert step.how == "measured" and step.samples >= 3
    assert found["computing 6 steps"].value == pytest.approx(12 * step.value)
    lifting = found["lifting a sample, all of it, one core"].value
    assert found["lifting the split"].value == pytest.approx(2 * lifting)
    reads = found["reading a batch, the first time"].value + 11 * found["reading a batch, later"].value
    assert found["reading batches"].value == pytest.approx(reads)
    parts = [3.0, 2 * lifting, reads, 12 * step.value, 2 * found["predicting a cloud"].value]
    parts.append(2 * found["reading a sample, cloud and images"].value)
    assert found["in all, on this machine"].value == pytest.approx(sum(parts))
    shared = found["share of computing that ranks share"].value * 12 * step.value
    assert found["in all, by 2 ranks"].value == pytest.approx(sum(parts) - shared / 2)
    assert found["on a GPU"].how == "not measured" and found["on a GPU"].value is None
    # neither the disk nor the time is enough: both are said, and nothing is left out for it
    assert [line.about for line in faults(plan)] == ["time", "disk"]


def test_a_recipe_with_labels_is_planned_without_a_teacher(tiny_recipe, tiny_toytown):
    plan = plan_training(supervised(tiny_recipe), Ask(tiny_toytown, budget=1.0))
    assert not faults(plan)
    found = figures(plan)
    assert "teacher, an image, one core" not in found
    assert found["in all, on this machine"].value > 0


def without_images(tiny_kitti, tmp_path):
    root = shutil.copytree(tiny_kitti, tmp_path / "kitti")
    for folder in root.glob("sequences/*/image_2"):
        shutil.rmtree(folder)
    return root


@pytest.mark.parametrize("what", ["another layout", "no images", "no teacher"])
def test_what_is_unfit_is_one_message_and_the_rest_is_said(
    tiny_recipe, tiny_toytown, tiny_kitti, tmp_path, what
):
    root, weights, recipe = tiny_toytown, None, tiny_recipe
    if what == "another layout":
        recipe = replace(recipe, data=replace(recipe.data, layout="drive-log", classes="own"))
    if what == "no images":
        root = without_images(tiny_kitti, tmp_path)
        recipe = replace(recipe, data=replace(recipe.data, layout="semantic-kitti"))
    if what == "no teacher":
        weights = str(tmp_path / "nowhere")
    plan = plan_training(recipe, Ask(root, weights, budget=1.0))
    (fault,) = faults(plan)
    words = {"another layout": "layout", "no images": "has no images", "no teacher": "nowhere"}
    assert words[what] in fault.text and fault.about == ("teacher" if what == "no teacher" else "data")
    found = figures(plan)
    assert found["in all, on this machine"].how == "not measured"
    assert found["disk, free"].value > 0
    assert ("reading a sample, cloud and images" in found) == (what != "another layout")


def test_samples_that_no_camera_sees_are_named_before_hours_are_spent(tiny_recipe, tiny_toytown):
    blind = replace(tiny_recipe, data=replace(tiny_recipe.data, min_depth=500.0))
    plan = plan_training(blind, Ask(tiny_toytown, budget=1.0))
    (fault,) = faults(plan)
    assert fault.about == "lifting" and "no camera sees any point" in fault.text
    assert figures(plan)["teacher, an image, one core"].value > 0


def test_a_disk_that_fills_up_while_it_is_measured_is_named(tiny_recipe, tiny_toytown, monkeypatch):
    def full(*_, **__):
        raise ValueError("the disk is full; free some space")

    monkeypatch.setattr(training, "measure_lifting", full)
    plan = plan_training(tiny_recipe, Ask(tiny_toytown, budget=1.0))
    (fault,) = faults(plan)
    assert "full" in fault.text and figures(plan)["teacher, an image, one core"].value > 0
