"""What a run carries is carried anew as soon as what decides it has changed."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from tests.lifting import lift

from clip2scene import build
from clip2scene.distill import lift as lifting
from clip2scene.distill.lifted import load_lifted
from clip2scene.recipes import supervised
from clip2scene.runs import reopen as reopening
from clip2scene.runs.create import create_or_resume


@pytest.fixture
def town(tiny_toytown, tmp_path):
    """A copy of toytown that a test may change."""
    return shutil.copytree(tiny_toytown, tmp_path / "town")


def labels_of(paths):
    return [load_lifted(path).labels for path in paths]


def test_labels_that_were_corrected_in_place_are_read_anew(tiny_recipe, town, tmp_path):
    run, _ = create_or_resume(
        supervised(tiny_recipe), data_root=town, out=tmp_path / "run", teacher_weights=None
    )
    paths = lift(run, town, split="train", labels=True)
    assert lift(run, town, split="train", labels=True) == paths
    assert any((labels >= 0).any() for labels in labels_of(paths))
    for path in (town / "lidarseg").rglob("*.bin"):
        path.write_bytes(bytes(path.stat().st_size))  # the same size: raw label 0, which is no class
    assert all((labels == -1).all() for labels in labels_of(lift(run, town, split="train", labels=True)))


@pytest.mark.parametrize("what", ["calibration", "format"])
def test_answers_of_another_calibration_or_format_are_not_taken(
    what, tiny_recipe, town, tmp_path, monkeypatch
):
    monkeypatch.setattr(reopening, "count_images", lambda dataset: 0)  # no teacher need look
    run, _ = create_or_resume(tiny_recipe, data_root=town, out=tmp_path / "run")
    before = lift(run, town, split="val", labels=False)
    if what == "format":
        monkeypatch.setattr(lifting, "FORMAT", lifting.FORMAT + 1)
    else:
        (table,) = town.glob("*/calibrated_sensor.json")
        rows = json.loads(table.read_text())
        rows[0]["translation"][0] += 0.5
        table.write_text(json.dumps(rows))
    assert not set(lift(run, town, split="val", labels=False)) & set(before)


def test_runs_that_are_judged_in_other_classes_share_no_labels(tiny_recipe, town, tmp_path, monkeypatch):
    monkeypatch.setattr(reopening, "count_images", lambda dataset: 0)
    for classes in ("toytown", "own"):
        data = replace(tiny_recipe.data, classes=classes, words="nuscenes")
        recipe = replace(tiny_recipe, data=data)
        run, _ = create_or_resume(recipe, data_root=town, out=tmp_path / classes)
        paths = lift(run, town, split="val", labels=True, into=tmp_path / "shared")
        truth = build.open_dataset(data, town, split="val", labels=True)
        for labels, sample in zip(labels_of(paths), truth, strict=True):
            assert torch.equal(labels, sample.labels)
