import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from clip2scene.io import fingerprint
from clip2scene.runs import checkpoint as module
from clip2scene.runs.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    previous_path,
    save_checkpoint,
    versions,
)

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=1e-2, betas=(0.8, 0.95)),
    "amsgrad": lambda weights: torch.optim.Adam(weights, lr=1e-2, amsgrad=True),
    "sgd": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=1e-4),
    "plain_sgd": lambda weights: torch.optim.SGD(weights, lr=0.1),
}


class Run:
    """A small training run with every kind of state: batch norm, optimiser, schedule, two generators."""

    def __init__(self, optimiser: str) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
        self.optimiser = OPTIMISERS[optimiser](self.model.parameters())
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=0.1, total_steps=40, cycle_momentum=False
        )
        self.generator = torch.Generator().manual_seed(5)
        self.steps = 0

    def go(self, steps: int) -> "Run":
        for _ in range(steps):
            inputs = torch.randn(16, 4, generator=self.generator)
            self.optimiser.zero_grad()
            self.model(inputs).square().mean().backward()
            self.optimiser.step()
            self.schedule.step()
            self.steps += 1
        return self

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            model=self.model.state_dict(),
            step=self.steps,
            config={"lr": 0.1, "name": "tiny", "nested": {"list": [1, None, True]}},
            provenance={**versions(), "teacher": "abc"},
            optimizer={
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
                "generator": self.generator.get_state(),
                "dropout": torch.get_rng_state(),
            },
        )

    def resume(self, saved: Checkpoint) -> "Run":
        load_weights(self.model, saved.model, "here")
        self.optimiser.load_state_dict(saved.optimizer["optimiser"])
        self.schedule.load_state_dict(saved.optimizer["schedule"])
        self.generator.set_state(saved.optimizer["generator"])
        torch.set_rng_state(saved.optimizer["dropout"])
        self.steps = saved.step
        return self


def same(first: object, second: object) -> bool:
    """Equal in value, type and structure; tensors bit for bit."""
    if type(first) is not type(second) and not (isinstance(first, dict) and isinstance(second, dict)):
        return False
    if isinstance(first, torch.Tensor):
        return fingerprint({"": first}) == fingerprint({"": second})
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second


def small(step: int = 1) -> Checkpoint:
    return Checkpoint({"weight": torch.full((50,), float(step))}, step, {"a": 1}, {})


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_everything_comes_back_bit_for_bit(tmp_path, optimiser):
    saved = Run(optimiser).go(3).checkpoint()
    save_checkpoint(tmp_path / "run.safetensors", saved)
    loaded = load_checkpoint(tmp_path / "run.safetensors")
    for name, value in vars(saved).items():
        assert same(value, getattr(loaded, name)), name


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, optimiser):
    interrupted = Run(optimiser).go(4)
    save_checkpoint(tmp_path / "run.safetensors", interrupted.checkpoint())
    whole = interrupted.go(6).checkpoint()
    resumed = Run(optimiser).resume(load_checkpoint(tmp_path / "run.safetensors")).go(6).checkpoint()
    for name, value in vars(whole).items():
        assert same(value, getattr(resumed, name)), name


def test_every_type_and_shape_of_tensor_is_kept(tmp_path):
    shared = torch.arange(6.0)
    model = {
        "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "turned": torch.arange(6).reshape(2, 3).T,
        "shared": shared,
        "view": shared[2:4],
    }
    save_checkpoint(tmp_path / "all.safetensors", replace(small(), model=model))
    assert same(model, load_checkpoint(tmp_path / "all.safetensors").model)


def test_names_with_dots_do_not_collide(tmp_path):
    state = {"a": {"b": torch.tensor(1)}, "a.b": torch.tensor(2), 3: [torch.tensor(3), (None, 0.1)]}
    save_checkpoint(tmp_path / "c.safetensors", replace(small(), optimizer=state))
    assert same(load_checkpoint(tmp_path / "c.safetensors").optimizer, state)


def test_the_file_is_plain_safetensors_that_other_tools_can_read(tmp_path):
    save_checkpoint(tmp_path / "c.safetensors", small(2))
    assert torch.equal(load_file(tmp_path / "c.safetensors")["model.weight"], torch.full((50,), 2.0))


@pytest.mark.parametrize("value", [object(), {1, 2}, np.zeros(2)])
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, value):
    for field in ("optimizer", "config"):
        with pytest.raises(ValueError, match="cannot hold|must fit JSON"):
            save_checkpoint(tmp_path / "c.safetensors", replace(small(), **{field: {"key": value}}))
    assert not list(tmp_path.iterdir())


def test_equal_checkpoints_are_equal_bytes(tmp_path):
    files = set()
    for number in range(12):  # its writer puts the header's texts in random order
        save_checkpoint(tmp_path / f"{number}.safetensors", small())
        files.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(files) == 1


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def damage_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"step", b"stop", 1))


def damage_tensor(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


DAMAGES = [damage_cut, damage_header, damage_tensor, lambda path: path.write_bytes(b""), os.unlink]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_checkpoint_gives_way_to_the_one_before_it(tmp_path, caplog, damage):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, small(1))
    save_checkpoint(path, small(2))
    assert load_checkpoint(path).step == 2
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert same(vars(load_checkpoint(path)), vars(small(1)))
    assert "c.previous.safetensors, of step 1" in caplog.text
    save_checkpoint(path, small(3))
    assert load_checkpoint(path).step == 3


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_checkpoint_without_another_is_refused(tmp_path, damage):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, small(1))
    damage(path)
    with pytest.raises(ValueError, match=r"c\.safetensors .*(damaged|is damaged or no)|no checkpoint at"):
        load_checkpoint(path)


def test_a_checkpoint_cut_short_never_takes_the_place_of_a_good_one(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, small(1))
    save_checkpoint(path, small(2))
    damage_cut(path)
    save_checkpoint(path, small(3))
    assert load_checkpoint(previous_path(path)).step == 1


def test_only_two_checkpoints_are_kept(tmp_path):
    for step in range(5):
        save_checkpoint(tmp_path / "c.safetensors", small(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.previous.safetensors", "c.safetensors"]
    assert load_checkpoint(tmp_path / "c.previous.safetensors").step == 3


def test_foreign_files_are_named_for_what_they_are(tmp_path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "pickle.pt")
    with pytest.raises(ValueError, match="a safetensors file was expected"):
        load_checkpoint(tmp_path / "pickle.pt")
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no checkpoint of clip2scene"):
        load_checkpoint(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no checkpoint at"):
        load_checkpoint(tmp_path)


def test_another_format_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "FORMAT", 99)
        save_checkpoint(tmp_path / "c.safetensors", small())
    with pytest.raises(ValueError, match="format 99, but this version reads 1"):
        load_checkpoint(tmp_path / "c.safetensors")


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from clip2scene.runs import checkpoint
from clip2scene.io import fingerprint
from clip2scene.runs.checkpoint import Checkpoint, save_checkpoint

def save(step):
    save_checkpoint(Path(sys.argv[1]), Checkpoint({"weight": torch.full((50,), float(step))}, step, {}, {}))

save(1)
save(2)
whole = checkpoint.save_file
def half(tensors, path, metadata):
    whole(tensors, path, metadata)
    os.truncate(path, os.path.getsize(path) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save_file = half
save(3)
"""


def test_a_kill_while_writing_leaves_the_last_good_checkpoint(tmp_path):
    path = tmp_path / "c.safetensors"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert load_checkpoint(path).step == 2
    assert load_checkpoint(previous_path(path)).step == 1


@pytest.mark.parametrize("call", range(3))
def test_a_crash_at_any_renaming_leaves_a_checkpoint(tmp_path, monkeypatch, call):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, small(1))
    save_checkpoint(path, small(2))
    calls = {"left": call}

    def failing(name: str) -> Callable[..., None]:
        real = getattr(os, name)

        def wrapped(*arguments: object) -> None:
            if calls["left"] == 0:
                raise KeyboardInterrupt
            calls["left"] -= 1
            real(*arguments)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", failing("link"))
        patch.setattr(os, "replace", failing("replace"))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(path, small(3))
    assert load_checkpoint(path).step == 2
    save_checkpoint(path, small(4))
    assert load_checkpoint(path).step == 4


def test_a_file_system_without_hard_links_keeps_the_previous_one_too(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    for step in (1, 2):
        save_checkpoint(tmp_path / "c.safetensors", small(step))
    assert load_checkpoint(tmp_path / "c.previous.safetensors").step == 1


def test_weights_that_do_not_fit_are_refused_and_change_nothing():
    layer = nn.Linear(3, 2)
    before = fingerprint(layer.state_dict())
    with pytest.raises(
        ValueError, match=r"1 missing \(such as bias\), 1 unknown \(such as extra\), 1 of another shape"
    ):
        load_weights(layer, {"weight": torch.zeros(2, 4), "extra": torch.zeros(1)}, "some.safetensors")
    assert fingerprint(layer.state_dict()) == before
