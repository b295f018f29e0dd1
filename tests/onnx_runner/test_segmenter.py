import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.onnx_students import make_cloud, make_model, make_prompts, make_student

from clip2scene.inference.segmenter import Segmenter
from clip2scene.onnx_runner import OnnxSegmenter
from clip2scene.onnx_runner.about import KEY
from clip2scene.types import PointCloud

RUN_WITHOUT_TORCH = """
import sys
from clip2scene.onnx_runner import OnnxSegmenter
import numpy as np
assert "torch" not in sys.modules
sys.modules["torch"] = None  # whoever asks for it fails
found = OnnxSegmenter(sys.argv[1], threads=1).segment(np.load(sys.argv[2]))
np.save(sys.argv[3], found.labels)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "safetensors", "onnx"}))
"""


def write(path, student=None, **changes):
    model, _ = make_model(student or make_student(), **changes)
    path.write_bytes(model.SerializeToString())
    return path


def cloud_as_array(**options):
    points, features = make_cloud(**options)
    return np.concatenate([points.numpy(), features.numpy()], 1)


LEVELLED = {"level": True, "height": "ground", "intensity": "quantile"}


@pytest.fixture(scope="module")
def levelled(tmp_path_factory):
    """A student that needs everything that is done before and after a network, and its file."""
    student = make_student(channels=2, turns=(0.0, 30.0), **LEVELLED)
    student.superpoint_mean = True
    path = tmp_path_factory.mktemp("onnx") / "levelled.onnx"
    return student, write(path, student, superpoint_mean=True, **LEVELLED)


def test_it_labels_as_the_segmenter_does(levelled):
    student, path = levelled
    in_torch = Segmenter(student, make_prompts(), lambda names: None, temperature=0.7)
    points, features = make_cloud(count=3000)
    expected = in_torch.segment(
        PointCloud(points, features), with_embeddings=True, keep_raw=True, abstain=0.9
    )
    found = OnnxSegmenter(path).segment(
        cloud_as_array(count=3000), with_embeddings=True, keep_raw=True, abstain=0.9
    )
    assert found.names == expected.names and (found.labels == -1).any()
    assert (found.labels == expected.labels.numpy()).mean() >= 0.999
    assert (found.raw_labels == expected.raw_labels.numpy()).mean() >= 0.999
    assert np.allclose(found.scores, expected.scores, atol=1e-4)
    assert np.allclose(found.embeddings, expected.embeddings, atol=1e-4)


def test_the_mean_over_turns_is_taken_before_lengths_become_one(tmp_path):
    student = make_student(cosine=0.1, turns=(0.0, 30.0))
    found = OnnxSegmenter(write(tmp_path / "a.onnx", student)).segment(cloud_as_array(), with_embeddings=True)
    points, features = make_cloud()
    in_torch = Segmenter(student, make_prompts(), lambda names: None, temperature=0.7)
    expected = in_torch.segment(PointCloud(points, features), with_embeddings=True)
    assert np.allclose(found.embeddings, expected.embeddings, atol=1e-4)
    assert np.allclose(found.scores, expected.scores, atol=1e-4)


def test_a_tensor_cloud_and_an_array_are_the_same(levelled):
    segmenter = OnnxSegmenter(levelled[1])
    one, other = segmenter.segment(cloud_as_array()), segmenter.segment(PointCloud(*make_cloud()))
    assert np.array_equal(one.labels, other.labels) and np.array_equal(one.scores, other.scores)


def test_it_runs_where_there_is_no_torch(levelled, tmp_path):
    np.save(tmp_path / "cloud.npy", cloud_as_array())
    files = [levelled[1], tmp_path / "cloud.npy", tmp_path / "labels.npy"]
    run = subprocess.run(
        [sys.executable, "-c", RUN_WITHOUT_TORCH, *map(str, files)], capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout == "['torch']\n", run.stderr  # the None that stands for it
    assert np.array_equal(np.load(files[2]), OnnxSegmenter(levelled[1]).segment(cloud_as_array()).labels)


@pytest.mark.parametrize(
    "cloud", [np.zeros((1, 4)), np.full((200, 4), 0.1), np.array([[0.0] * 4, [40.0, 0, 0, 1]])]
)
def test_one_point_one_voxel_and_two_far_apart_are_labelled(levelled, cloud):
    found = OnnxSegmenter(levelled[1]).segment(cloud)
    assert len(found.labels) == len(cloud) and np.isfinite(found.scores).all()


@pytest.mark.parametrize(
    ("cloud", "said"),
    [
        (np.zeros((0, 4)), "no points"),
        (np.full((3, 4), np.nan), "NaN"),
        (np.full((3, 4), 1e6), "from the origin"),
    ],
)
def test_a_cloud_that_cannot_be_labelled_is_refused(tmp_path, cloud, said):
    with pytest.raises(ValueError, match=said):
        OnnxSegmenter(write(tmp_path / "a.onnx")).segment(cloud)


def test_weights_that_are_not_finite_are_told(tmp_path):
    student = make_student()
    student.head.bias.data[0] = float("inf")
    with pytest.raises(ValueError, match="not finite"):
        OnnxSegmenter(write(tmp_path / "a.onnx", student)).segment(cloud_as_array())


def test_words_that_the_file_does_not_have_are_named(tmp_path):
    segmenter = OnnxSegmenter(write(tmp_path / "a.onnx"))
    assert segmenter.words == ("car", "van", "road", "tree")
    segmenter.set_prompts(["van", "tree"])
    assert segmenter.segment(cloud_as_array()).names == ("van", "tree")
    with pytest.raises(ValueError, match=r"no embedding of bus; label with words that it has \(car, van"):
        segmenter.set_prompts(["bus"])


def test_a_file_that_is_not_ours_or_not_whole_is_refused(tmp_path):
    path = write(tmp_path / "a.onnx")
    whole, stranger = path.read_bytes(), tmp_path / "stranger.onnx"
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.onnx").write_text("no model")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), stranger)
    for name, said in (
        *(("cut.onnx", "is no whole ONNX file"), ("text.onnx", "is no whole ONNX file")),
        *(("stranger.onnx", "none that clip2scene wrote"), ("missing.onnx", "is not a file")),
        *((".", "is not a file"),),
    ):
        with pytest.raises(ValueError, match=said) as refusal:
            OnnxSegmenter(tmp_path / name)
        assert "\n" not in str(refusal.value)


def test_a_graph_that_was_changed_is_refused(tmp_path):
    model, _ = make_model(make_student())
    for node in model.graph.node:
        node.input[:] = ["mean_0_first" if name == "mean_0_last" else name for name in node.input]
    for value in model.graph.input:
        value.name = "mean_0_first" if value.name == "mean_0_last" else value.name
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="not what clip2scene wrote .at 'mean_0_first'."):
        OnnxSegmenter(tmp_path / "a.onnx")
    model, about = make_model(make_student())
    wrong = replace(about, height="sensor").as_text()  # one channel more than the graph takes
    helper.set_model_props(model, {KEY: wrong})
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="onnxruntime cannot run the file"):
        OnnxSegmenter(tmp_path / "b.onnx").segment(cloud_as_array())


def test_without_onnxruntime_it_says_how_to_install_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        OnnxSegmenter(path)
