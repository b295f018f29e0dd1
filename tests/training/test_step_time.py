import pytest
import torch

from clip2scene import build
from clip2scene.experiments.plan.measure import measure_lifting
from clip2scene.training.step_time import Rehearsal


@pytest.fixture
def rehearsal(tiny_recipe, tiny_toytown, tmp_path):
    experiment = build.open_experiment(tiny_recipe, tiny_toytown)
    return Rehearsal(experiment, measure_lifting(experiment, 0.5, tmp_path).paths)


def test_a_rehearsal_takes_real_steps_and_knows_which_samples_are_new(rehearsal):
    weights = rehearsal.state.student.head.weight.detach().clone()
    taken = [rehearsal.step(number) for number in range(4)]
    assert [each.is_first for each in taken] == [True, True, False, False]  # two samples, one a step
    assert all(each.read > 0 and each.compute > 0 for each in taken)
    assert rehearsal.state.step == 4
    assert not torch.equal(weights, rehearsal.state.student.head.weight)


def test_cut_in_two_the_backward_pass_gives_the_same_gradients(rehearsal, monkeypatch):
    """So what is measured of the two parts is the work of one."""
    batch, student = rehearsal.items.read_step(0), rehearsal.state.student
    found = {}

    def keep(loss):
        found.update(
            {name: each.grad.clone() for name, each in student.named_parameters() if each.grad is not None}
        )

    monkeypatch.setattr(rehearsal.state, "update", keep)
    assert 0 < rehearsal.shared_part(0) < 1
    cut = dict(found)
    student.zero_grad(set_to_none=True)
    features = student(batch.positions, batch.features, batch.item_of_point)
    from clip2scene.distill.losses.objective import StepInputs

    sum(
        rehearsal.objective(StepInputs(student, features, batch, rehearsal.prompts, None)).values()
    ).backward()
    whole = {name: each.grad for name, each in student.named_parameters() if each.grad is not None}
    assert cut.keys() == whole.keys()
    for name, each in whole.items():
        torch.testing.assert_close(cut[name], each, rtol=1e-3, atol=1e-6)
