import json
import shutil
from dataclasses import replace

import pytest
import torch

from clip2scene import build, build_teacher
from clip2scene.config import DataConfig
from clip2scene.datasets.mixed.loader import source_of
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.recipes import fine_tuned
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.runs.mixture import shares_of_sources
from clip2scene.runs.run import open_run
from clip2scene.teacher.clip.load import load_clip
from clip2scene.training.train import finetune, pretrain, train_set


def write(folder, *sources):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "mix.json").write_text(json.dumps({"sources": list(sources)}))
    return folder


@pytest.fixture(scope="module")
def town(tiny_toytown):
    return {"root": str(tiny_toytown), "layout": "nuscenes", "name": "town", "weight": 3}


@pytest.fixture(scope="module")
def kitti(tiny_kitti):
    # SemanticKITTI's toytown has no word for some of nuScenes' classes
    return {"root": str(tiny_kitti), "layout": "semantic-kitti", "name": "kitti", "classes": "town"}


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    return replace(tiny_recipe, data=replace(tiny_recipe.data, layout="mix"), batch_size=2)


@pytest.fixture(scope="module")
def mix(town, kitti, tmp_path_factory):
    return write(tmp_path_factory.mktemp("mixes") / "mix", town, kitti)


@pytest.fixture(scope="module")
def run(mix, recipe, tmp_path_factory):
    """A run on two layouts, evaluated; read it, never write to it."""
    folder = tmp_path_factory.mktemp("runs") / "mixed"
    pretrain(recipe, data_root=mix, out=folder)
    evaluate(folder, data_root=mix)
    return folder


def weights(folder):
    return load_checkpoint(folder / "checkpoint.safetensors").model


def test_a_run_draws_its_sources_by_weight_and_keeps_what_they_are(run, mix):
    opened = open_run(run)
    paths = sorted(next(iter((run / "carried" / "train").iterdir())).glob("*.safetensors"))
    assert {source_of(path.name) for path in paths} == {"town", "kitti"}
    shares = shares_of_sources(opened, paths)
    assert shares.weights == (3.0, 1.0) and train_set(opened, paths).shares is not None
    drawn = [each for step in range(20) for each in shares.order(2, step, seed=0)]
    of_town = sum(source_of(paths[each].name) == "town" for each in drawn)
    assert abs(of_town - 30) <= 2
    kept = json.loads((run / "mix.json").read_text())["sources"]
    assert [each["name"] for each in kept] == ["town", "kitti"]
    assert all(each["root"].startswith("/") and each["table"]["classes"] for each in kept)
    assert (run / "clouds.json").exists()


def test_a_source_is_judged_in_the_classes_that_it_names(run, mix):
    metrics = json.loads((run / "metrics.json").read_text())
    columns = metrics["columns"]
    assert columns["student"]["num_points"] == sum(
        columns[f"student:{name}"]["num_points"] for name in ("town", "kitti")
    )
    kitti = json.loads((mix / "mix.json").read_text())["sources"][1]["name"]
    opened = columns[f"student:{kitti}"]
    named = {
        name
        for source in json.loads((run / "mix.json").read_text())["sources"]
        if source["name"] == "kitti"
        for name in source["classes"].values()
    }
    predicted = torch.tensor(opened["confusion"]).sum(0)
    for number, name in enumerate(opened["classes"]):
        assert name in named or predicted[number] == 0


def test_a_run_that_was_stopped_ends_as_one_that_was_not(run, mix, recipe, tmp_path, monkeypatch):
    from clip2scene.training.state import TrainState

    update, steps = TrainState.update, []
    lifted = shutil.copytree(run / "carried", tmp_path / "lifted")

    def stop(self, loss):
        if len(steps) == 4:
            raise KeyboardInterrupt
        steps.append(update(self, loss))

    monkeypatch.setattr(TrainState, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, data_root=mix, out=tmp_path / "run", save_every=3, lifted=lifted)
    monkeypatch.setattr(TrainState, "update", update)
    pretrain(recipe, data_root=mix, out=tmp_path / "run", save_every=3, lifted=lifted)
    for name, tensor in weights(run).items():
        assert tensor.equal(weights(tmp_path / "run")[name]), name


def test_other_weights_or_sources_are_not_gone_on_with(run, mix, town, kitti, recipe, tmp_path):
    other = tmp_path / "mix.json"
    other.write_text((mix / "mix.json").read_text())
    try:
        for sources in ([{**town, "weight": 2}, kitti], [town]):
            write(mix, *sources)
            with pytest.raises(ValueError, match="begun with other sources, weights or classes"):
                pretrain(recipe, data_root=mix, out=run)
        write(mix, town, {**kitti, "root": str(tmp_path / "gone")})
        with pytest.raises(ValueError, match="other sources"):
            pretrain(recipe, data_root=mix, out=run)
    finally:
        (mix / "mix.json").write_text(other.read_text())


def test_labels_of_sources_with_other_classes_are_not_trained_on(mix, run, recipe, tmp_path):
    tuned = fine_tuned(open_run(run).recipe, from_chance=True)
    with pytest.raises(ValueError, match="do not both name the class"):
        finetune(tuned, data_root=mix, out=tmp_path / "tuned")


def test_class_maps_of_other_classes_are_refused(mix, recipe, run):
    maps = replace(recipe.teacher, kind="label-maps", trained_on_2d_labels=True)
    dataset, space = build.open_dataset(recipe.data, mix, split="train"), load_clip(build.SMALL_CLIP)
    with pytest.raises(ValueError, match="label maps hold the numbers of one data set's classes"):
        build_teacher.build_teacher(maps, space, open_run(run).prompts, dataset)


def test_the_file_itself_is_answered_with_its_folder(mix, recipe, tmp_path):
    with pytest.raises(ValueError, match="name the folder that holds it"):
        pretrain(recipe, data_root=mix / "mix.json", out=tmp_path / "run")
    with pytest.raises(ValueError, match="layout mix, expected nuscenes: add --data.layout mix"):
        pretrain(replace(recipe, data=DataConfig(classes="toytown")), data_root=mix, out=tmp_path / "run")
