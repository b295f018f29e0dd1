from dataclasses import asdict, replace

import pytest

from clip2scene.config import ConsistencyConfig, SelfTrainingConfig
from clip2scene.experiments.ablation import AblationTable
from clip2scene.experiments.variants import TABLES, contrasting, full, paper_table, plain
from clip2scene.recipes import pandaset, toytown


def differences(first, second, prefix=""):
    """Dotted names of the settings that differ."""
    found = set()
    for key, value in first.items():
        if isinstance(value, dict):
            found |= differences(value, second[key], f"{prefix}{key}.")
        elif value != second[key]:
            found.add(prefix + key)
    return found


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_made_of_a_recipe_and_its_variants_all_differ(name):
    table = TABLES[name](toytown())
    assert isinstance(table, AblationTable) and table.name == name
    recipes = [replace(variant.recipe, name="") for variant in table.variants]
    assert len(set(map(repr, recipes))) == len(recipes) > 1
    assert all(variant.recipe.name == variant.name for variant in table.variants)
    assert len({variant.recipe.steps for variant in table.variants}) == 1  # the schedule is the recipe's


def test_plain_has_none_of_the_papers_ingredients_and_full_has_them_all():
    base, whole = plain(toytown()), full(toytown())
    assert (base.data.sweeps, base.consistency, base.self_training) == (
        1,
        ConsistencyConfig(),
        SelfTrainingConfig(),
    )
    assert (whole.data.sweeps, whole.consistency.weight, whole.self_training.probability) == (3, 1.0, 0.5)
    assert differences(asdict(base), asdict(whole)) == {
        *("data.sweeps", "consistency.weight", "self_training.probability"),
    }
    assert plain(base) == base


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("without StCR", {"consistency.weight"}),
        ("without SCR", {"loss.weight", "self_training.probability"}),
        ("StCR as released", {"consistency.form"}),
        ("without S3", {"self_training.probability"}),
        ("ST", {"self_training.probability"}),
        ("1 sweep", {"data.sweeps"}),
        ("5 sweeps", {"data.sweeps"}),
        ("3 sweeps merged", {"data.merge_sweeps"}),
        ("without the moved test", {"data.moved_test"}),
    ],
)
def test_a_variant_of_the_papers_table_changes_what_its_name_says_and_nothing_else(name, changed):
    variants = {variant.name: variant for variant in paper_table(toytown()).variants}
    whole = variants["full"].recipe
    assert differences(asdict(variants[name].recipe), asdict(whole)) == {"name", *changed}


def test_the_papers_values_are_those_of_its_table_3():
    variants = {variant.name: variant.published for variant in paper_table(toytown()).variants}
    printed = {"baseline": 15.1, "full": 20.8, "without StCR": 19.8, "without S3": 18.8, "ST": 10.1}
    assert {name: variants[name] for name in printed} == {
        name: {"nuscenes": value} for name, value in printed.items()
    }
    assert variants["without SCR"] is None  # trained with a guard that the paper has not


def test_rivals_keep_the_teacher_the_network_and_the_schedule():
    rival = contrasting(pandaset(), "pixel-infonce")
    assert differences(asdict(rival), asdict(plain(pandaset()))) <= {
        *("loss.form", "loss.class_balance", "loss.backbone"),
    }
    assert contrasting(toytown(), "superpixel-infonce", "own").loss.backbone == "own"
