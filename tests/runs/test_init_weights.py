from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from clip2scene.build import NETWORKS
from clip2scene.recipes import fine_tuned
from clip2scene.runs.init_weights import (
    InitWeights,
    init_parts,
    init_weights_of,
    initial_student,
    load_init,
    suit_start,
)
from clip2scene.runs.run import open_run
from clip2scene.student.model import Embedder, ProjectionHeads


def make_student(seed=0, num_classes=None, local=None):
    torch.manual_seed(seed)
    backbone = NETWORKS["minkunet14a"](1, width=0.25, voxel_size=0.5)
    return Embedder(backbone, 3, num_classes=num_classes, local=local)


def kinds(weights):
    return {name.split(".")[0] for name in weights}


@pytest.mark.parametrize(
    ("words", "kept"), [(True, {"backbone", "head", "classifier"}), (False, {"backbone", "classifier"})]
)
def test_what_only_its_own_losses_needed_is_left_and_so_is_a_head_that_was_never_trained(words, kept):
    backbone = NETWORKS["minkunet14a"](1, width=0.25, voxel_size=0.5)
    student = make_student(num_classes=2, local=ProjectionHeads(backbone.out_channels, 3, 3))
    weights = student.state_dict()
    assert "local" in kinds(weights)
    assert kinds(init_parts(weights, words=words)) == kept


def test_weights_know_words_where_a_text_head_is_among_them(tmp_path):
    weights = make_student().state_dict()
    for words in (True, False):
        start = InitWeights(tmp_path, init_parts(weights, words=words))
        assert start.knows_words is start.about()["knows_words"] is words


def test_weights_are_told_apart_by_their_numbers_and_not_by_where_they_lie(tmp_path):
    weights = init_parts(make_student().state_dict(), words=True)
    start = InitWeights(tmp_path, weights)
    same = replace(start, origin=tmp_path / "moved", weights={k: v.clone() for k, v in weights.items()})
    other = replace(start, weights={**weights, "head.bias": weights["head.bias"] + 1})
    assert start.about()["sha256"] == same.about()["sha256"] != other.about()["sha256"]


def test_a_run_without_labels_gives_its_backbone_and_its_text_head(tiny_run):
    start, run = init_weights_of(tiny_run), open_run(tiny_run)
    student = run.student().state_dict()
    assert kinds(start.weights) == {"backbone", "head"}
    assert all(torch.equal(student[name], tensor) for name, tensor in start.weights.items())
    assert (start.origin, start.classes, start.labels_used) == (tiny_run, (), {})


def test_a_run_from_chance_begins_with_what_its_seed_draws(tiny_run):
    run = open_run(tiny_run)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(initial_student(run).head.weight)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_weights_to_begin_with_that_cannot_be_read_are_named(tiny_run, tmp_path, damage):
    start = init_weights_of(tiny_run)
    run = replace(open_run(tiny_run), folder=tmp_path)
    run = replace(run, sources=replace(run.sources, init=start.about()))
    path = tmp_path / "start.safetensors"
    if damage == "cut":
        save_file(dict(start.weights), path)
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"start\.safetensors cannot be read .*; restore it, or train anew"):
        initial_student(run)


def test_other_weights_than_those_begun_with_are_refused(tiny_run, tmp_path):
    start = init_weights_of(tiny_run)
    run = replace(open_run(tiny_run), folder=tmp_path)
    run = replace(run, sources=replace(run.sources, init=start.about()))
    backbone = {name: each for name, each in start.weights.items() if name.startswith("backbone.")}
    save_file(backbone, tmp_path / "start.safetensors")  # the text head would be random
    with pytest.raises(ValueError, match=r"start\.safetensors holds other weights than the run began with"):
        initial_student(run)


def test_weights_that_are_not_finite_begin_nothing():
    student = make_student()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    weights = init_parts(make_student(seed=1).state_dict(), words=True)
    weights["head.bias"] = weights["head.bias"] * float("nan")
    with pytest.raises(ValueError, match="not finite in 1 tensors .such as head.bias"):
        load_init(student, weights)
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())


def test_what_is_not_given_stays_as_it_is():
    student, other = make_student(num_classes=2), make_student(seed=1)
    before = student.classifier.weight.detach().clone()
    load_init(student, init_parts(other.state_dict(), words=True))
    assert torch.equal(student.classifier.weight, before)
    assert torch.equal(student.head.weight, other.head.weight)


def test_a_classifier_begins_with_the_logits_of_the_text_head():
    student = make_student(num_classes=2)
    text = torch.nn.functional.normalize(torch.rand(2, 3), dim=1)
    load_init(student, init_parts(make_student(seed=1).state_dict(), words=True), text)
    features = torch.rand(5, student.head.in_features)
    torch.testing.assert_close(student.classifier(features), student.head(features) @ text.T)


@pytest.mark.parametrize("part", ["backbone.stem.conv.weight", "head.weight"])
def test_weights_of_another_network_are_refused_and_change_nothing(part):
    student = make_student()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    weights = init_parts(make_student(seed=1).state_dict(), words=True) | {part: torch.zeros(2, 2)}
    with pytest.raises(ValueError, match=f"another network's: tensors .*{part}.*take the student settings"):
        load_init(student, weights)
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())


def suited(start, recipe, run, space=None):
    """What a recipe begins with in the text space of a run, or in another."""
    return suit_start(start, recipe, run.prompts, run.sources.text_space if space is None else space)


def test_a_text_head_is_taken_where_the_text_space_is_the_same(tiny_run):
    start, run = init_weights_of(tiny_run), open_run(tiny_run)
    assert suited(start, run.recipe, run) is start
    assert kinds(suited(start, run.recipe, run, "another").weights) == {"backbone"}
    assert suited(start, run.recipe, run, "").knows_words  # it is not known, but the same names lie alike
    turned = replace(run, prompts=replace(run.prompts, embeddings=run.prompts.embeddings.flip(1)))
    assert not suited(start, run.recipe, turned, "").knows_words


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"width": 0.5}, "add --student.width 0.25"),
        ({"network": "spvcnn"}, "add --student.network minkunet14a"),
        ({"voxel_size": 0.1}, None),
        ({"superpoint_mean": False}, None),
    ],
)
def test_weights_trained_with_other_settings_are_refused_with_what_to_set(tiny_run, changes, remedy):
    start, run = init_weights_of(tiny_run), open_run(tiny_run)
    recipe = replace(run.recipe, student=replace(run.recipe.student, **changes))
    if remedy is None:
        assert suited(start, recipe, run) is start
        return
    with pytest.raises(ValueError, match=f"was trained with .*; {remedy}"):
        suited(start, recipe, run)


def test_what_was_trained_on_labels_begins_nothing_without_labels(tiny_run):
    start, run = init_weights_of(tiny_run), open_run(tiny_run)
    labelled = replace(start, run=replace(run, recipe=fine_tuned(run.recipe)))
    with pytest.raises(ValueError, match="trained on labels, so what begins with it is not label-free"):
        suited(labelled, run.recipe, run)
    assert suited(labelled, fine_tuned(run.recipe), run) is labelled


def test_weights_that_are_no_runs_are_given_back(tiny_run, tmp_path):
    start, run = InitWeights(tmp_path, {}), open_run(tiny_run)
    assert suited(start, run.recipe, run) is start


def test_labels_of_images_that_a_start_was_taught_with_are_not_forgotten(tiny_run):
    start = init_weights_of(tiny_run)
    run = start.run
    recipe = replace(run.recipe, teacher=replace(run.recipe.teacher, trained_on_2d_labels=True))
    taught = replace(start, run=replace(run, recipe=recipe))
    with pytest.raises(
        ValueError, match="--start: .* labelled images, .* set --teacher.trained-on-2d-labels"
    ):
        suit_start(taught, run.recipe, run.prompts, "")
    labelled = replace(run.recipe, supervision="labels")
    for allowed in (recipe, labelled):
        assert suit_start(taught, allowed, run.prompts, "") is taught
