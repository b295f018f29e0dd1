import torch

from clip2scene.types import Prompts

PROMPTS = Prompts(
    ("car", "tree"),
    ("bush", "car", "tree"),
    torch.tensor([1, 0, 1]),
    torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
)


def test_a_class_has_the_logit_of_the_best_of_its_names():
    logits = PROMPTS.class_logits(torch.tensor([[1.0, 2.0, 3.0], [1.0, 3.0, 2.0]]))
    assert logits.tolist() == [[1, 3], [1, 3]]


def test_classes_of_one_name_each_stand_in_the_order_of_train_ids_whatever_that_of_the_names():
    prompts = Prompts(("car", "tree"), ("tree", "car"), torch.tensor([1, 0]), torch.eye(2))
    assert prompts.best_name(torch.tensor([[5.0, 7.0]])).tolist() == [[7, 5]]


def test_the_direction_of_a_class_is_the_mean_of_its_names_as_a_unit_vector():
    half = 0.5**0.5
    torch.testing.assert_close(PROMPTS.class_directions(), torch.tensor([[1.0, 0.0, 0.0], [0.0, half, half]]))
