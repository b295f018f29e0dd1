"""Which trained classes stay in the background of asked words."""

import torch
import torch.nn.functional as F

from clip2scene.inference.background import background_of, only, together
from clip2scene.types import Prompts

DIRECTIONS = {
    "car": [1.0, 0.2, 0.0, 0.0],
    "van": [0.95, 0.35, 0.0, 0.0],
    "truck": [0.8, 0.6, 0.0, 0.0],
    "tree": [0.0, 0.0, 1.0, 0.3],
    "road": [0.0, 0.0, 0.2, 1.0],
    "jeep": [1.0, 0.25, 0.05, 0.0],
    "vehicle": [0.92, 0.42, 0.0, 0.0],
    "teapot": [0.2, -1.0, 0.3, 0.3],
}


def prompts(**classes):
    names = [name for several in classes.values() for name in several]
    of_name = [number for number, several in enumerate(classes.values()) for _ in several]
    rows = F.normalize(torch.tensor([DIRECTIONS[name] for name in names]), dim=1)
    return Prompts(tuple(classes), tuple(names), torch.tensor(of_name), rows)


TRAINED = prompts(cars=["car", "van"], trucks=["truck"], trees=["tree"], roads=["road"])


def left(*words):
    found = background_of(prompts(**{word: [word] for word in words}), TRAINED)
    return () if found is None else found.classes


def test_a_word_stands_for_the_class_that_has_it_or_one_like_it():
    assert left("car") == left("van") == left("jeep") == ("trucks", "trees", "roads")
    assert left("tree") == ("cars", "trucks", "roads")


def test_a_word_that_is_embedded_anew_with_a_little_rounding_stands_for_its_own_class_alone():
    asked = prompts(truck=["truck"])
    turned = F.normalize(asked.embeddings + 2e-3 * TRAINED.embeddings[:1], dim=1)
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        found = background_of(Prompts(asked.classes, asked.names, asked.class_of_name, turned), TRAINED)
        assert found.classes == ("cars", "trees", "roads")


def test_a_word_between_classes_stands_for_them_all():
    assert left("vehicle") == ("trees", "roads")


def test_a_word_that_is_like_no_class_leaves_all_in_the_background():
    assert left("teapot") == TRAINED.classes


def test_words_for_all_classes_leave_no_background():
    assert left("car", "truck", "tree", "road") == ()


def test_kept_classes_keep_their_names_and_asked_words_their_numbers():
    kept = only(TRAINED, [0, 3])
    assert kept.classes == ("cars", "roads") and kept.names == ("car", "van", "road")
    assert kept.class_of_name.tolist() == [0, 0, 1]
    both = together(prompts(tree=["tree"]), kept)
    assert both.classes == ("tree", "cars", "roads") and both.class_of_name.tolist() == [0, 1, 1, 2]
    assert torch.equal(both.embeddings[1:], kept.embeddings)
    assert together(TRAINED, None) is TRAINED
