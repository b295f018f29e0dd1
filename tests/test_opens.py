"""What is slow to open is opened once: the data set and the image-text model."""

from collections import Counter
from dataclasses import replace

import pytest

from clip2scene import build, build_teacher
from clip2scene.config import LabelsConfig
from clip2scene.recipes import fine_tuned
from clip2scene.runs import run as run_module
from clip2scene.runs.init_weights import init_weights_of
from clip2scene.training.train import finetune, pretrain


@pytest.fixture
def opened(monkeypatch):
    """Calls so far: of data sets with and without labels, and of image-text models."""
    calls = Counter()
    open_dataset, load_clip = build.open_dataset, build_teacher.load_clip

    def open_and_count(*words, labels=False, **options):
        calls["labels" if labels else "data"] += 1
        return open_dataset(*words, labels=labels, **options)

    def load_and_count(source):
        calls["model"] += 1
        return load_clip(source)

    monkeypatch.setattr(build, "open_dataset", open_and_count)
    for owner in (build_teacher, run_module):
        monkeypatch.setattr(owner, "load_clip", load_and_count)
    return calls


def test_pretraining_opens_the_data_and_the_model_once_begun_or_resumed(
    tiny_recipe, tiny_toytown, tmp_path, opened
):
    recipe = replace(tiny_recipe, steps=1)
    pretrain(recipe, data_root=tiny_toytown, out=tmp_path / "run")
    assert opened == {"data": 1, "model": 1}
    opened.clear()
    pretrain(recipe, data_root=tiny_toytown, out=tmp_path / "run")
    assert opened == {"data": 1, "model": 1}


def test_fine_tuning_opens_the_data_to_choose_and_once_more_with_the_labels_that_were_chosen(
    tiny_recipe, tiny_run, tiny_toytown, tmp_path, opened
):
    labels = LabelsConfig(by="keyframe", absent="allow", holdout=0.5)
    recipe = replace(fine_tuned(tiny_recipe), labels=labels, steps=1)
    options = {"data_root": tiny_toytown, "out": tmp_path / "run", "start": init_weights_of(tiny_run)}
    finetune(recipe, **options)
    assert opened == {"data": 1, "labels": 1, "model": 1}
    opened.clear()
    finetune(recipe, **options)
    assert opened == {"labels": 1}  # the choice stands in the run, and its classes are embedded already
