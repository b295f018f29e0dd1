import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clip2scene.teacher.clip.weights import Weights, build_model, count_parts, open_weights


def weights(**changes):
    state = {
        name: each.clone()
        for name, each in nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict().items()
    }
    return {**state, **{name.replace("__", "."): each for name, each in changes.items()}}


def make():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_shapes_are_read_without_the_numbers(tmp_path):
    save_file(weights(), tmp_path / "model.safetensors")
    opened = open_weights(tmp_path)
    assert opened.shapes["0.weight"] == (2, 3)
    built = build_model(make, opened)
    assert torch.equal(built[0].weight, opened.read()["0.weight"]) and not built.training


def test_a_model_that_does_not_fit_never_takes_memory(tmp_path):
    made = []

    def huge():
        made.append(torch.empty(0).device.type)
        return nn.Sequential(nn.Linear(1 << 20, 1 << 20), nn.BatchNorm1d(2))

    with pytest.raises(ValueError, match=r"0.weight has shape \(2, 3\) instead of \(1048576, 1048576\)"):
        build_model(huge, Weights.held(tmp_path, weights()))
    assert made == ["meta"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"0__bias": torch.tensor([1.0, float("nan")])}, "0.bias"),
        ({"0__weight": torch.full((2, 3), float("inf"))}, "0.weight"),
        ({"0__weight": torch.full((2, 3), 1e300, dtype=torch.float64)}, "0.weight"),
        ({"1__running_var": torch.tensor([1.0, -1.0])}, "1.running_var"),
    ],
)
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, changes, named):
    with pytest.raises(ValueError, match=rf"not finite \({named}\); fetch them anew"):
        build_model(make, Weights.held(tmp_path, weights(**changes)))


def test_half_precision_becomes_single_and_counters_may_be_missing(tmp_path):
    halves = {name: each.half() for name, each in weights().items() if "tracked" not in name}
    built = build_model(make, Weights.held(tmp_path, halves))
    assert {each.dtype for each in built.parameters()} == {torch.float32}


@pytest.mark.parametrize("damage", ["no safetensors", "cut", "a pipe"])
def test_files_that_are_no_safetensors_are_refused(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    if damage == "a pipe":
        os.mkfifo(path)
    else:
        save_file(weights(), path)
        path.write_bytes(b"{}" if damage == "no safetensors" else path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="cannot be read|plain file"):
        open_weights(tmp_path)


def test_parts_are_counted_by_their_numbers():
    shapes = dict.fromkeys(("blocks.0.a", "blocks.0.b", "blocks.11.a", "other.5"), ())
    assert count_parts(shapes, "blocks.") == 2


def test_a_model_is_laid_out_without_drawing_numbers(tmp_path, monkeypatch):
    drawn, draw = [], torch.Tensor.normal_

    def watched(tensor, *how, **options):
        drawn.append(tensor.device.type)
        return draw(tensor, *how, **options)

    monkeypatch.setattr(torch.Tensor, "normal_", watched)

    def make_normal():
        model = make()
        for each in model.parameters():
            torch.nn.init.normal_(each)
        return model

    build_model(make_normal, Weights.held(tmp_path, weights()))
    assert set(drawn) == {"cpu"}
