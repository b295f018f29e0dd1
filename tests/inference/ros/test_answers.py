from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.ros_bags import STORE, cloud_message

from clip2scene.datasets.convert.ros_messages import columns_of
from clip2scene.inference.ros.answers import NONE, Answers, CloudLabels, Labelling, check_classes
from clip2scene.inference.segmenter import Segmentation, Segmenter

X, Y, Z = np.arange(18, dtype=np.float32).reshape(3, 6) + 1


class Halves(Segmenter):
    """Says "left" of points left of the vehicle, "right" of others, and of the last nothing."""

    def __init__(self):
        pass

    def segment(self, cloud, **options):
        self.cloud, self.options = cloud, options
        left = cloud.positions[:, 1] > 0
        labels = torch.where(left, 0, 1)
        labels[-1] = -1
        scores = torch.where(left[:, None], torch.tensor([0.75, 0.25]), torch.tensor([0.375, 0.625]))
        return Segmentation(("left", "right"), labels, scores)


def cloud(**columns):
    places = {"x": (0, 7, X), "y": (4, 7, Y - 9), "z": (8, 7, Z), "intensity": (12, 7, np.full(6, 51.0))}
    return cloud_message(1, places | columns, step=30, height=2, padding=5)


@pytest.fixture
def answers():
    return Answers(["left", "right"], ["left"], lambda kind, **values: STORE.types[kind](**values))


def test_points_without_a_place_are_no_class_and_the_others_keep_theirs():
    y = Y - 9
    y[2] = np.nan
    way = Labelling(Halves(), intensity_max=255.0, abstain=0.2, quality="low")
    found = way.label(cloud(y=(4, 7, y)), "/points")
    assert found.class_ids.tolist() == [1, 1, NONE, 0, 0, NONE]
    assert found.probabilities.tolist() == [0.625, 0.625, 0, 0.75, 0.75, 0]
    seen = way.segmenter
    assert seen.cloud.features[:, 0].tolist() == pytest.approx([0.2] * 5)
    assert seen.options == {"ground": None, "abstain": 0.2, "quality": "low"}


def test_clouds_of_other_axes_are_turned():
    way = Labelling(Halves(), axes="RFU")
    assert way.read(cloud(), "/points")[0].positions[0].tolist() == [Y[0] - 9, -X[0], Z[0]]


def test_an_empty_cloud_is_answered_by_an_empty_one(answers):
    empty = replace(cloud(), height=0, width=0, row_step=0, data=np.zeros(0, np.uint8))
    labels = Labelling(Halves()).label(empty, "/points")
    made = answers.make_all(empty, "/points", labels)
    assert len(made) == 3 and all(message.width == 0 for message in made.values())


def test_rows_of_an_organised_cloud_stay_and_what_lies_between_them_goes(answers):
    message = cloud()
    made = answers.make_all(message, "/points", Labelling(Halves()).label(message, "/points"))
    whole = made["/points/segmentation"]
    assert (whole.height, whole.width, whole.point_step, whole.row_step) == (2, 3, 40, 120)
    for one, other in zip(
        columns_of(whole, ("x", "y", "intensity"), ""),
        columns_of(message, ("x", "y", "intensity"), ""),
        strict=True,
    ):
        assert np.array_equal(one, other)
    assert made["/points/filtered"].height == 1 and made["/points/filtered"].width == 4


def test_an_earlier_answer_is_taken_over_by_the_new_one(answers):
    message = cloud(class_id=(16, 2, np.full(6, 9)))
    labels = CloudLabels(np.arange(6, dtype=np.uint8), np.zeros(6, np.float32))
    made = answers.make_all(message, "/points", labels)["/points/segmentation"]
    assert [each.name for each in made.fields].count("class_id") == 1
    assert columns_of(made, ("class_id",), "")[0].tolist() == [0, 1, 2, 3, 4, 5]


def test_only_classes_can_be_removed_and_a_byte_tells_them_apart():
    check_classes(["a", "b"], ["a"])
    check_classes([str(number) for number in range(255)], [])
    with pytest.raises(ValueError, match="--remove names c, which no prompt is; expected some of a, b"):
        check_classes(["a", "b"], ["a", "c"])
    with pytest.raises(ValueError, match="there would be 256 classes, expected at most 255; name fewer"):
        check_classes([str(number) for number in range(256)], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "XYZ"}, "--axes is 'XYZ', expected three letters"),
        ({"abstain": 2.0}, "--abstain is a score"),
        ({"intensity_max": -5.0}, "--intensity-max is -5, expected the number above 0"),
    ],
)
def test_an_unfit_way_of_labelling_is_refused_before_the_first_cloud(options, message):
    with pytest.raises(ValueError, match=message):
        Labelling(Halves(), **options)


def test_an_empty_cloud_may_have_rows_of_any_length_but_points_of_few_bytes(answers):
    odd = replace(cloud(), height=16, width=0, row_step=100, data=np.zeros(0, np.uint8))
    made = answers.make_all(odd, "/points", Labelling(Halves()).label(odd, "/points"))
    assert made["/points/segmentation"].width == 0
    with pytest.raises(ValueError, match="points of a cloud have 4294967292 bytes, expected at most 65536"):
        Labelling(Halves()).label(replace(odd, point_step=2**32 - 4), "/points")


def test_places_beyond_float32_are_drawn_nowhere(answers):
    far = cloud_message(1, {axis: (8 * n, 8, np.full(2, 1e300)) for n, axis in enumerate("xyz")}, step=24)
    labels = Labelling(Halves()).label(far, "/points")
    made = answers.make_all(far, "/points", labels)["/points/visualization"]
    assert labels.class_ids.tolist() == [NONE, NONE] and np.isinf(columns_of(made, ("x",), "")[0]).all()
