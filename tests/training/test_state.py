from dataclasses import replace

import pytest
import torch

from clip2scene.build import NETWORKS
from clip2scene.config import OptimiserConfig, Recipe, TuningConfig
from clip2scene.runs.checkpoint import load_checkpoint, save_checkpoint
from clip2scene.student.model import Embedder
from clip2scene.training.optimiser import learning_rate
from clip2scene.training.state import TrainState

RECIPE = Recipe(name="any", optimiser=OptimiserConfig(name="adamw", learning_rate=0.1, average=0.9), steps=10)


def make_state(recipe=RECIPE, seed=0):
    torch.manual_seed(seed)
    return TrainState(Embedder(NETWORKS["minkunet14a"](1, width=0.25, voxel_size=0.5), 3), recipe)


def go(state, steps=1):
    """Train the head alone, whose weights are the same sum of squares for everybody."""
    for _ in range(steps):
        state.update(state.student.head.weight.square().sum())
    return state


def head(student):
    return student.head.weight.detach().clone()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_step_goes_down_the_loss_and_is_counted():
    state = make_state()
    before = head(state.student)
    go(state)
    assert state.step == 1
    assert head(state.student).norm() < before.norm()


def test_the_running_mean_is_between_where_the_weights_were_and_where_they_are():
    state = make_state()
    before = head(state.student)
    go(state)
    keep = 2 / 11  # at first it forgets faster than the recipe says
    torch.testing.assert_close(head(state.averaged), keep * before + (1 - keep) * head(state.student))


def test_a_step_follows_its_own_gradient_alone():
    state = make_state()
    for _ in range(2):
        state.update(state.student.head.weight.sum())
    assert (state.student.head.weight.grad == 1).all()


def test_rates_are_those_of_the_schedule_at_the_steps_taken_before_each_times_a_groups_factor():
    tuning = TuningConfig(head_rate=10.0)
    state = make_state(replace(RECIPE, supervision="labels", tuning=tuning))
    for before in range(3):
        go(state)
        rate = learning_rate(RECIPE.optimiser, before / RECIPE.steps)
        rates = {group["scale"]: group["lr"] for group in state.optimiser.param_groups}
        assert rates == pytest.approx({1.0: rate, 10.0: 10 * rate})


def test_counters_are_copied_into_the_running_mean():
    state = make_state()
    counters = [name for name, each in state.student.state_dict().items() if not each.is_floating_point()]
    for name in counters:
        state.student.state_dict()[name].fill_(7)
    go(state)
    assert counters and all(state.averaged.state_dict()[name] == 7 for name in counters)


def test_without_a_running_mean_the_last_weights_are_kept():
    state = go(make_state(replace(RECIPE, optimiser=replace(RECIPE.optimiser, average=0.0))), 3)
    assert torch.equal(head(state.averaged), head(state.student))


def test_a_state_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(tmp_path):
    state = go(make_state(), 2)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state.checkpoint())
    other = make_state(seed=1)
    other.restore(load_checkpoint(path), path)
    assert other.step == 2
    one, two = (go(each, 2).checkpoint() for each in (state, other))
    assert one.step == two.step == 4
    assert same(one.model, two.model) and same(one.optimizer["weights"], two.optimizer["weights"])


@pytest.mark.parametrize("freeze", [False, True])
def test_a_frozen_backbone_learns_nothing_and_gathers_no_statistics(freeze):
    tuning = TuningConfig(freeze=freeze)
    state = make_state(replace(RECIPE, supervision="labels", tuning=tuning))
    state.prepare()
    assert state.student.training and state.student.backbone.training is not freeze
    assert all(each.requires_grad is not freeze for each in state.student.backbone.parameters())
    assert not state.averaged.training


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_moves_no_weight(value):
    state = make_state()
    before = head(state.student)
    with pytest.raises(ValueError, match=f"the loss is {value} at step 0; expected a finite number"):
        state.update(state.student.head.weight.sum() * value)
    assert torch.equal(head(state.student), before) and state.step == 0


def test_weights_that_are_not_finite_are_not_saved():
    state = make_state()
    with torch.no_grad():
        state.student.head.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="the length of the weights is inf at step 0"):
        state.checkpoint()


def test_accumulated_gradients_are_those_of_the_mean_loss():
    plain, gathering = (
        make_state(),
        make_state(replace(RECIPE, optimiser=replace(RECIPE.optimiser, accumulate=3))),
    )
    before = head(gathering.student)
    losses = [lambda weight, power=power: weight.abs().pow(power).sum() for power in (1, 2, 3)]
    for number, loss in enumerate(losses):
        assert (gathering.step, gathering.batch_number) == (0, number) and head(gathering.student).equal(
            before
        )
        gathering.update(loss(gathering.student.head.weight))
    plain.update(sum(loss(plain.student.head.weight) for loss in losses) / 3)
    assert (gathering.step, gathering.gathered, gathering.batch_number) == (1, 0, 3)
    torch.testing.assert_close(head(gathering.student), head(plain.student))


def test_no_batches_of_a_step_are_none():
    with pytest.raises(ValueError, match="--optimiser.accumulate"):
        OptimiserConfig(accumulate=0)
