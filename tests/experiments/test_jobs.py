import json
from dataclasses import replace

import pytest

from clip2scene.experiments import jobs


def test_a_small_town_in_nuscenes_layout_is_not_the_papers_data_set(
    tiny_recipe, tiny_toytown, tmp_path, monkeypatch
):
    own = replace(tiny_recipe, data=replace(tiny_recipe.data, classes="own", words="nuscenes"))
    job = jobs.Job("a", own, tmp_path, tmp_path, tiny_toytown, None, "cpu")
    assert jobs.check_data([job]) is None
    monkeypatch.setitem(jobs._PUBLIC_VAL, "nuscenes", 2)
    assert jobs.check_data([job]) == "nuscenes"
    assert jobs.check_data([replace(job, recipe=tiny_recipe)]) is None  # judged in toytown's twelve classes


def test_progress_is_read_from_a_log_that_is_being_written(tiny_recipe, tmp_path):
    job = jobs.Job("a", tiny_recipe, tmp_path, tmp_path, tmp_path, None, "cpu")
    assert job.steps_done() == 0
    lines = [json.dumps({"step": step, "loss": 0.123456789, "seconds": 3.0}) for step in range(1, 101)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + '\n{"step": 10')
    assert job.steps_done() == 100
    assert job.minutes() == pytest.approx(5.0)


@pytest.mark.parametrize(
    "bad",
    [
        '{"step": 5, "lo{"step": 6, "seconds": 1.0}',
        "{}",
        '{"step": null, "seconds": "a"}',
        "[" * 9999,
        "\xff",
    ],
)
def test_a_line_of_a_log_that_a_full_disk_spoilt_is_stepped_over(tiny_recipe, tmp_path, bad):
    job = jobs.Job("a", tiny_recipe, tmp_path, tmp_path, tmp_path, None, "cpu")
    lines = ['{"step": 4, "seconds": 60.0}', bad, '{"step": 7, "seconds": 60.0}']
    (tmp_path / "log.jsonl").write_bytes("\n".join([*lines, ""]).encode("latin1"))
    assert (job.steps_done(), job.minutes()) == (7, 2.0)
