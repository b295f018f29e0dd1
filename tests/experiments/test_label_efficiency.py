import csv
from dataclasses import replace

import pytest
from PIL import Image

from clip2scene.experiments import report
from clip2scene.experiments.label_efficiency import (
    PROBE,
    folder_of,
    label_efficiency,
    labels_of,
    methods_of,
    tuning_recipe,
)
from clip2scene.recipes import pandaset, toytown, toytown_general


def test_every_method_differs_from_the_others_in_its_start_alone():
    methods = methods_of(toytown())
    assert list(methods) == ["scratch", "PPKT", "SLidR", "CLIP2Scene", "ours"]
    tuned = [tuning_recipe(toytown(), way, "5 %", by="scene") for way in methods.values()]
    started = [replace(each, name="", tuning=replace(each.tuning, start="words")) for each in tuned[1:]]
    assert all(each == started[0] for each in started)
    assert [each.tuning.start for each in tuned] == ["random"] * 4 + ["words"]
    assert {(each.student, each.loss, each.steps, each.labels) for each in tuned} == {
        (tuned[0].student, tuned[0].loss, tuned[0].steps, tuned[0].labels)
    }


@pytest.mark.parametrize("recipe", [toytown(), toytown_general(), pandaset()])
def test_every_method_is_pretrained_with_the_inputs_that_it_is_fine_tuned_with(recipe):
    given = [
        (each.height, each.level, each.intensity)
        for way in methods_of(recipe).values()
        for each in [
            (way.pretraining or recipe).student,
            tuning_recipe(recipe, way, "5 %", by="scene").student,
        ]
    ]
    assert len(set(given)) == 1


def test_class_maps_have_no_image_tower_to_contrast_with():
    assert list(methods_of(pandaset())) == ["scratch", "PPKT", "CLIP2Scene", "ours"]


@pytest.mark.parametrize(
    ("amount", "fraction", "count"),
    [("1 %", 0.01, None), ("0.1%", 0.001, None), ("30", 1.0, 30), (PROBE, 1.0, None)],
)
def test_amounts_are_shares_or_numbers(amount, fraction, count):
    labels = labels_of(amount, "keyframe")
    assert labels.fraction == pytest.approx(fraction)
    assert [labels.count, labels.by, labels.draw] == [count, "keyframe", None]


@pytest.mark.parametrize("amount", ["half", "1.5", "-3", "% 5", "0", "200 %"])
def test_other_amounts_are_refused(amount):
    with pytest.raises(ValueError, match="got"):
        labels_of(amount, "scene")


def test_amounts_have_folders_of_their_own():
    amounts = ["1 %", "10 %", "0.1 %", "1", "10", PROBE]
    assert len({folder_of(amount) for amount in amounts}) == len(amounts)


@pytest.fixture(scope="module")
def finished(tiny_recipe, tiny_toytown, tmp_path_factory):
    out = tmp_path_factory.mktemp("efficiency")
    recipe = replace(tiny_recipe, steps=2)
    options = {
        "methods": ["ours"],
        "amounts": [PROBE, "1"],
        "by": "keyframe",
        "seeds": [0, 1],
        "tuning_steps": 2,
    }
    with pytest.MonkeyPatch.context() as patch:  # of each of its tables after every run: another test's
        patch.setattr(report, "figure", lambda _: Image.new("RGB", (8, 8)))
        label_efficiency(recipe, data_root=tiny_toytown, out=out, **options)
        yield out, recipe, options


def test_the_table_shows_every_amount_and_the_gain_over_chance(finished):
    out = finished[0]
    text = (out / "table.md").read_text()
    assert "no labels | linear probe" in " ".join(text.split())
    assert "## Gain over scratch" in text
    assert "Published" not in text  # toytown is not nuScenes
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    assert len(rows) == 2 + 2 * 2 * 2  # ours without labels; two ways, two amounts, two seeds
    assert {row["labelled"] for row in rows if row["amount"] == "1"} == {"1"}
    tuned = [row for row in rows if row["amount"] == "1"]
    by_seed = {seed: {row["labels"] for row in tuned if row["seed"] == seed} for seed in "01"}
    assert all(len(hashes) == 1 for hashes in by_seed.values())  # all methods see the same labels
    assert (out / "figure.png").stat().st_size > 1000


def test_a_finished_table_is_written_anew_without_any_training(finished, tiny_toytown, monkeypatch):
    from clip2scene.experiments import label_efficiency as module

    out, recipe, options = finished
    before = (out / "table.csv").read_text()
    (out / "table.csv").unlink()
    monkeypatch.setattr(module, "finetune", None)
    label_efficiency(recipe, data_root=tiny_toytown, out=out, **options)
    assert (out / "table.csv").read_text() == before


def test_unknown_methods_are_refused_before_any_work(tiny_recipe, tiny_toytown, tmp_path):
    with pytest.raises(ValueError, match="methods among scratch, PPKT.*got .'Seal'"):
        label_efficiency(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "out", methods=["Seal"])
    assert not (tmp_path / "out").exists()
