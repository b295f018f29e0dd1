import json
import shutil
from dataclasses import replace

import pytest
import torch

from clip2scene.classes.tables import TOYTOWN
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.evaluation.counting import COLUMNS
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import fingerprint
from clip2scene.recipes import supervised
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.runs.run import open_run
from clip2scene.training.train import pretrain

TABLES = "v1.0-trainval"


@pytest.fixture(scope="module")
def metrics(tiny_run):
    return json.loads((tiny_run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def sample(tiny_toytown):
    return NuScenes(tiny_toytown, split="val", labels=False)[0]


def weights_of(run):
    """Hash of every byte of a run's weights."""
    return fingerprint(load_checkpoint(run / "checkpoint.safetensors").model)


def unlabelled(data, root):
    """Copy a data set, its label files broken and the tables about labels gone."""
    shutil.copytree(data, root)
    for path in (root / "lidarseg").rglob("*.bin"):
        path.write_bytes(b"poison")
    for table in ("lidarseg", "category"):
        (root / TABLES / f"{table}.json").unlink()
    return root


def test_the_metrics_say_all_that_a_table_of_results_needs(metrics, tiny_toytown):
    columns = metrics["columns"]
    assert set(columns) == {*COLUMNS, "random"}
    assert columns["student"].items() <= metrics.items()
    about_the_run = {"split": "val", "recipe": "toytown", "seed": 0}
    kinds = {"label_free": True, "teacher_trained_on_2d_labels": False}
    assert metrics.items() >= {**about_the_run, **kinds, "classes": list(TOYTOWN.classes)}.items()
    assert set(metrics["iou"]) == set(TOYTOWN.classes)
    judged = sum(
        int((sample.labels >= 0).sum()) for sample in NuScenes(tiny_toytown, split="val", class_set=TOYTOWN)
    )
    assert metrics["num_points"] == judged == sum(map(sum, metrics["confusion"]))


def test_every_point_is_judged_either_as_seen_or_as_unseen(metrics):
    points = {name: column["num_points"] for name, column in metrics["columns"].items()}
    assert points["student_seen"] + points["student_unseen"] == points["student"] == points["random"]
    assert points["teacher_seen"] == points["voted_seen"] == points["student_seen"] > 0
    assert points["student_unseen"] > 0


def test_the_small_clip_names_toytowns_points_far_better_than_chance(metrics):
    scores = metrics["columns"]
    assert scores["teacher_seen"]["accuracy"] > 5 * scores["random"]["accuracy"]
    assert scores["voted"]["accuracy"] > scores["teacher"]["accuracy"]


def test_a_label_free_run_never_opens_a_label(tiny_run, tiny_toytown, tiny_recipe, tmp_path):
    data = unlabelled(tiny_toytown, tmp_path / "data")
    pretrain(tiny_recipe, data_root=data, out=tmp_path / "run")
    assert weights_of(tmp_path / "run") == weights_of(tiny_run)
    with pytest.raises(ValueError, match="lidarseg.json is missing"):
        evaluate(tmp_path / "run", data_root=data)


def test_the_supervised_ceiling_is_labelled_as_such(tiny_toytown, tiny_recipe, tmp_path):
    pretrain(supervised(replace(tiny_recipe, steps=2)), data_root=tiny_toytown, out=tmp_path)
    evaluate(tmp_path, data_root=tiny_toytown)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert not metrics["label_free"]
    assert metrics["recipe"] == "toytown-supervised"
    assert metrics["columns"]["teacher_seen"]["num_points"] > 0  # judged beside its teacher all the same


def test_a_run_segments_clouds_by_any_words_it_has_meanings_for(tiny_run, sample):
    segmenter = Segmenter.load(tiny_run)
    segmenter.set_prompts([" car", "person"])
    found = segmenter.segment(sample.cloud)
    assert found.names == ("car", "person")
    assert found.labels.shape == (len(sample.cloud),)
    assert set(found.labels.tolist()) <= {-1, 0, 1}
    assert (found.scores.sum(1) < 1 + 1e-5).all()  # the rest is the background's
    labelled = found.labels >= 0
    assert torch.equal(found.scores.argmax(1)[labelled], found.labels[labelled])
    segmenter.set_prompts(["person", "car"])
    torch.testing.assert_close(segmenter.segment(sample.cloud).scores, found.scores.flip(1))


def test_without_words_a_segmenter_answers_in_the_classes_of_its_run(tiny_run, sample):
    segmenter = Segmenter.load(tiny_run)
    found = segmenter.segment(sample.cloud, with_embeddings=True)
    assert found.names == TOYTOWN.classes
    logits = open_run(tiny_run).prompts.class_logits(found.embeddings)
    assert torch.equal(found.labels, logits.argmax(1))


def test_a_run_can_be_moved_to_another_folder(tiny_run, sample, tmp_path):
    moved = shutil.copytree(tiny_run, tmp_path / "elsewhere")
    here, there = (Segmenter.load(run).segment(sample.cloud) for run in (tiny_run, moved))
    assert torch.equal(here.scores, there.scores)
