"""What runs on a GPU, run on one that is pretended: training, prediction and geometry obey its rules there.

The results must be those of the CPU, plain torch for plain torch. No test here has seen a real GPU.
"""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.pretend_gpu import DEVICE, OnDevice, pretend_gpu
from tests.training.test_train import KINDS, RECIPE, make_run, make_seen_corner

from clip2scene.config import LabelsConfig, LossConfig, TuningConfig
from clip2scene.distill.lifted import save_lifted
from clip2scene.geometry.dynamic_points import seen_through
from clip2scene.geometry.projection import drop_occluded, project_points, voxelize
from clip2scene.geometry.superpoints import average_within, vote
from clip2scene.inference.predict import predict, predict_prepared
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.student import NETWORKS
from clip2scene.student.inputs import InputOptions
from clip2scene.student.model import Embedder
from clip2scene.student.sparse import cpu_kernels
from clip2scene.training import train
from clip2scene.types import Camera, Pairs, PointCloud, Prompts


@pytest.fixture(autouse=True)
def plain_torch(monkeypatch):
    """The path that a GPU takes, on the CPU too; and autocast, which does not know the pretended device."""
    monkeypatch.setattr(cpu_kernels, "switched_on", False)
    known = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind != DEVICE.type and known(kind))


@pytest.fixture
def gpu():
    with pretend_gpu() as ran:
        yield ran


def some_points(number=400, batches=2):
    generator = torch.Generator().manual_seed(0)
    positions = 3 * torch.randn(number, 3, generator=generator)
    features = torch.rand(number, 1, generator=generator)
    return positions, features, torch.arange(number) * batches // number


def there(*tensors):
    return [tensor.to(DEVICE) for tensor in tensors]


def assert_same(actual, expected):
    assert isinstance(actual, OnDevice)
    torch.testing.assert_close(actual.held, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda x: x @ x.T, "no product of torch.int64"),
        (lambda x: torch.einsum("ij,kj->ik", x, x), "no product of torch.int64"),
        (lambda x: torch.nn.functional.linear(x, x), "no product of torch.int64"),
        (lambda x: x[:, 0] @ x[:, 1], "no product of torch.int64"),
        (lambda x: x.float().histogram(3), "no such operation"),
        (lambda x: x + torch.ones(2, 3), "same device"),
        (lambda x: torch.ones(9)[x[0]], "same device"),
        (lambda x: torch.cat([x, torch.ones(2, 3)]), "same device"),
        (lambda x: x.numpy(), "numpy"),
        (lambda x: np.asarray(x), "numpy"),
        (lambda x: torch.rand(3, generator=torch.Generator(), device=x.device), "generator"),
    ],
)
def test_the_pretended_gpu_refuses_what_a_real_one_does(gpu, what, message):
    (numbers,) = there(torch.arange(6).reshape(2, 3))
    with pytest.raises(RuntimeError, match=message):
        what(numbers)


def test_the_pretended_gpu_computes_and_says_what(gpu):
    numbers, lone = torch.arange(6).reshape(2, 3).to(DEVICE), torch.tensor(2.0)
    assert (numbers * lone).sum().item() == 30 and numbers.cpu().numpy().tolist() == numbers.tolist()
    assert {"mul", "sum"} <= gpu


@pytest.mark.parametrize("name", ["spvcnn", "spvcnn-corners", "minkunet14a"])  # the others: more of the same
def test_every_network_takes_a_step_on_a_gpu(gpu, name):
    torch.manual_seed(0)
    net = NETWORKS[name](1, width=0.125, voxel_size=0.5)
    inputs = some_points()
    upward = torch.randn(len(inputs[0]), net.out_channels, generator=torch.Generator().manual_seed(1))
    other = deepcopy(net).to(DEVICE)
    expected, actual = net(*inputs), other(*there(*inputs))
    assert_same(actual.detach(), expected.detach())
    expected.backward(upward)
    actual.backward(*there(upward))
    for mine, theirs in zip(other.parameters(), net.parameters(), strict=True):
        assert_same(mine.grad, theirs.grad)
    assert {"mm", "index_select"} <= gpu
    assert net.eval()(*inputs).shape == other.eval()(*there(*inputs)).shape


TUNED = {
    "classifier": {
        "supervision": "labels",
        "loss": LossConfig(lovasz=1.0, class_balance=0.5),
        "tuning": TuningConfig(head="classifier", layer_decay=0.7),
        "labels": LabelsConfig(absent="allow"),
    },
    "kept words": {"supervision": "labels", "tuning": TuningConfig(keep_words=1.0)},
    "class-infonce, cosine": {"loss": LossConfig(form="class-infonce", cosine=True)},
    "sgd": {"optimiser": replace(RECIPE.optimiser, name="sgd")},
}


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if "another" not in kind), *TUNED])
def test_every_kind_of_run_is_trained_on_a_gpu_as_on_the_cpu(tmp_path, kind):
    recipe = replace(RECIPE, steps=2, **{**KINDS, **TUNED}[kind])
    logs, weights = [], []
    for device in (torch.device("cpu"), DEVICE):
        run, paths = make_run(tmp_path / device.type, recipe)
        for number, path in enumerate(paths):
            lifted = make_seen_corner(number)
            if recipe.keep == "maps":
                lifted = replace(lifted, teacher_features=replace(lifted.teacher_features, superpixels=None))
            save_lifted(path, lifted)
        with pretend_gpu() as ran:
            train.train(run, paths, device=device, save_every=1, workers=0)
            assert ("mm" in ran) == (device == DEVICE)
        logs.append(
            [json.loads(line)["loss"] for line in (run.folder / "log.jsonl").read_text().splitlines()]
        )
        weights.append(load_checkpoint(run.checkpoint_path).model)
    assert logs[0] == logs[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    "settings", [{}, {"superpoint_mean": True}, {"num_classes": 2, "inputs": InputOptions("sensor")}]
)
def test_a_student_on_a_gpu_predicts_what_it_predicts_on_the_cpu(gpu, settings, monkeypatch):
    # In inference mode nothing can be pretended.
    prepared = torch.no_grad()(predict_prepared.__wrapped__)
    monkeypatch.setattr("clip2scene.inference.predict.predict_prepared", prepared)
    torch.manual_seed(0)
    net = NETWORKS["minkunet14a"](1 + ("inputs" in settings), width=0.125, voxel_size=0.5)
    student = Embedder(net, 2, **settings)
    cloud = PointCloud(*some_points()[:2])
    prompts = Prompts(
        ("ground", "wall"), ("ground", "wall", "fence"), torch.tensor([0, 1, 1]), torch.rand(3, 2)
    )
    answer = torch.no_grad()(predict.__wrapped__)
    expected = answer(student, prompts, cloud, with_embeddings=True)
    actual = answer(student.to(DEVICE), prompts, cloud, with_embeddings=True)
    for mine, theirs in zip(vars(actual).values(), vars(expected).values(), strict=True):
        assert type(mine) is type(theirs) is not OnDevice
        assert mine is None or torch.equal(mine, theirs)


def test_geometry_on_a_gpu_is_that_of_the_cpu(gpu):
    positions = some_points(2000)[0] * torch.tensor([1.0, 1.0, 8.0])
    camera = Camera(
        "front", torch.tensor([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]]), torch.eye(4), 640, 480
    )
    pairs = project_points(positions, [camera])
    found = project_points(*there(positions), [camera])
    visible, seen = drop_occluded(pairs, [camera]), drop_occluded(Pairs(*vars(found).values()), [camera])
    assert 0 < len(visible) < len(pairs) < len(positions)
    for mine, theirs in zip(
        [*vars(found).values(), *vars(seen).values()],
        [*vars(pairs).values(), *vars(visible).values()],
        strict=True,
    ):
        assert_same(mine, theirs)
    for mine, theirs in zip(voxelize(*there(positions), 0.5), voxelize(positions, 0.5), strict=True):
        assert_same(mine, theirs)
    earlier = positions.roll(1, 0) * 0.9
    assert_same(seen_through(*there(earlier, positions)), seen_through(earlier, positions))
    pieces, logits = torch.arange(2000) % 50 - 1, torch.rand(2000, 3)
    assert_same(average_within(*there(pieces, logits)), average_within(pieces, logits))
    assert_same(vote(*there(pieces, logits, pieces > 5)), vote(pieces, logits, pieces > 5))
