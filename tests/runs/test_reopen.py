"""What a run carries is carried anew as soon as what decides it has changed."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from tests.lifting import lift
from tests.tiny_towers import save_tiny_segformer

from clip2scene import build, build_teacher
from clip2scene.config import TeacherConfig
from clip2scene.config.teacher import LATER
from clip2scene.distill import lift as lifting
from clip2scene.distill.lifted import load_lifted
from clip2scene.io import hash_files
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


def test_pseudo_labels_follow_score_maps_and_the_table_of_their_classes(tiny_recipe, town, tmp_path, caplog):
    teacher = TeacherConfig(kind="label-maps", class_table=str(tmp_path / "table.json"))
    recipe = replace(tiny_recipe, teacher=teacher, data=replace(tiny_recipe.data, words="own"))
    dataset = build.open_dataset(recipe.data, town, split="train")
    scores = np.zeros((2, 3, 4), np.float16)
    scores[0, :, :2], scores[1, :, 2:] = 1, 0.5  # left halves of images are of one class, right ones of none
    for token in dataset.tokens:
        for view in range(len(dataset[0].cameras)):
            path = dataset.label_map_path(token, view).with_suffix(".npz")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, scores=scores, size=(96, 160), names=np.array(["automobile thing", "void"]))
    found, inputs = [], set()
    for word in ("car", "bicycle"):
        (tmp_path / "table.json").write_text(json.dumps({"automobile thing": word, "void": None}))
        run, experiment = create_or_resume(recipe, data_root=town, out=tmp_path / "run")
        inputs.add(run.sources.inputs)
        paths = reopening.lift_run(run, experiment)
        lifted = load_lifted(paths[0])
        assert set(lifted.teacher_labels().tolist()) == {-1, dataset.class_set.classes.index(word)}
        points = len(dataset[0].cloud)
        assert 0 < int(lifted.visible().sum()) < points
        found += paths
    assert len(set(found)) == 2 * len(dataset.tokens) and len(inputs) == 2
    assert "stands for barrier, bicycle, bus, pedestrian" in caplog.text
    (tmp_path / "table.json").write_text(json.dumps({"automobile thing": "car"}))
    with pytest.raises(ValueError, match="not known what 'void' of the network's classes are among barrier"):
        create_or_resume(recipe, data_root=town, out=tmp_path / "other")
    assert not (tmp_path / "other" / "recipe.json").exists()


@pytest.fixture
def proxy(tmp_path):
    """A tiny DINOv2, saved as transformers saves it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_ratio": 2}
    folder = tmp_path / "dinov2"
    config = transformers.Dinov2Config(image_size=28, patch_size=14, **sizes)
    transformers.Dinov2Model(config).save_pretrained(folder)
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.3]}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    return folder


def test_a_run_keeps_the_proxy_of_its_teacher_and_refuses_another(
    tiny_recipe, town, tmp_path, proxy, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    teacher = replace(tiny_recipe.teacher, scales=(0.5,), proxy=proxy.name)
    recipe = replace(tiny_recipe, teacher=teacher)
    run, experiment = create_or_resume(recipe, data_root=town, out=tmp_path / "run")
    assert (run.sources.proxy, run.sources.proxy_hash) == (str(proxy), hash_files(proxy))
    plain, _ = create_or_resume(
        replace(recipe, teacher=replace(teacher, proxy=None)), data_root=town, out=tmp_path / "plain"
    )
    monkeypatch.chdir("/")  # the folder is named from where the run was made
    first = experiment.dataset.tokens[:1]
    (with_proxy,), (without,) = (
        lift(each, town, split="train", labels=first, into=tmp_path / "shared") for each in (run, plain)
    )
    assert with_proxy.parent != without.parent
    assert not torch.equal(load_lifted(with_proxy).pair_logits, load_lifted(without).pair_logits)
    (proxy / "preprocessor_config.json").write_text('{"do_normalize": false}')
    with pytest.raises(
        ValueError, match="the proxy in .*dinov2 is not the one that the teacher of .*run had"
    ):
        lift(run, town, split="train", labels=first)


def test_settings_that_came_later_name_pseudo_labels_only_where_they_are_on(tiny_recipe, town, tmp_path):
    run, experiment = create_or_resume(tiny_recipe, data_root=town, out=tmp_path / "run")
    named = reopening._sources(run, experiment)["teacher"]
    assert not set(LATER) & set(named) and named["scales"] == tiny_recipe.teacher.scales
    other = replace(run, recipe=replace(tiny_recipe, teacher=replace(tiny_recipe.teacher, attention="cells")))
    assert reopening._sources(other, experiment)["teacher"] == named | {"attention": "cells"}


def test_what_is_trained_on_is_consolidated_over_its_drive_and_nothing_else_changes(
    tiny_recipe, town, tmp_path
):
    shared, found = tmp_path / "shared", {}
    for consolidate in (False, True):
        recipe = replace(tiny_recipe, teacher=replace(tiny_recipe.teacher, consolidate=consolidate))
        run, experiment = create_or_resume(recipe, data_root=town, out=tmp_path / str(consolidate))
        found[consolidate] = reopening.lift_run(run, experiment, into=shared)
        assert load_lifted(lift(run, town, split="val", into=shared)[0]).consolidated is None
    assert [path.parents[1] / path.name for path in found[True]] == found[False], "lifted once"
    without, lifted = load_lifted(found[False][0]), load_lifted(found[True][0])
    assert without.consolidated is None and lifted.consolidated.shape == (len(lifted.cloud),)
    taught = lifted.teacher_targets() >= 0
    assert (taught & ~lifted.visible()).any(), "points that no camera saw then are taught too"
    some = reopening.lift_run(run, experiment, into=shared, tokens=experiment.dataset.tokens[1:])
    assert some == found[False][1:], "a part of a drive is left as it is"


def test_consolidation_without_poses_is_refused_before_the_teacher_looks(
    tiny_recipe, town, tmp_path, monkeypatch
):
    recipe = replace(tiny_recipe, teacher=replace(tiny_recipe.teacher, consolidate=True))
    run, experiment = create_or_resume(recipe, data_root=town, out=tmp_path / "run")
    monkeypatch.setattr(type(experiment.dataset), "timestamps", lambda dataset, index: None)
    with pytest.raises(ValueError, match="nothing tells where it was recorded.*--teacher.no-consolidate"):
        reopening.lift_run(run, experiment)
    assert not (run.folder / "carried").exists()


def test_a_segmenter_labels_both_splits_and_is_not_exchanged(tiny_recipe, tiny_toytown, tmp_path, caplog):
    folder = save_tiny_segformer(tmp_path / "net", ("road", "car", "tree", "building", "fence"), (96, 160))
    (tmp_path / "table.json").write_text(json.dumps({"building": "truck"}))
    teacher = TeacherConfig(
        kind="segmenter", trained_on_2d_labels=True, class_table=str(tmp_path / "table.json")
    )
    recipe = replace(tiny_recipe, teacher=teacher, data=replace(tiny_recipe.data, words="own"))
    with pytest.raises(ValueError, match="segmenter needs a network; .*--teacher-weights"):
        create_or_resume(recipe, data_root=tiny_toytown, out=tmp_path / "run")
    given = {"data_root": tiny_toytown, "out": tmp_path / "run", "teacher_weights": str(folder)}
    run, experiment = create_or_resume(recipe, **given)
    assert run.sources.teacher_hash == build_teacher.hash_teacher(str(folder)) and run.sources.seal
    assert "stands for barrier, bicycle, bus, pedestrian, traffic cone, sidewalk, terrain" in caplog.text
    lifted = [
        load_lifted(reopening.lift_run(run, experiment)[0]),
        load_lifted(lift(run, tiny_toytown, split="val")[0]),
    ]
    classes = experiment.dataset.class_set.classes
    possible = {
        classes.index(name) for name in ("driveable surface", "car", "vegetation", "truck", "manmade")
    }
    for each in lifted:
        labels = set(each.teacher_labels().tolist()) - {-1}
        assert labels and labels <= possible
    assert create_or_resume(recipe, **given)[0].sources == run.sources
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.1, 0.1, 0.1]}))
    for again in (lambda: create_or_resume(recipe, **given), lambda: lift(run, tiny_toytown, split="val")):
        with pytest.raises(ValueError, match="the segmenter in .*net is not the one that .* was trained on"):
            again()


def test_a_strangers_run_opens_no_segmenter(tiny_recipe, tiny_toytown, tmp_path):
    folder = save_tiny_segformer(tmp_path / "net", ("road", "car"), (96, 160))
    recipe = replace(
        tiny_recipe,
        teacher=TeacherConfig(kind="segmenter", trained_on_2d_labels=True),
        data=replace(tiny_recipe.data, words="own"),
    )
    run, _ = create_or_resume(
        recipe, data_root=tiny_toytown, out=tmp_path / "run", teacher_weights=str(folder)
    )
    stranger = replace(run, sources=replace(run.sources, seal=""))
    with pytest.raises(ValueError, match="was not made by you on this machine, and asks to open"):
        lift(stranger, tiny_toytown, split="val")
