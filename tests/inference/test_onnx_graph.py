import numpy as np
import onnx
import pytest
import torch
from tests.onnx_students import make_cloud, make_model, make_student, open_session

from clip2scene.onnx_runner.voxels import Voxels


def run(session, points, features, about, wanted=("seen",)):
    voxels = Voxels(points.numpy(), about.voxel_size, at_corners=about.at_corners)
    names = [each.name for each in session.get_inputs() if each.name != "features"]
    return session.run(list(wanted), {"features": features.numpy(), **dict(voxels.inputs(iter(names)))})


def seen_by(student, points, features):
    with torch.inference_mode():
        return student(points, features, torch.zeros(len(points), dtype=torch.long)).numpy()


@pytest.mark.parametrize("network", ["minkunet14a", "minkunet34", "spvcnn", "spvcnn-corners", "spunet34"])
def test_a_network_gives_what_torch_gives(network):
    student = make_student(network)
    model, about = make_model(student, network)
    onnx.checker.check_model(model, full_check=True)
    session = open_session(model)
    for seed, count in ((0, 400), (1, 37)):
        points, features = make_cloud(seed, count)
        expected = seen_by(student, points, features)
        (found,) = run(session, points, features, about)
        assert expected.std() > 1e-3
        assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("network", ["minkunet14a", "spvcnn"])
@pytest.mark.parametrize(
    "points", [torch.zeros(1, 3), torch.rand(50, 3) * 0.2, torch.tensor([[0.0] * 3, [40.0] * 3])]
)
def test_few_voxels_are_enough(network, points):
    student = make_student(network)
    model, about = make_model(student, network)
    features = torch.full((len(points), 1), 0.5)
    (found,) = run(open_session(model), points, features, about)
    assert np.allclose(found, seen_by(student, points, features), atol=1e-4)


def test_the_operators_are_standard_and_only_weights_and_words_are_stored():
    student = make_student()
    model, _ = make_model(student)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    weights = sum(each.numel() for each in student.state_dict().values()) * 4
    assert model.ByteSize() < 1.1 * weights + 300_000


def test_several_threads_give_the_same_up_to_rounding():
    student = make_student("spvcnn")
    model, about = make_model(student, "spvcnn")
    points, features = make_cloud(count=4000)
    one, *others = [run(open_session(model, n), points, features, about)[0] for n in (1, 2, 2)]
    assert all(np.allclose(one, each, atol=1e-5) for each in others)


def test_no_row_is_met_twice_by_one_scatter():
    points, _ = make_cloud(count=3000)
    levels = Voxels(points.numpy(), 0.25).levels
    for each in (levels.near(0, 3), levels.down(0)):
        parts = np.split(each["targets"], np.cumsum(each["counts"])[:-1])
        assert all(len(np.unique(part)) == len(part) for part in parts)


@pytest.mark.parametrize(("weights", "smaller", "error"), [("float16", 0.6, 0.01), ("int8", 0.35, 0.2)])
def test_smaller_weights_are_nearly_the_same(weights, smaller, error):
    student = make_student()
    (whole, about), (small, _) = make_model(student), make_model(student, weights=weights)
    onnx.checker.check_model(small, full_check=True)
    stored = [sum(len(each.raw_data) for each in model.graph.initializer) for model in (small, whole)]
    assert stored[0] < smaller * stored[1]
    points, features = make_cloud()
    (exact,), (found,) = (run(open_session(each), points, features, about) for each in (whole, small))
    assert 0 < np.abs(found - exact).mean() < error * np.abs(exact).mean()


def test_a_network_without_a_form_is_refused():
    student = make_student()
    student.backbone.descents[0].blocks = torch.nn.Linear(3, 3)
    with pytest.raises(ValueError, match="Linear has no form in ONNX yet"):
        make_model(student)
