from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from clip2scene.build import NETWORKS
from clip2scene.config import OptimiserConfig, TuningConfig
from clip2scene.student.model import Embedder
from clip2scene.training import optimiser as module
from clip2scene.training.optimiser import build_optimiser, learning_rate


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_the_learning_rate_peaks_at_its_highest_value_and_ends_at_zero(schedule):
    optimiser = OptimiserConfig(learning_rate=0.3, schedule=schedule)
    rates = [learning_rate(optimiser, step / 1000) for step in range(1001)]
    peak = 0 if schedule == "cosine" else 100
    assert rates[peak] == max(rates) == pytest.approx(0.3)
    assert rates[-1] == pytest.approx(0, abs=1e-7)
    assert all(before > after for before, after in zip(rates[peak:], rates[peak + 1 :], strict=False))
    assert rates[(peak + 1000) // 2] == pytest.approx(0.15)
    assert rates[:peak] == sorted(rates[:peak])


def test_one_cycle_starts_at_a_twenty_fifth_of_its_peak():
    assert learning_rate(OptimiserConfig(learning_rate=1.0, schedule="one-cycle"), 0.0) == pytest.approx(0.04)


def test_the_optimisers_are_those_of_the_recipe():
    student = Embedder(NETWORKS["minkunet14a"](1, width=0.25), 8)
    sgd = build_optimiser(OptimiserConfig(name="sgd", learning_rate=0.5, weight_decay=0.1), student)
    assert isinstance(sgd, torch.optim.SGD)
    named = ("lr", "momentum", "dampening", "weight_decay")  # momentum and dampening: the released code
    assert [sgd.param_groups[0][name] for name in named] == [0.5, 0.9, 0.1, 0.1]
    adamw = build_optimiser(OptimiserConfig(name="adamw", weight_decay=0.1), student)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize(("kind", "fused"), [("cpu", None), ("cuda", True)])
def test_adamw_is_fused_on_a_gpu_and_keeps_its_bits_on_the_cpu(monkeypatch, kind, fused):
    weight = torch.nn.Parameter(torch.zeros(2))
    monkeypatch.setattr(module, "_groups", lambda student, tuning: [{"params": [weight]}])
    student = mock.Mock(spec=Embedder)
    student.head = SimpleNamespace(weight=SimpleNamespace(device=torch.device(kind)))
    assert build_optimiser(OptimiserConfig(name="adamw"), student).param_groups[0]["fused"] is fused


@pytest.mark.parametrize(("num_classes", "answers"), [(None, "head"), (5, "classifier")])
def test_the_heads_factor_is_for_the_head_that_answers(num_classes, answers):
    student = Embedder(NETWORKS["minkunet14a"](1, width=0.25), 8, num_classes=num_classes)
    tuning = TuningConfig(head="words" if num_classes is None else "classifier", head_rate=100.0)
    groups = build_optimiser(OptimiserConfig(), student, tuning).param_groups
    scale_of = {id(each): group["scale"] for group in groups for each in group["params"]}
    for name, parameter in student.named_parameters():
        assert scale_of[id(parameter)] == (100.0 if name.startswith(f"{answers}.") else 1.0), name
