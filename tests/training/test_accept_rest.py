from dataclasses import replace

import pytest
import torch

from clip2scene import build
from clip2scene.inference.predict import predict
from clip2scene.runs.run import open_run
from clip2scene.training.accept_rest import StartAnswers


@pytest.fixture
def run(tiny_run):
    return open_run(tiny_run)


@pytest.fixture
def dataset(run, tiny_toytown):
    return build.open_dataset(run.recipe.data, tiny_toytown, split="train", sweeps=1)


def test_every_point_gets_what_the_run_predicts(run, dataset, tiny_toytown):
    answers = StartAnswers(run, run.recipe.data, tiny_toytown)
    predicted = predict(run.student(), run.prompts, dataset[1].cloud).logits.argmax(1)
    assert torch.equal(answers(dataset[1]), predicted) and len(predicted.unique()) > 1


def test_answers_are_in_the_classes_of_the_data(run, tiny_kitti):
    data = build.data_found(tiny_kitti, run.recipe.data)
    dataset = build.open_dataset(data, tiny_kitti, split="train", sweeps=1)
    predicted = predict(run.student(), run.prompts, dataset[0].cloud).logits.argmax(1)
    expected = run.mapping_to(dataset.class_set).translate(predicted)
    assert torch.equal(StartAnswers(run, data, tiny_kitti)(dataset[0]), expected)
    assert not torch.equal(expected, predicted)


def test_the_fingerprint_sees_whatever_decides_the_answers(run, tiny_toytown):
    def seen(prompts):
        return StartAnswers(replace(run, prompts=prompts), run.recipe.data, tiny_toytown).fingerprint

    prompts = run.prompts
    others = [
        replace(prompts, embeddings=prompts.embeddings.roll(1, 0)),
        replace(prompts, classes=prompts.classes[::-1]),
    ]
    assert seen(prompts) == StartAnswers(run, run.recipe.data, tiny_toytown).fingerprint
    assert len({seen(each) for each in (prompts, *others)}) == 3
