import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip2scene.evaluation.metrics import Confusion, confusion_table, random_baseline, table
from clip2scene.types import IGNORE_LABEL

NAMES = ("road", "car", "tree", "bus", "sky")


def draw(points: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(IGNORE_LABEL, classes, (points,), generator=generator)
    return torch.randint(IGNORE_LABEL, classes, (points,), generator=generator), truth


def slow_iou(predicted: torch.Tensor, truth: torch.Tensor, classes: int) -> list[float]:
    """Sets of point numbers: intersection over union, nan where the truth has none."""
    ious = []
    for cls in range(classes):
        true = {i for i, label in enumerate(truth.tolist()) if label == cls}
        said = {i for i, label in enumerate(predicted.tolist()) if label == cls and truth[i] != IGNORE_LABEL}
        ious.append(len(true & said) / len(true | said) if true else math.nan)
    return ious


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(1, 5), st.integers(0, 999), st.integers(1, 3))
def test_iou_equals_the_slow_truth_however_the_points_are_split(points, classes, seed, parts):
    predicted, truth = draw(points, classes, seed)
    confusion = Confusion(classes)
    for some_predicted, some_truth in zip(predicted.chunk(parts), truth.chunk(parts), strict=True):
        confusion.update(some_predicted, some_truth)
    expected = slow_iou(predicted, truth, classes)
    assert confusion.iou().tolist() == pytest.approx(expected, nan_ok=True)
    scores = confusion.scores(NAMES[:classes])
    present = [value for value in expected if not math.isnan(value)]
    assert scores.miou == pytest.approx(sum(present) / len(present) if present else math.nan, nan_ok=True)
    evaluated = truth != IGNORE_LABEL
    assert scores.num_points == int(evaluated.sum())
    if evaluated.any():
        assert scores.accuracy == pytest.approx(float((predicted == truth)[evaluated].double().mean()))


def test_rows_are_the_truth_and_columns_the_predictions():
    confusion = Confusion(3)
    confusion.update(torch.tensor([1, 1, 0, -1]), torch.tensor([0, 0, 2, 2]))
    assert confusion.counts.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
    assert confusion.unanswered.tolist() == [0, 0, 1]


def test_a_point_without_a_prediction_is_a_miss():
    confusion = Confusion(2)
    confusion.update(torch.tensor([0, IGNORE_LABEL]), torch.tensor([0, 0]))
    scores = confusion.scores(("a", "b"))
    assert scores.iou["a"] == scores.accuracy == 0.5


def test_a_class_absent_from_the_truth_is_left_out_of_the_mean_even_when_predicted():
    confusion = Confusion(3)
    confusion.update(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]))
    assert confusion.scores(("a", "b", "c")).miou == pytest.approx(2 / 3)


def test_metrics_json_has_null_where_there_is_nothing_to_score():
    confusion = Confusion(2)
    confusion.update(torch.tensor([0, 0]), torch.tensor([0, 0]))
    content = confusion.scores(("road", "car")).to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == {
        "miou": 1.0,
        "accuracy": 1.0,
        "iou": {"road": 1.0, "car": None},
        "classes": ["road", "car"],
        "confusion": [[2, 0], [0, 0]],
        "unanswered": [0, 0],
        "num_points": 2,
    }
    assert Confusion(2).scores(("road", "car")).to_json()["miou"] is None


def test_counts_do_not_lose_points_beyond_single_precision():
    confusion = Confusion(2)
    confusion.counts += torch.tensor([[2**40, 0], [0, 0]])
    confusion.update(torch.tensor([0]), torch.tensor([0]))
    assert confusion.scores(("a", "b")).num_points == 2**40 + 1


@pytest.mark.parametrize(("predicted", "truth"), [([2], [0]), ([0], [2]), ([0], [-2]), ([255], [-1])])
def test_labels_outside_the_classes_are_refused_and_nothing_is_counted(predicted, truth):
    confusion = Confusion(2)
    with pytest.raises(ValueError, match=r"train ids 0\.\.1"):
        confusion.update(torch.tensor([0, *predicted]), torch.tensor([0, *truth]))
    assert not confusion.counts.any()


def test_a_matrix_needs_classes_and_a_name_for_each():
    with pytest.raises(ValueError, match="at least one class"):
        Confusion(0)
    with pytest.raises(ValueError, match="2 classes, but 1 names"):
        Confusion(2).scores(("only",))


def test_the_random_baseline_predicts_evenly_and_repeats_with_its_seed():
    histogram = torch.tensor([400_000, 4_000, 0, 40])
    confusion = random_baseline(histogram, seed=3)
    assert torch.equal(confusion.counts.sum(1), histogram)
    shares = confusion.counts[0] / 400_000
    assert torch.allclose(shares, torch.full((4,), 0.25), atol=0.005)
    assert torch.equal(confusion.counts, random_baseline(histogram, seed=3).counts)
    assert not torch.equal(confusion.counts, random_baseline(histogram, seed=4).counts)


def example_columns() -> dict:
    student, teacher = Confusion(3), Confusion(3)
    student.update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0]))
    teacher.update(torch.tensor([0, -1, 1, 1]), torch.tensor([0, 0, 1, 0]))
    names = ("road", "car", "traffic cone")
    return {"student": student.scores(names), "teacher": teacher.scores(names)}


def test_the_plain_table_reads_like_this():
    assert table(example_columns()) == "\n".join(
        [
            "class         student  teacher",
            "------------------------------",
            "road             66.7     33.3",
            "car              50.0     50.0",
            "traffic cone        -        -",
            "------------------------------",
            "mIoU             58.3     41.7",
            "accuracy         75.0     50.0",
            "points              4        4",
        ]
    )


def test_the_markdown_table_reads_like_this():
    assert table(example_columns(), markdown=True).splitlines()[:3] == [
        "| class        | student | teacher |",
        "|--------------|--------:|--------:|",
        "| road         |    66.7 |    33.3 |",
    ]


def test_tables_of_nothing_or_of_different_classes_are_refused():
    columns = example_columns()
    with pytest.raises(ValueError, match="at least one column"):
        table({})
    with pytest.raises(ValueError, match="same classes"):
        table({**columns, "other": Confusion(1).scores(("road",))})


def test_a_confusion_matrix_is_laid_out_in_percent_of_each_true_class():
    confusion = Confusion(4)
    truth = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    confusion.update(torch.tensor([0, 0, 3, -1, 1, 1, 0]), truth)
    lines = confusion_table(confusion.scores(["car", "road", "sky", "tree"])).splitlines()
    assert [line.split() for line in lines] == [
        ["true", "\\", "predicted", "1", "2", "4", "none", "points"],
        [lines[1]],
        ["1", "car", "50.0", ".", "25.0", "25.0", "4"],
        ["2", "road", "33.3", "66.7", ".", ".", "3"],
        ["4", "tree", "-", "-", "-", "-", "0"],
    ]
