import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.inference import text_embeddings
from clip2scene.inference.export_onnx import export_onnx
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.text_embeddings import embed_words
from clip2scene.io import read_json, write_json
from clip2scene.onnx_runner import OnnxSegmenter
from clip2scene.runs.copies import copy_run
from clip2scene.runs.run import open_run


@pytest.fixture(scope="module")
def builtin_file(tmp_path_factory):
    return export_onnx("builtin", tmp_path_factory.mktemp("onnx") / "builtin.onnx")


@pytest.fixture(scope="module")
def clouds(tiny_toytown):
    dataset = NuScenes(tiny_toytown, split="val", labels=False)
    return [dataset[number].cloud for number in range(2)]


def share_alike(one, other):
    return (np.asarray(one) == np.asarray(other)).mean()


@pytest.mark.parametrize("quality", ["low", "medium"])
def test_builtin_labels_as_it_does_in_torch(builtin_file, clouds, quality):
    onnx.checker.check_model(onnx.load(builtin_file), full_check=True)
    in_torch, without = Segmenter.load("builtin"), OnnxSegmenter(builtin_file, threads=1)
    for cloud in clouds:
        wanted = {"quality": quality, "with_embeddings": True, "keep_raw": True}
        expected, found = (each.segment(cloud, **wanted) for each in (in_torch, without))
        assert found.names == expected.names
        assert share_alike(found.labels, expected.labels) >= 0.999
        assert share_alike(found.raw_labels, expected.raw_labels) >= 0.999
        assert np.median(np.abs(found.scores - expected.scores.numpy())) < 1e-5
        assert np.median(np.abs(found.embeddings - expected.embeddings.numpy())) < 1e-4


def test_words_are_looked_for_as_in_torch(clouds, tmp_path, monkeypatch):
    table = tmp_path / "words.safetensors"
    embed_words(["lorry", "pedestrian", "hedge", "lamp"], run=Path("builtin")).save(table)
    real, read = text_embeddings.read_text_table, []
    monkeypatch.setattr(text_embeddings, "read_text_table", lambda *args: read.append(args[0]) or real(*args))
    file = export_onnx("builtin", tmp_path / "b.onnx", words=table)
    assert read == [table]
    in_torch, without = Segmenter.load("builtin"), OnnxSegmenter(file, threads=1)
    for words, background in (
        *((["lorry", "tree"], "trained"), (["pedestrian"], ["hedge"]), (["lamp", "house"], "none")),
    ):
        for each in (in_torch, without):
            each.set_prompts(words, background=background)
        expected, found = (each.segment(clouds[0], quality="low") for each in (in_torch, without))
        assert found.names == tuple(words) and share_alike(found.labels, expected.labels) >= 0.999
        assert np.median(np.abs(found.scores - expected.scores.numpy())) < 1e-5


def test_prompts_that_are_exported_are_asked_from_the_beginning(clouds, tmp_path):
    file = export_onnx("builtin", tmp_path / "b.onnx", prompts=["truck", "tree"], background="none")
    without = OnnxSegmenter(file, threads=1)
    found = without.segment(clouds[0], quality="low")
    assert found.names == ("truck", "tree") and set(np.unique(found.labels)) <= {0, 1}
    in_torch = Segmenter.load("builtin")
    in_torch.set_prompts(["truck", "tree"], background="none")
    assert share_alike(found.labels, in_torch.segment(clouds[0], quality="low").labels) >= 0.999


def test_the_file_says_what_it_was_made_of(builtin_file):
    about, run = OnnxSegmenter(builtin_file, threads=1).about, open_run("builtin")
    assert about.classes == list(run.prompts.classes) and about.voxel_size == run.recipe.student.voxel_size
    assert about.temperature == pytest.approx(run.temperature)
    assert (
        about.turns["medium"] == list(run.recipe.student.turns) and about.level and about.height == "ground"
    )
    assert set(run.prompts.names) <= set(about.stands_for)
    weights = sum(each.numel() for each in run.student().state_dict().values()) * 4
    assert builtin_file.stat().st_size < weights + 500_000


def test_the_same_run_gives_the_same_bytes(builtin_file, tmp_path):
    assert export_onnx("builtin", tmp_path / "again.onnx").read_bytes() == builtin_file.read_bytes()


def test_a_trained_run_is_exported_too(tiny_run, clouds, tmp_path):
    file = export_onnx(tiny_run, tmp_path / "tiny.onnx")
    expected, found = Segmenter.load(tiny_run).segment(clouds[0]), OnnxSegmenter(file).segment(clouds[0])
    assert share_alike(found.labels, expected.labels) >= 0.999


def test_what_cannot_be_exported_is_refused_and_no_file_is_left(tiny_run, tmp_path, monkeypatch):
    out = tmp_path / "a.onnx"
    with pytest.raises(ValueError, match="is not a run"):
        export_onnx(tmp_path, out)
    with pytest.raises(ValueError, match="was never taught"):
        export_onnx("builtin", out, prompts=["axolotl"])
    untrained = copy_run(open_run(tiny_run), tmp_path / "copy").folder
    recipe = read_json(untrained / "recipe.json")
    write_json(untrained / "recipe.json", recipe | {"student": recipe["student"] | {"width": 0.5}})
    with pytest.raises(ValueError, match="checkpoint"):
        export_onnx(untrained, out)
    for name in ("clip2scene.inference.onnx_model", "clip2scene.inference.onnx_graph", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"pip install 'clip2scene\[onnx\]'"):
        export_onnx("builtin", out)
    assert not out.exists()


def test_the_command_writes_a_file(call, tmp_path):
    out = tmp_path / "b.onnx"
    code, said, _ = call(
        "export-onnx", "builtin", "--out", out, "--prompts", "car, tree", "--weights", "int8"
    )
    assert code == 0 and f"wrote {out} (" in said and "weights of int8" in said
    assert OnnxSegmenter(out).segment(np.zeros((3, 4))).names == ("car", "tree")
    code, _, said = call("export-onnx", "builtin", "--out", out, "--prompts", "axolotl")
    assert code == 1 and "axolotl" in said and "Traceback" not in said
