import shutil

import pytest
import torch

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.inference import pack_run as packing
from clip2scene.inference.pack_run import pack_run
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import read_json, write_json
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.runs.run import open_run


@pytest.fixture(scope="module")
def packed(tiny_run, tiny_toytown, tmp_path_factory):
    """The folder of a packed run, and what was said of it."""
    out = tmp_path_factory.mktemp("packed") / "student"
    return out, pack_run(tiny_run, out, data_root=tiny_toytown, trained_by="clip2scene pretrain toytown")


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def test_it_labels_as_the_run_does_in_half_precision(packed, tiny_run, tiny_toytown):
    out, about = packed
    assert about["precision"] == "float16" and about["agreement"] >= 0.999
    cloud = NuScenes(tiny_toytown, split="train", labels=False)[0].cloud
    labels = [Segmenter.load(each).segment(cloud).labels for each in (tiny_run, out)]
    assert (labels[0] == labels[1]).double().mean() >= 0.999


def test_it_is_whole_and_small_and_holds_the_weights_alone(packed, tiny_run):
    out, about = packed
    assert {path.name for path in out.iterdir()} == {
        *("recipe.json", "prompts.json", "prompts.safetensors", "clouds.json", "sources.json"),
        *("checkpoint.safetensors", "about.json", "confidence.json"),
    }
    kept = load_checkpoint(out / "checkpoint.safetensors")
    assert kept.optimizer == {} and all(each.dtype != torch.float32 for each in kept.model.values())
    assert size_of(out) < 0.6 * (tiny_run / "checkpoint.safetensors").stat().st_size
    assert read_json(out / "about.json") == about
    assert about["command"] == "clip2scene pretrain toytown"
    assert about["results"]["student"] == read_json(tiny_run / "metrics.json")["miou"]


def test_it_says_nothing_of_the_machine(packed, tiny_run):
    out, _ = packed
    sources = open_run(out).sources
    assert (sources.data_root, sources.inputs, sources.seal) == ("", "", "")
    assert sources.teacher_hash == open_run(tiny_run).sources.teacher_hash
    assert not any(str(tiny_run.parent) in path.read_text() for path in out.glob("*.json"))


def test_a_run_with_further_teachers_is_packed_without_their_folders(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    recipe, sources = read_json(run / "recipe.json"), read_json(run / "sources.json")
    recipe["teacher"]["also"] = ["/home/me/other"]
    write_json(run / "recipe.json", recipe)
    write_json(run / "sources.json", {**sources, "also": ["/home/me/other"]})
    pack_run(run, tmp_path / "out")
    packed = open_run(tmp_path / "out")
    assert packed.recipe.teacher.also == ("other",) and packed.sources.also == ()
    packed.student()


def test_without_clouds_to_measure_on_the_weights_stay_as_they_are(tiny_run, tmp_path):
    about = pack_run(tiny_run, tmp_path / "out")
    assert (about["precision"], about["agreement"]) == ("float32", None)
    found = open_run(tmp_path / "out").student().state_dict()
    assert all(
        torch.equal(found[name], each) for name, each in open_run(tiny_run).student().state_dict().items()
    )


def test_weights_that_lose_labels_in_half_precision_stay_whole(tiny_run, tiny_toytown, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "LEAST_AGREEMENT", 1.1)
    assert pack_run(tiny_run, tmp_path / "out", data_root=tiny_toytown)["precision"] == "float32"


def test_what_is_too_large_or_names_a_place_leaves_nothing(tiny_run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="about.json .* would name a place of this machine"):
        pack_run(
            tiny_run, tmp_path / "out", trained_by="clip2scene pretrain toytown --data-root /home/me/town"
        )
    monkeypatch.setattr(packing, "MOST_MIB", 0.01)
    with pytest.raises(ValueError, match="MiB when packed, expected at most 0.01"):
        pack_run(tiny_run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
