"""The temperature of scores: fitted without labels, kept with the run, used wherever scores are given."""

import pytest
import torch

from clip2scene.inference.confidence import COLDEST, HOTTEST, calibrate, fit_confidence, fit_temperature
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import read_json, write_json
from clip2scene.runs.copies import copy_run
from clip2scene.runs.run import open_run
from clip2scene.types import PointCloud


def drawn(temperature, points=40_000):
    """Logits, and targets that a softmax of these over a temperature gave."""
    draw = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(points, 5, generator=draw)
    scores = (logits / temperature).softmax(1)
    return logits, torch.multinomial(scores, 1, generator=draw)[:, 0]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_gave_the_targets_is_found(temperature):
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_found_is_the_likeliest():
    logits, targets = drawn(1.7)
    found = fit_temperature(logits, targets)

    def loss(each):
        return float(torch.nn.functional.cross_entropy(logits.double() / each, targets))

    assert loss(found) < min(loss(1.02 * found), loss(0.98 * found))


def test_where_all_agree_or_none_does_it_stops_at_its_bounds():
    logits = torch.eye(3)
    assert fit_temperature(logits, torch.arange(3)) == pytest.approx(COLDEST, rel=1e-3)
    assert fit_temperature(logits, torch.tensor([1, 2, 0])) == pytest.approx(HOTTEST, rel=1e-3)


def test_pretraining_leaves_it_with_the_run_and_segmenting_takes_it(tiny_run, tmp_path):
    kept = read_json(tiny_run / "confidence.json")
    assert COLDEST <= kept["temperature"] <= HOTTEST and 0 <= kept["agreement"] <= 1
    assert open_run(tiny_run).temperature == kept["temperature"]
    copy = copy_run(open_run(tiny_run), tmp_path / "copy")
    write_json(copy.folder / "confidence.json", {"temperature": 3.0})
    cloud = PointCloud(torch.rand(50, 3) * 10, torch.rand(50, 1))
    here, there = (Segmenter.load(run).segment(cloud).scores for run in (tiny_run, copy.folder))
    expected = here.log() * kept["temperature"] / 3.0
    torch.testing.assert_close(there, expected.softmax(1), rtol=1e-3, atol=1e-5)


def test_it_is_fitted_anew_on_any_data_and_much_the_same_each_time(tiny_run, tiny_toytown, tmp_path, call):
    code, out, _ = call("calibrate", tiny_run, "--data-root", tiny_toytown, "--out", tmp_path / "copy")
    assert code == 0 and "confidence.json" in out
    again, before = (read_json(run / "confidence.json") for run in (tmp_path / "copy", tiny_run))
    assert again == pytest.approx(before, rel=0.02)  # the command line may round products
    assert again["samples"] == before["samples"]
    other = calibrate(tiny_run, data_root=tiny_toytown, split="val", out=tmp_path / "val")
    assert read_json(other)["samples"] == 2


def test_without_a_seen_point_scores_stay_as_they_are(tiny_run, tmp_path):
    from clip2scene.distill.lifted import LiftedSample, save_lifted

    cloud = PointCloud(torch.rand(20, 3) * 10, torch.rand(20, 1))
    run = copy_run(open_run(tiny_run), tmp_path / "copy")
    none = torch.zeros(0, dtype=torch.long)
    classes = len(run.prompts.classes)
    save_lifted(tmp_path / "one.safetensors", LiftedSample(cloud, none, torch.zeros(0, classes), None))
    fit_confidence(run, [tmp_path / "one.safetensors"])
    assert run.temperature == 1.0


def test_what_cannot_be_fitted_is_refused(tiny_run, tiny_toytown, tmp_path, call):
    code, _, err = call("calibrate", "builtin", "--data-root", tiny_toytown)
    assert code == 1 and "--out" in err
    run = copy_run(open_run(tiny_run), tmp_path / "labels")
    recipe = read_json(run.folder / "recipe.json")
    write_json(run.folder / "recipe.json", {**recipe, "supervision": "labels"})
    with pytest.raises(ValueError, match="was trained on labels, so there are no pseudo-labels"):
        calibrate(run.folder, data_root=tiny_toytown)
