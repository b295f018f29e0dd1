import shutil
from pathlib import Path

import pytest

from clip2scene import demo
from clip2scene.smallclip import FIRST_HELD_OUT_TOWN
from clip2scene.toytown.writers import _plan
from clip2scene.train import pretrain


@pytest.fixture
def small_demo(monkeypatch, tiny_toytown, tiny_recipe, tmp_path):
    """Folder of a demo whose towns are there already, and whose recipe takes a second."""
    shutil.copytree(tiny_toytown, tmp_path / "toytown")
    monkeypatch.setattr(demo, "toytown", lambda: tiny_recipe)
    monkeypatch.setattr(demo, "_side_by_side", one_after_another)  # starting processes takes longer
    return tmp_path


def one_after_another(*runs):
    for recipe, data, out in runs:
        pretrain(recipe, data_root=data, out=out)


def test_the_demo_reports_what_it_found_and_a_second_call_keeps_what_is_there(small_demo, monkeypatch):
    report = demo.run_demo(small_demo)
    assert (small_demo / "report.txt").read_text() == report + "\n"
    assert "No label was used." in report
    for column in ("student_seen", "teacher_seen", "random", "supervised"):
        assert column in report.split()
    pictures = [line.split()[-1] for line in report.splitlines() if line.startswith("picture:")]
    assert len(pictures) == 4
    assert all((small_demo / path).stat().st_size > 10_000 for path in pictures)
    trained = [small_demo / run / "checkpoint.safetensors" for run in ("label-free", "supervised")]
    before = [path.stat().st_mtime_ns for path in trained]
    monkeypatch.setattr(demo, "draw_samples", lambda *args, **options: pictures)
    again = demo.run_demo(small_demo)
    assert [path.stat().st_mtime_ns for path in trained] == before
    assert again.splitlines()[:-1] == report.splitlines()[:-1]  # the last line is the time


def test_a_fault_in_a_training_process_reaches_the_caller(tiny_recipe, tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        demo._side_by_side((tiny_recipe, tmp_path / "nowhere", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_demos_towns_are_none_that_the_small_clip_was_trained_or_judged_on():
    jobs = list(_plan(Path(), demo.NUM_SCENES, demo.NUM_VAL_SCENES, demo.TOWNS, demo.RECORDING))
    towns = {town for *_, town, _ in jobs}
    assert len(towns) == demo.NUM_SCENES + demo.NUM_VAL_SCENES
    assert min(towns) >= 1_000_000  # training painted towns below
    assert max(towns) < FIRST_HELD_OUT_TOWN
