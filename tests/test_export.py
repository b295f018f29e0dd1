from dataclasses import replace

import pytest
import torch

from clip2scene.datasets.nuscenes import NuScenes
from clip2scene.export import open_split, predictions
from clip2scene.labels import CITYSCAPES, TOYTOWN
from clip2scene.motion import seen_through
from clip2scene.run import open_run
from clip2scene.segmenter import Segmenter
from clip2scene.types import Prompts


def with_data(run, **changes):
    return replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, **changes)))


def test_every_point_gets_what_the_segmenter_says_in_the_data_sets_classes(tiny_run, tiny_toytown):
    run, segmenter = open_run(tiny_run), Segmenter.load(tiny_run)
    dataset = open_split(run, tiny_toytown, "val")
    found = dict(predictions(run, dataset))
    assert tuple(found) == dataset.tokens
    for sample in dataset:
        assert sample.labels is None
        segmented = segmenter.segment(sample.cloud)
        assert [TOYTOWN.classes[label] for label in found[sample.token]] == [
            segmented.names[label] for label in segmented.labels
        ]


def test_only_the_samples_asked_for_are_answered(tiny_run, tiny_toytown):
    run = open_run(tiny_run)
    dataset = open_split(run, tiny_toytown, "val")
    assert [token for token, _ in predictions(run, dataset, [1])] == [dataset.tokens[1]]


def test_words_that_are_no_class_of_the_data_set_are_never_the_answer(tiny_run, tiny_toytown):
    run = with_data(open_run(tiny_run), words="cityscapes")
    dataset = open_split(run, tiny_toytown, "val")
    generator = torch.Generator().manual_seed(0)
    channels = run.prompts.embeddings.shape[1]
    student = run.student()
    road = student.embed_cloud(dataset[0].cloud.positions, dataset[0].cloud.features).mean(0)
    other = torch.randn(channels, generator=generator)
    embeddings = torch.nn.functional.normalize(torch.stack([road, -road, other]), dim=1)
    words = ("sky", "car", "road")
    assert set(words) <= set(CITYSCAPES.classes)
    run = replace(run, prompts=Prompts(words, words, torch.arange(3), embeddings))
    (_, answers), _ = predictions(run, dataset)
    assert {TOYTOWN.classes[label] for label in answers.tolist()} == {"driveable surface"}
    run = replace(run, prompts=Prompts(("sky",), ("sky",), torch.arange(1), embeddings[:1]))
    with pytest.raises(ValueError, match="no word of run .* is a class of 'toytown'"):
        next(predictions(run, dataset))


def test_a_student_of_merged_sweeps_sees_them_and_answers_for_the_keyframe(tiny_run, tiny_toytown):
    run = with_data(open_run(tiny_run), sweeps=2, merge_sweeps=True)
    dataset = open_split(run, tiny_toytown, "val")
    alone = dict(predictions(open_run(tiny_run), open_split(open_run(tiny_run), tiny_toytown, "val")))
    changed = 0
    for token, answers in predictions(run, dataset):
        sample = dataset[dataset.tokens.index(token)]
        (sweep,) = sample.sweeps
        still = ~seen_through(sweep.positions, sample.cloud.positions, viewpoint=NuScenes.viewpoint)
        positions = torch.cat([sample.cloud.positions, sweep.positions[still]])
        features = torch.cat([sample.cloud.features, sweep.features[still]])
        logits = run.prompts.class_logits(run.student().embed_cloud(positions, features))
        words = [run.prompts.classes[word] for word in logits[: len(sample.cloud)].argmax(1)]
        assert [TOYTOWN.classes[label] for label in answers] == words
        changed += int((answers != alone[token]).sum())
    assert changed
