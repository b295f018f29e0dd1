import time
from dataclasses import replace

import pytest
import torch

from clip2scene import build
from clip2scene.experiments.plan import measure


@pytest.fixture
def experiment(tiny_recipe, tiny_toytown):
    teacher = replace(tiny_recipe.teacher, consolidate=True, refine="guided")
    return build.open_experiment(replace(tiny_recipe, teacher=teacher), tiny_toytown)


def test_measuring_ends_when_its_time_is_up_but_not_before_the_least():
    assert list(measure.until(range(9), 0.0, least=3)) == [0, 1, 2]
    assert list(measure.until(range(4), 60.0, least=2)) == [0, 1, 2, 3]
    slow = (time.sleep(0.05) or number for number in range(100))
    assert 2 <= len(list(measure.until(slow, 0.12, least=1))) <= 4


def test_samples_are_chosen_evenly_and_never_twice():
    assert measure.evenly(100, 3) == [0, 50, 99]
    assert measure.evenly(2, 16) == [0, 1]


def test_threads_come_back_after_the_block():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with measure.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_start_is_that_of_a_process_of_its_own():
    assert 0.005 < measure.measure_start("json").values[0] < 30
    with pytest.raises(ValueError, match="cannot be started"):
        measure.measure_start("a_module_that_is_nowhere")


def test_reading_and_the_teacher_are_measured_image_by_image(experiment, tmp_path):
    took, images = measure.measure_reading(experiment.dataset, 1.0)
    assert len(took.values) == 2 and images.mean == 6 and min(took.values) > 0
    cost = measure.measure_teacher(experiment, 1.0, tmp_path)
    assert len(cost.image.values) == 3  # two of each sample, without the first
    assert cost.refinement is not None and cost.refinement.mean > 0
    assert cost.cached["int8"].mean < 0.6 * cost.cached["float16"].mean


def test_lifting_is_measured_as_runs_do_it(experiment, tmp_path):
    lifted = measure.measure_lifting(experiment, 1.0, tmp_path)
    assert len(lifted.paths) == len(lifted.seconds.values) == 2
    assert lifted.bytes.values == tuple(path.stat().st_size for path in lifted.paths)
    assert [moment.number for moment in lifted.drives["measured"]] == [0, 1]
    consolidation = measure.measure_consolidation(experiment, lifted)
    assert consolidation is not None and consolidation.mean > 0


def test_without_consolidation_there_is_no_figure_of_it(tiny_recipe, tiny_toytown, tmp_path):
    plain = build.open_experiment(tiny_recipe, tiny_toytown)
    lifted = measure.measure_lifting(plain, 0.5, tmp_path)
    assert lifted.drives == {} and measure.measure_consolidation(plain, lifted) is None
