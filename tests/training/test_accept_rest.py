from dataclasses import replace

import pytest
import torch

from clip2scene import build
from clip2scene.datasets.label_layer import UNLABELLED, LabelLayer
from clip2scene.inference.predict import predict
from clip2scene.runs.run import open_run
from clip2scene.training.accept_rest import accept_rest
from clip2scene.types import IGNORE_LABEL


@pytest.fixture
def run(tiny_run):
    return open_run(tiny_run)


@pytest.fixture
def experiment(run, tiny_toytown):
    dataset = build.open_dataset(run.recipe.data, tiny_toytown, split="train", sweeps=1)
    opened = build.Experiment(run.recipe, tiny_toytown, "train", dataset, False, run.prompts)
    layers = {}
    for number, token in enumerate(dataset.tokens):
        labels = torch.full((len(dataset[number].cloud),), UNLABELLED)
        labels[:3] = torch.tensor([5, IGNORE_LABEL, 6])
        layers[token] = LabelLayer.of(dataset[number], run.prompts.classes, labels)
    return replace(opened, layers=layers)


def test_points_without_a_label_get_what_the_run_predicts_and_no_other(run, experiment):
    first, second = experiment.dataset.tokens
    found = accept_rest(experiment, run, (first,)).layers
    assert found[second] is experiment.layers[second]
    labels, predicted = found[first].labels, predict(run.student(), run.prompts, experiment.dataset[0].cloud)
    assert labels[:3].tolist() == [5, IGNORE_LABEL, 6]
    assert torch.equal(labels[3:], predicted.logits.argmax(1)[3:])


def test_labels_of_another_cloud_are_refused(run, experiment):
    first, second = experiment.dataset.tokens
    swapped = {first: replace(experiment.layers[second], token=first)}
    with pytest.raises(ValueError, match=f"the label layer of {first}"):
        accept_rest(replace(experiment, layers=swapped), run, (first,))
