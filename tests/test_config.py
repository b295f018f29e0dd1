import pytest

from clip2scene.config import LossConfig, OptimiserConfig, Recipe, StudentConfig, from_dict, to_dict
from clip2scene.recipes import RECIPES, supervised, toytown


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_being_written_and_read(name):
    assert from_dict(to_dict(RECIPES[name])) == RECIPES[name]


def test_an_unknown_setting_is_named():
    values = to_dict(toytown())
    values["student"]["depth"] = 3
    with pytest.raises(ValueError, match="unknown setting depth for StudentConfig"):
        from_dict(values)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (StudentConfig, {"voxel_size": 0.0}),
        (StudentConfig, {"width": -1.0}),
        (LossConfig, {"temperature": 0.0}),
        (LossConfig, {"class_balance": 1.5}),
        (LossConfig, {"class_balance": 0.5, "form": "class-infonce"}),
        (OptimiserConfig, {"learning_rate": -0.1}),
        (OptimiserConfig, {"average": 1.0}),
    ],
)
def test_a_bad_value_is_refused_when_it_is_given(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


def test_a_ceiling_differs_from_its_recipe_in_name_and_supervision_alone():
    recipe, ceiling = to_dict(toytown()), to_dict(supervised(toytown()))
    assert {key for key in recipe if recipe[key] != ceiling[key]} == {"name", "supervision"}


def test_a_recipe_needs_steps():
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        Recipe(name="none", steps=0)
