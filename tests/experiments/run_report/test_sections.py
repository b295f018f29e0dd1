import json
from dataclasses import replace

import numpy as np
import pytest

from clip2scene.experiments.run_report import sections
from clip2scene.experiments.run_report.facts import Evaluation, read_facts


@pytest.fixture
def facts(make_run):
    return read_facts(make_run())


def test_the_lesson_names_teacher_data_labels_and_start(facts):
    told = dict(sections.lesson(facts))
    assert told["start"] == "from chance" and "2 in the train split" in told["clouds"]
    assert "no label of a point was read" in told["labels"]
    assert "captioned pictures" in told["teacher"] and "without labelled images" in told["teacher"]
    taught = replace(facts.recipe.teacher, trained_on_2d_labels=True)
    taught = replace(facts, recipe=replace(facts.recipe, teacher=taught))
    assert "trained with labelled images" in dict(sections.lesson(taught))["teacher"]


def test_a_fine_tuned_run_tells_its_start_and_its_labels(make_run):
    told = dict(sections.lesson(read_facts(make_run(kind="finetuned"))))
    assert (
        told["start"] != "from chance"
        and "the data set's labels: 1 clouds of 1 keyframe(s)" in told["labels"]
    )
    assert told["teacher"].startswith("none, labels took its place")


def test_labels_by_hand_are_told_and_what_the_points_beside_them_teach(make_run):
    facts = read_facts(make_run(kind="finetuned", labels={"corrections": "1" * 64}))
    told = dict(sections.lesson(facts))["labels"]
    assert "Targets are labels by hand: 1 clouds" in told and "that the start predicts there" in told
    alone = replace(facts.recipe, labels=replace(facts.recipe.labels, rest="nothing"))
    from_file = replace(facts.sources, init={**facts.sources.init, "report": ["122 tensors taken"]})
    for other in (replace(facts, recipe=alone), replace(facts, sources=from_file)):
        assert "the start predicts" not in dict(sections.lesson(other))["labels"]


def test_label_maps_are_not_called_the_small_image_text_model(facts):
    maps = replace(facts.recipe.teacher, kind="label-maps", trained_on_2d_labels=True)
    told = dict(sections.lesson(replace(facts, recipe=replace(facts.recipe, teacher=maps))))["teacher"]
    assert "another network wrote for each pixel" in told and "CLIP" not in told


def test_a_second_round_is_told_among_the_targets(make_run):
    about = {"origin": "/home/me/first", "sha256": "12345678" * 8}
    told = dict(sections.lesson(read_facts(make_run(sources={"second_round": about}))))
    assert "the teacher's and a student's pseudo-labels" in told["labels"]
    assert "first (12345678)" in told["second round"] and "/home" not in told["second round"]


def test_the_mean_is_said_to_be_over_the_classes_that_occur(facts):
    assert "over 12 classes." in sections.headline(facts)
    student = facts.evaluation.columns["student"]
    columns = {"student": {**student, "iou": {**student["iou"], "barrier": None}}}
    fewer = replace(facts, evaluation=replace(facts.evaluation, columns=columns))
    assert "over the 11 of 12 classes that occur." in sections.headline(fewer)


def test_the_table_has_every_column_and_says_what_the_file_says(facts):
    table = sections.score_table(facts.evaluation)
    assert table["heads"][0] == ("student", "all") and table["heads"][-1] == ("chance", "all")
    assert len(table["rows"]) == 12 and len(table["heads"]) == len(facts.evaluation.columns)
    assert dict(table["totals"])["mIoU"][0] == "15.5"
    assert dict(table["rows"])["driveable surface"][0] == "53.2"


def test_shares_of_a_matrix_are_of_each_true_class(facts):
    first, second = sections.confusions(facts.evaluation)
    for matrix in (first, second):
        sums = [sum(share for share, _ in cells) for _, cells, total in matrix["rows"] if total != "0"]
        assert sums == pytest.approx([1.0] * len(sums))
    assert first["names"] == second["names"] == list(facts.evaluation.classes)


def test_points_without_an_answer_have_a_column_of_their_own(facts):
    columns = {"student": facts.evaluation.columns["teacher"]}
    (matrix,) = sections.confusions(replace(facts.evaluation, columns=columns))
    assert matrix["names"][-1] == "no label"
    sums = [sum(share for share, _ in cells) for _, cells, total in matrix["rows"] if total != "0"]
    assert sums == pytest.approx([1.0] * len(sums))


def test_of_very_many_classes_those_with_points_are_shown():
    names = tuple(f"class {number}" for number in range(100))
    counts = np.zeros((100, 100), dtype=int)
    counts[60:, 60:] = 5
    column = {"miou": 0.5, "iou": dict.fromkeys(names, 0.5), "confusion": counts.tolist()}
    found = Evaluation("val", names, {"student": column})
    (matrix,) = sections.confusions(found)
    assert matrix["names"] == list(names[60:])


def test_the_gap_to_the_voted_labels_is_told_with_its_sign(facts):
    assert "below its teacher's voted labels" in sections.headline(facts)
    columns = dict(facts.evaluation.columns)
    columns["student_seen"] = {**columns["student_seen"], "miou": 0.99}
    better = replace(facts, evaluation=replace(facts.evaluation, columns=columns))
    assert "above its teacher's voted labels" in sections.headline(better)
    assert "not evaluated" in sections.headline(replace(facts, evaluation=None))


def test_every_number_of_the_log_has_a_curve_the_loss_first(facts):
    titles = [title for title, _ in sections.curves(facts)]
    assert titles[0] == "loss, the sum of all terms" and titles[-1] == "seconds a step"
    assert "term scr" in titles and len(titles) == len(facts.curves)


def test_calibration_is_drawn_where_it_was_measured_and_not_made_up_elsewhere(facts):
    assert sections.calibration(facts) is None
    bins = [{"points": 3, "mean_score": 0.4, "accuracy": 0.5}, {"points": "x"}, 7]
    found = {"calibration_error": 0.125, "accuracy_at_coverage": {"0.5": 0.9, "1.0": 0.75, "x": 1}}
    measured = replace(facts, evaluation=replace(facts.evaluation, confidence=found), temperature=0.5)
    told = sections.calibration(measured)
    assert told["table"] == [("50 %", "90.0"), ("100 %", "75.0")] and len(told["charts"]) == 1
    assert ("expected calibration error", "12.5") in told["facts"]
    with_bins = replace(measured, evaluation=replace(facts.evaluation, confidence={**found, "bins": bins}))
    assert len(sections.calibration(with_bins)["charts"]) == 2


def test_numbers_out_of_all_range_are_dashes(make_run):
    folder = make_run()
    content = json.loads((folder / "metrics.json").read_text())
    content["columns"]["student"] |= {"miou": 1e300, "accuracy": "much", "num_points": -5}
    (folder / "metrics.json").write_text(json.dumps(content))
    facts = read_facts(folder)
    assert dict(sections.score_table(facts.evaluation)["totals"])["mIoU"][0] == "-"
    assert "not evaluated" in sections.headline(facts)
