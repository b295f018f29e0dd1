from dataclasses import replace

import pytest

from clip2scene import build
from clip2scene.experiments.plan.measure import measure_lifting
from clip2scene.experiments.plan.steps import measure_steps


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_steps_are_measured_with_and_without_self_training(tiny_recipe, tiny_toytown, tmp_path, probability):
    own = replace(tiny_recipe.self_training, probability=probability, start=0.5)
    experiment = build.open_experiment(replace(tiny_recipe, self_training=own), tiny_toytown)
    paths = measure_lifting(experiment, 0.5, tmp_path).paths
    found = measure_steps(experiment, paths, 0.5, tmp_path)
    assert len(found.before.values) >= 3 and min(found.before.values) > 0
    assert (found.after is not None) == (probability > 0)
    assert 0 < found.shared.mean < 1
    assert found.checkpoint == (tmp_path / "checkpoint.safetensors").stat().st_size
    assert len(found.figures()) == 4 + (probability > 0)
