"""Which trained classes stay in the background of asked words."""

import torch
import torch.nn.functional as F

from clip2scene.inference.background import background_of, by_trained_names, only, together
from clip2scene.types import Prompts

COMMON = 2.0  # what all texts share, as an image-text model has them
DIRECTIONS = {
    "car": [1.0, 0.0, 0.0, 0.0, 0.0],
    "van": [0.9, 0.1, 0.0, 0.0, 0.1],
    "truck": [0.5, 0.8, 0.0, 0.0, 0.0],
    "tree": [0.0, 0.0, 1.0, 0.1, 0.0],
    "bush": [0.0, 0.0, 0.8, 0.3, 0.0],
    "road": [0.0, 0.0, 0.0, 1.0, 0.0],
    "jeep": [0.9, 0.0, 0.0, 0.0, 0.4],
    "vehicle": [0.9, 0.5, 0.0, 0.0, 0.0],
    "hedge": [0.0, 0.0, 0.8, 0.35, 0.1],
    "teapot": [0.1, 0.0, 0.1, 0.1, 1.0],
}


def prompts(**classes):
    names = [name for several in classes.values() for name in several]
    of_name = [number for number, several in enumerate(classes.values()) for _ in several]
    rows = F.normalize(torch.tensor([[*DIRECTIONS[name], COMMON] for name in names]), dim=1)
    return Prompts(tuple(classes), tuple(names), torch.tensor(of_name), rows)


TRAINED = prompts(cars=["car", "van"], trucks=["truck"], plants=["tree", "bush"], roads=["road"])


def left(*words):
    found = background_of(prompts(**{word: [word] for word in words}), TRAINED)
    return () if found is None else found.classes


def test_a_word_stands_for_the_class_that_has_it_or_one_like_it():
    assert left("car") == left("van") == left("jeep") == ("trucks", "plants", "roads")
    assert left("tree") == ("cars", "trucks", "roads")


def test_a_word_that_is_embedded_anew_with_a_little_rounding_stands_for_its_own_class_alone():
    asked = prompts(truck=["truck"])
    turned = F.normalize(asked.embeddings + 2e-3 * TRAINED.embeddings[:1], dim=1)
    for precision in ("highest", "medium"):
        torch.set_float32_matmul_precision(precision)
        found = background_of(Prompts(asked.classes, asked.names, asked.class_of_name, turned), TRAINED)
        assert found.classes == ("cars", "plants", "roads")


def test_a_word_between_classes_stands_for_them_all():
    assert left("vehicle") == ("plants", "roads")


def names_of(*words, trained=TRAINED):
    found = by_trained_names(prompts(**{word: [word] for word in words}), trained)
    assert found.classes == words
    assert torch.equal(found.embeddings, prompts(all=found.names).embeddings)
    numbers = found.class_of_name.tolist()
    return [
        {name for name, its in zip(found.names, numbers, strict=True) if its == number}
        for number in range(len(words))
    ]


def test_a_near_word_is_looked_for_by_the_names_of_the_classes_that_it_stands_for():
    assert names_of("jeep", "road") == [{"car", "van"}, {"road"}]
    assert names_of("vehicle") == [{"car", "van", "truck"}]


def test_each_name_goes_to_the_nearest_word_and_a_word_without_one_keeps_its_own_direction():
    assert names_of("car", "jeep") == [{"car", "van"}, {"jeep"}]
    assert names_of("hedge", "tree") == [{"bush"}, {"tree"}]
    assert names_of("teapot", "truck") == [{"teapot"}, {"truck"}]


def test_a_word_with_several_names_keeps_them_where_it_stands_for_no_class():
    asked = prompts(crockery=["teapot"], cars=["jeep", "van"])
    found = by_trained_names(asked, TRAINED)
    assert found.names == ("car", "van", "teapot") and found.class_of_name.tolist() == [1, 1, 0]


def test_with_a_single_trained_class_its_own_name_alone_stands_for_it():
    alone = prompts(cars=["car"])
    assert names_of("car", trained=alone) == [{"car"}]
    assert names_of("teapot", trained=alone) == [{"teapot"}]


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
