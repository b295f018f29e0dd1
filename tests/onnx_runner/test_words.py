from dataclasses import replace

import pytest
from tests.onnx_students import ABOUT

from clip2scene.onnx_runner.about import About
from clip2scene.onnx_runner.words import choose

FILE = About(**ABOUT)


def test_without_words_points_are_compared_with_the_trained_classes():
    choice = choose(FILE, None)
    assert choice.trained and choice.asked == ("vehicle", "road", "tree")
    assert choice.rows.tolist() == [[0, 1], [2, 2], [3, 3]]


def test_a_name_goes_to_the_nearest_word_and_classes_that_no_word_stands_for_are_the_background():
    assert choose(FILE, ["car", "van"]).rows.tolist() == [[0], [1], [2], [3]]
    assert choose(FILE, ["car"]).rows.tolist() == [[0, 1], [2, 2], [3, 3]]
    assert choose(FILE, ["car"], "none").rows.tolist() == [[0, 1]]
    assert choose(FILE, ["tree"], ["road"]).rows.tolist() == [[3], [2]]


def test_a_word_that_stands_for_no_class_keeps_its_own_direction():
    file = replace(FILE, names=[*FILE.names, "dog"], stands_for={**FILE.stands_for, "dog": {}})
    assert choose(file, ["dog"], "none").rows.tolist() == [[4]]


@pytest.mark.parametrize(
    ("words", "background", "said"),
    [
        (
            ["car", "dog"],
            "trained",
            r"no embedding of dog; label with words that it has \(car, van, road, tree\)",
        ),
        ([], "trained", "at least one word"),
        (["car", "car"], "trained", "all different"),
        ("car", "trained", r"write \['car'\]"),
        (["car"], "some", "background is trained, none, or a list"),
        (["car"], ["car"], "all different"),
    ],
)
def test_words_that_cannot_be_asked_for_are_refused(words, background, said):
    with pytest.raises(ValueError, match=said):
        choose(FILE, words, background)


def test_a_run_that_knows_no_words_says_so():
    with pytest.raises(ValueError, match="trained on labels alone"):
        choose(replace(FILE, stands_for={}), ["car"])
