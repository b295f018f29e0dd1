import re
import shutil
import threading
from dataclasses import replace

import pytest
import torch

from clip2scene.config import TeacherConfig
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.recipes import supervised
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.training import precompute
from clip2scene.training.precompute import cache_teacher, lift
from clip2scene.training.train import pretrain


def files_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_a_run_from_the_cache_is_the_run_without_it(tiny_recipe, tiny_toytown, tmp_path, monkeypatch):
    said = []
    estimate = cache_teacher(
        tiny_recipe, data_root=tiny_toytown, teacher_cache=tmp_path / "seen", announce=said.append
    )
    kept = files_in(tmp_path / "seen")
    assert said == [estimate] and len(kept) == estimate.images == 12
    assert sum(map(len, kept.values())) == pytest.approx(12 * estimate.bytes_per_image, rel=0.02)
    pretrain(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "without")

    def refuse(*_):
        raise AssertionError("the teacher ran again")

    monkeypatch.setattr(MaskClip, "embed_image", refuse)
    pretrain(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "with", teacher_cache=tmp_path / "seen")
    without, with_cache = (
        re.findall(r'"loss": [^,]+', (tmp_path / name / "log.jsonl").read_text())
        for name in ("without", "with")
    )
    assert without == with_cache and len(without) == tiny_recipe.steps


def test_an_interrupted_call_goes_on(tiny_recipe, tiny_toytown, tmp_path):
    folder = tmp_path / "seen"
    cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=folder)
    whole = files_in(folder)
    for name in list(whole)[::2]:
        (folder / name).unlink()
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=folder)
    assert files_in(folder) == whole
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_several_processes_cache_what_one_caches(tiny_recipe, tiny_toytown, tmp_path):
    cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=tmp_path / "one")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("clip2scene.parallel._WORTH_A_PROCESS", 1)
            cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=tmp_path / "two")
    finally:
        torch.set_num_threads(before)
    assert files_in(tmp_path / "one") == files_in(tmp_path / "two")


def test_two_that_fill_one_folder_at_once_leave_what_one_alone_would(tiny_recipe, tiny_toytown, tmp_path):
    cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=tmp_path / "alone")
    start, faults = threading.Barrier(2), []

    def fill(estimate):
        start.wait(timeout=60)

    def go():
        try:
            cache_teacher(
                tiny_recipe, data_root=tiny_toytown, teacher_cache=tmp_path / "shared", announce=fill
            )
        except Exception as fault:
            faults.append(fault)

    both = [threading.Thread(target=go) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert not faults
    assert files_in(tmp_path / "shared") == files_in(tmp_path / "alone")
    assert not list((tmp_path / "shared").rglob(".partial-*"))


def test_a_run_is_evaluated_from_the_cache(tiny_recipe, tiny_run, tiny_toytown, tmp_path, monkeypatch):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "carried")
    cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=tmp_path / "seen", split="val")

    def refuse(*_):
        raise AssertionError("the teacher ran again")

    monkeypatch.setattr(MaskClip, "embed_image", refuse)
    evaluate(run, data_root=tiny_toytown, teacher_cache=tmp_path / "seen")
    assert (run / "metrics.json").read_bytes() == (tiny_run / "metrics.json").read_bytes()


def test_a_disk_without_room_for_all_has_room_for_what_is_left(
    tiny_recipe, tiny_toytown, tmp_path, monkeypatch
):
    folder = tmp_path / "seen"
    one = cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=folder).bytes_per_image
    whole = files_in(folder)
    for name in list(whole)[:2]:
        (folder / name).unlink()
    usage = type("Usage", (), {"free": one})
    monkeypatch.setattr(precompute.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ValueError, match="does not fit"):
        cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=folder)
    usage.free = 2 * one
    cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=folder)
    assert files_in(folder) == whole


def test_a_full_disk_is_told_before_the_work(tiny_recipe, tiny_toytown, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(precompute.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ValueError, match="does not fit on the disk.*12 images.*--teacher.precision int8"):
        cache_teacher(tiny_recipe, data_root=tiny_toytown, teacher_cache=tmp_path / "seen")
    assert not files_in(tmp_path / "seen")


def test_label_maps_need_no_cache(tiny_recipe, tiny_toytown, tmp_path):
    maps = replace(tiny_recipe, teacher=TeacherConfig(kind="label-maps"))
    with pytest.raises(ValueError, match="on disk already"):
        cache_teacher(maps, data_root=tiny_toytown, teacher_cache=tmp_path / "seen")
    assert not (tmp_path / "seen").exists()


def test_lifting_alone_begins_a_run_that_pretraining_goes_on_with(tiny_recipe, tiny_toytown, tmp_path):
    recipe = replace(tiny_recipe, steps=1)
    lift(recipe, data_root=tiny_toytown, out=tmp_path / "run")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    assert any(path.parent.parent.name == "train" for path in stamps)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
    pretrain(recipe, data_root=tiny_toytown, out=tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    with pytest.raises(ValueError, match="is trained on labels and has no teacher; name another"):
        lift(supervised(recipe), data_root=tiny_toytown, out=tmp_path / "other")
