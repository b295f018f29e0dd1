from dataclasses import replace

import pytest
import torch

from clip2scene.distill.lifted import load_lifted
from clip2scene.inference.predict import predict
from clip2scene.io import read_json
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.runs.first_round import first_round_of
from clip2scene.runs.reopen import lift_run, reopen
from clip2scene.runs.run import open_run
from clip2scene.training import record, train
from clip2scene.training import second_round as training_second_round
from clip2scene.training.second_round import TURNS, predict_copies, second_round
from clip2scene.training.train import pretrain
from clip2scene.types import PointCloud

CPU = torch.device("cpu")


@pytest.fixture
def first(tiny_run):
    return first_round_of(tiny_run)


@pytest.fixture(scope="module")
def lifted(tiny_run, tiny_toytown, tmp_path_factory):
    """The first round's run and its training samples, lifted into a folder of these tests."""
    run = open_run(tiny_run)
    experiment = reopen(run, tiny_toytown, split="train")
    return experiment, lift_run(run, experiment, into=tmp_path_factory.mktemp("lifted"))


def test_the_student_predicts_the_mirror_image_and_each_sweep_by_itself(first, lifted):
    sample = load_lifted(lifted[1][0])
    cloud, size = sample.cloud, len(sample.cloud)
    student = first.run.student()
    flip = torch.tensor([1.0, -1.0, 1.0])
    both = [
        predict(student, first.run.prompts, PointCloud(each, cloud.features)).logits
        for each in (cloud.positions, cloud.positions * flip)
    ]
    assert not torch.allclose(*both)
    expected = torch.stack(both).mean(0).softmax(1)
    torch.testing.assert_close(predict_copies(student, first.run.prompts, sample), expected)
    twice = PointCloud(cloud.positions.repeat(2, 1), cloud.features.repeat(2, 1))
    sweeps = replace(sample, cloud=twice, sweep_sizes=(size, size))
    torch.testing.assert_close(predict_copies(student, first.run.prompts, sweeps), expected.repeat(2, 1))


def test_the_mirror_stands_where_the_lidar_does(first, lifted):
    sample, student = load_lifted(lifted[1][0]), first.run.student()
    student.superpoint_mean, student.viewpoint = False, (0.0, 1.5, 0.0)
    aside = sample.cloud.positions + torch.tensor([0.0, 1.5, 0.0])
    mirrored = sample.cloud.positions * torch.tensor([1.0, -1.0, 1.0]) + torch.tensor([0.0, 1.5, 0.0])
    predictions = [
        predict_copies(
            student, first.run.prompts, replace(sample, cloud=replace(sample.cloud, positions=each))
        )
        for each in (aside, mirrored)
    ]
    torch.testing.assert_close(*predictions)


def test_the_copies_are_turned(first, lifted, monkeypatch):
    asked = []
    monkeypatch.setattr(
        training_second_round, "second_round_split", lambda paths, ask, **_: asked.append(ask) or list(paths)
    )
    second_round(first, *lifted, device=CPU)
    assert asked[0].args[0].inputs.turns == TURNS


def test_predictions_become_targets_of_points_that_no_camera_sees_too(first, lifted):
    experiment, paths = lifted
    found = second_round(first, experiment, paths, device=CPU)
    own, teacher = (load_lifted(each[0]) for each in (found, paths))
    unseen = ~teacher.visible() & (teacher.voted_labels() < 0)
    assert unseen.any() and (own.consolidated[unseen] >= 0).any()  # a camera is not needed
    assert (own.consolidated == teacher.voted_labels())[teacher.visible()].float().mean() > 0.2
    none = replace(experiment.recipe, self_training=replace(experiment.recipe.self_training, lead=1.0))
    kept = second_round(first, replace(experiment, recipe=none), paths, device=CPU)
    assert torch.equal(load_lifted(kept[0]).consolidated, teacher.voted_labels())


def test_a_second_round_is_trained_on_them_and_goes_on_as_if_it_had_never_stopped(
    first, tiny_toytown, tiny_recipe, tmp_path, monkeypatch
):
    def run(out):
        return pretrain(tiny_recipe, data_root=tiny_toytown, out=tmp_path / out, first=first, save_every=3)

    given = []
    kept_train = train.train
    monkeypatch.setattr(
        train,
        "train",
        lambda run, paths, *more, **named: given.append(paths) or kept_train(run, paths, *more, **named),
    )
    whole = run("whole")
    assert all(load_lifted(path).consolidated is not None for path in given[0])
    assert read_json(whole / "sources.json")["second_round"] == first.about()

    def cut(run, paths, *more, **named):
        monkeypatch.setattr(record, "memory_shown", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        kept_train(run, paths, *more, **named)

    monkeypatch.setattr(train, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        run("cut")
    monkeypatch.undo()
    again = run("cut")
    one, two = (load_checkpoint(each / "checkpoint.safetensors").model for each in (whole, again))
    assert all(torch.equal(one[name], two[name]) for name in one)
    plain = pretrain(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "plain")
    other = load_checkpoint(plain / "checkpoint.safetensors").model
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_drives_are_gathered_where_the_recipe_consolidates(first, lifted, tiny_recipe):
    experiment, paths = lifted
    recipe = replace(tiny_recipe, teacher=replace(tiny_recipe.teacher, consolidate=True))
    together = replace(experiment, recipe=recipe)
    consolidated = lift_run(replace(first.run, recipe=recipe), together, into=paths[0].parents[2])
    assert consolidated != paths
    found = second_round(first, together, consolidated, device=CPU)
    assert len(list(paths[0].parent.glob("consolidated-*/gathered-*/*.safetensors"))) == len(paths) == 2
    before, after = (load_lifted(each[0]).consolidated for each in (consolidated, found))
    assert (before == after).any() and (before != after).any()
    assert torch.equal(load_lifted(found[0]).visible(), load_lifted(paths[0]).visible())


def test_the_command_takes_a_run_and_refuses_the_packages_own(call, tiny_run, tiny_toytown, tmp_path):
    words = ("pretrain", "toytown", "--steps", 1, "--data-root", tiny_toytown, "--out", tmp_path / "out")
    code, _, err = call(*words, "--second-round", "builtin")
    assert code == 1 and "was trained on other data (not known)" in err.splitlines()[-1]
    code, _, err = call(*words, "--second-round", tmp_path)
    assert code == 1 and "is not a run" in err.splitlines()[-1]
