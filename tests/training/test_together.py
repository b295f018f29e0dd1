import json
import threading
from dataclasses import replace

import pytest
import torch
from tests.ranks_in_threads import on_ranks, refusals
from tests.training.test_train import CPU, KINDS, RECIPE, make_run, make_seen_corner

from clip2scene import build
from clip2scene.config import OptimiserConfig, TuningConfig
from clip2scene.distill.batch import Batch, _each_tensor
from clip2scene.distill.lifted import save_lifted
from clip2scene.distill.losses.scr import class_weights
from clip2scene.ranks import here
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.runs.log import last_step
from clip2scene.training import train
from clip2scene.training.together import _hash_samples, hear_first, require_same_call
from clip2scene.types import Prompts

SGD = OptimiserConfig(name="sgd", learning_rate=0.05, average=0.9)
KINDS = {**KINDS, "lovasz": {"loss": replace(RECIPE.loss, lovasz=1.0, reverse=0.1)}}


@pytest.fixture(autouse=True)
def one_thread_at_a_time_draws(monkeypatch):
    """Ranks are processes, each with a random generator of its own; here they are threads that share one."""
    lock, resume, seed = threading.Lock(), train.resume, torch.manual_seed

    def alone(run, device):
        with lock:
            seed(run.recipe.seed)
            return resume(run, device)

    monkeypatch.setattr(train, "resume", alone)
    monkeypatch.setattr(torch, "manual_seed", lambda number: None)


@pytest.fixture
def in_float64(monkeypatch):
    """Train in float64: what differs by more than its rounding is another sum."""
    resume = train.resume

    def resume_wide(run, device):
        state = resume(run, device)
        state.student.double(), state.averaged.double()
        return state

    def widened(value):
        return _each_tensor(value, lambda each: each.double() if each.is_floating_point() else each)

    monkeypatch.setattr(train, "resume", resume_wide)
    monkeypatch.setattr(Batch, "to", lambda batch, device: widened(batch))
    monkeypatch.setattr(Prompts, "to", lambda prompts, device: widened(prompts))
    monkeypatch.setattr(build, "class_weights", lambda *args: class_weights(*args).double())


def prepared(folder, recipe):
    """A run that has not begun, and its samples, which have all that a loss may ask for."""
    run, paths = make_run(folder, recipe)
    if recipe.loss.backbone is not None:
        run = replace(run, sources=replace(run.sources, pixel_channels=2))
    for number, path in enumerate(paths):
        lifted = make_seen_corner(number)
        if recipe.keep == "maps":
            lifted = replace(lifted, teacher_features=replace(lifted.teacher_features, superpixels=None))
        save_lifted(path, lifted)
    return run, paths


def train_together(run, paths, size=2, save_every=5):
    """Train with some ranks."""

    def one():
        if here().leads:
            train.train(run, paths, device=CPU, save_every=save_every)
        else:
            train._follow(run.folder, device=CPU, save_every=save_every)

    on_ranks(size, one)


def history(run):
    """Losses of a run, and the weights it ends with."""
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, run.recipe.steps + 1))
    return [line["loss"] for line in lines], load_checkpoint(run.checkpoint_path).optimizer["weights"]


@pytest.fixture
def readable(monkeypatch):
    """Followers open the run as it was prepared, which has no recipe of its own on disk."""

    def give(run):
        monkeypatch.setattr(train, "open_run", lambda folder: run)

    return give


def assert_two_ranks_are_one(folder, readable, recipe):
    """Train by one process and by two ranks: losses and weights are the same."""
    alone, two = prepared(folder / "alone", recipe), prepared(folder / "two", recipe)
    train.train(*alone, device=CPU, save_every=9)
    readable(two[0])
    train_together(*two)
    (losses, weights), (found_losses, found) = history(alone[0]), history(two[0])
    assert found_losses == pytest.approx(losses, rel=1e-9)
    for name, expected in weights.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("in_float64")
def test_two_ranks_with_a_sample_each_take_the_steps_of_one_process_with_two(tmp_path, readable, kind):
    assert_two_ranks_are_one(tmp_path, readable, replace(RECIPE, steps=3, optimiser=SGD, **KINDS[kind]))


@pytest.mark.usefixtures("in_float64")
def test_ranks_accumulate_gradients_as_one_process_does(tmp_path, readable):
    recipe = replace(RECIPE, steps=3, optimiser=replace(SGD, accumulate=2))
    assert_two_ranks_are_one(tmp_path, readable, recipe)


@pytest.mark.usefixtures("in_float64")
def test_the_anchor_of_a_student_is_asked_by_parts_too(tmp_path, readable, monkeypatch):
    tuning = TuningConfig(keep_words=1.0, head="words")
    recipe = replace(RECIPE, steps=2, optimiser=SGD, supervision="labels", tuning=tuning)
    alone, two = prepared(tmp_path / "alone", recipe), prepared(tmp_path / "two", recipe)
    torch.manual_seed(1)
    anchor = alone[0].new_student().double().eval()
    monkeypatch.setattr(train, "_anchor", lambda run, device: anchor)
    train.train(*alone, device=CPU, save_every=9)
    readable(two[0])
    train_together(*two)
    assert history(two[0])[0] == pytest.approx(history(alone[0])[0], rel=1e-9)


def test_ranks_that_stop_go_on_as_if_they_never_had(tmp_path, readable, monkeypatch):
    recipe = replace(RECIPE, steps=6)
    whole, stopped = prepared(tmp_path / "whole", recipe), prepared(tmp_path / "stopped", recipe)
    readable(whole[0])
    train_together(*whole, save_every=3)
    readable(stopped[0])
    step = train.train_step

    def stop_in_the_fifth(*args):
        if (stopped[0].folder / "log.jsonl").exists() and last_step(stopped[0].folder / "log.jsonl") == 4:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(train, "train_step", stop_in_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        train_together(*stopped, save_every=3)
    monkeypatch.setattr(train, "train_step", step)
    (stopped[0].folder / "log.jsonl").unlink()
    train_together(*stopped, save_every=3)
    assert last_step(stopped[0].folder / "log.jsonl") == 6
    ends = [load_checkpoint(run.checkpoint_path).model for run, _ in (whole, stopped)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_with_statistics_of_their_own_ranks_differ_from_one_process_but_not_from_each_other(
    tmp_path, readable, monkeypatch
):
    recipe = replace(RECIPE, steps=2, optimiser=replace(SGD, batch_norm="own-rank"))
    alone, two = prepared(tmp_path / "alone", recipe), prepared(tmp_path / "two", recipe)
    train.train(*alone, device=CPU, save_every=9)
    readable(two[0])
    states, resume = {}, train.resume
    monkeypatch.setattr(
        train, "resume", lambda run, device: states.setdefault(here().rank, resume(run, device))
    )
    train_together(*two)
    first, second = (states[rank].student.state_dict() for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert history(two[0])[0] != pytest.approx(history(alone[0])[0], rel=1e-3)


def test_what_all_ranks_must_have_alike_is_compared_before_anything_is_done():
    def call(recipe, root):
        require_same_call(recipe, None, data_root=root, save_every=5)

    pair = replace(RECIPE, batch_size=4)
    assert refusals(2, call, (pair, pair), ("a", "a")) == [None, None]
    said = refusals(2, call, (pair, replace(pair, seed=1)), ("a", "b"))
    assert said[0] == said[1] and said[0].startswith("rank 1 of 2 on ")
    assert "has --seed 1 (there 0), --data-root b (there a); start all by one command" in said[0]
    said = refusals(3, call, (pair,) * 3, "aaa")
    assert len(set(said)) == 1
    assert "--batch-size 4 is that of all 3 processes together" in said[0] and "so give 6" in said[0]
    call(replace(RECIPE, batch_size=3), "a")  # a process alone takes any


@pytest.mark.parametrize("what", ["samples", "checkpoint"])
def test_ranks_that_see_other_files_are_refused_before_the_first_step(tmp_path, readable, monkeypatch, what):
    run, paths = prepared(tmp_path / "here", RECIPE)
    there, others = prepared(tmp_path / "there", RECIPE)
    if what == "samples":
        save_lifted(others[1], make_seen_corner(7))
        monkeypatch.setattr(train, "hear_first", lambda: hear_first() and (others, []))
    else:
        train.train(run, paths, device=CPU, save_every=RECIPE.steps)
    readable(there)
    with pytest.raises(
        ValueError, match="rank 1 of 2 .* differs from the first.*all machines share"
    ) as error:
        train_together(run, paths)
    assert ("samples to train on" if what == "samples" else "step 0 (there 12)") in str(error.value)
    assert not there.checkpoint_path.exists() and (what == "checkpoint") == run.checkpoint_path.exists()


def test_a_rank_that_cannot_read_a_sample_names_it(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.safetensors cannot be read.*all machines share"):
        _hash_samples([tmp_path / "absent.safetensors"])
