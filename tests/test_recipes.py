from dataclasses import replace

import pytest

from clip2scene.config import to_dict
from clip2scene.recipes import RECIPES, fine_tuned, named, supervised, toytown


def test_every_recipe_is_found_by_its_own_name_and_no_other():
    assert all(named(name).name == name for name in RECIPES)
    with pytest.raises(ValueError, match="unknown recipe 'toyville', expected one of toytown, toytown-super"):
        named("toyville")


def test_a_ceiling_learns_from_as_many_clouds_and_differs_in_nothing_but_who_teaches():
    recipe, ceiling = toytown(), supervised(toytown())
    assert ceiling.steps * ceiling.data.sweeps == recipe.steps * recipe.data.sweeps
    assert ceiling.data.sweeps == 1  # earlier sweeps have no labels
    alike = replace(ceiling, data=recipe.data, steps=recipe.steps)
    differs = {key for key, value in to_dict(recipe).items() if value != to_dict(alike)[key]}
    assert differs == {"name", "supervision"}


@pytest.mark.parametrize("name", ["clip2scene", "clip2scene-code"])
def test_the_ceiling_of_the_whole_method_learns_from_labels_alone(name):
    ceiling = supervised(RECIPES[name])
    assert ceiling.consistency.weight == 0 and not ceiling.self_training.is_on
    assert ceiling.data.sweeps == 1


def test_every_recipe_is_fine_tuned_with_cross_entropy_and_lovasz():
    for recipe in RECIPES.values():
        loss = fine_tuned(recipe).loss
        assert (loss.form, loss.lovasz) == ("point-cross-entropy", 1.0)
        assert fine_tuned(recipe).optimiser.average == 0.99


@pytest.mark.parametrize("name", ["clip2scene", "clip2scene-code", "slidr"])
def test_recipes_of_the_papers_run_the_teacher_at_the_papers_size(name):
    assert named(name).teacher.working_size == (224, 416)


def test_own_recordings_are_looked_at_in_windows_as_large_as_clips_were_trained_on():
    assert named("own").teacher.window == 224 and named("own").teacher.working_size is None
