from dataclasses import replace

import pytest
import torch

from clip2scene.types import IGNORE_LABEL, PointCloud
from clip2scene.viewer.choices import (
    ALIKE,
    BY_HAND,
    CLASS,
    CONFIDENCE,
    CORRECTED,
    EMBEDDING,
    ERROR,
    HEIGHT,
    INTENSITY,
    PHRASE,
    PSEUDO,
    SCORE,
    TRUTH,
    Choices,
    Pick,
)
from clip2scene.viewer.corrections import Corrections
from clip2scene.viewer.modes import MODES, Asked, compare, paint
from clip2scene.viewer.painting import paint_classes, paint_errors, paint_heat
from clip2scene.viewer.scene import read_scene


@pytest.fixture(scope="module")
def asked(source, answerer, tmp_path_factory):
    scene = read_scene(source, 0, most=2500)

    def scene_of(number):
        return scene if number == 0 else read_scene(source, number, most=2500)

    corrections = Corrections(tmp_path_factory.mktemp("by-hand"), source.label_classes)
    corrections.give(scene.sample, scene.shown[:40], source.label_classes.classes.index("bus"))
    corrections.give(scene.sample, scene.shown[40:50], IGNORE_LABEL)
    return Asked(scene, answerer, answerer.about(scene), Choices(), scene_of, corrections)


def by(asked, mode, **choices):
    return paint(replace(asked, choices=Choices(mode=mode, **choices)))


def of_cloud(asked, positions=None, features=None):
    """The same points with other features."""
    cloud = asked.scene.cloud
    cloud = PointCloud(cloud.positions, cloud.features if features is None else features)
    return replace(asked, scene=replace(asked.scene, cloud=cloud))


def same(painting, other):
    assert torch.equal(painting.colours, other.colours)
    assert (painting.entries, painting.scale) == (other.entries, other.scale)


def test_every_way_paints_every_point_and_no_two_ways_are_alike(asked):
    looks = [by(asked, mode, phrase="car", picked=Pick(0, 3)).colours for mode in MODES]
    assert all(each.shape == (2500, 3) for each in looks)
    for number, each in enumerate(looks):
        assert not any(torch.equal(each, other) for other in looks[:number]), MODES[number]


def test_classes_are_the_prompt_classes(asked):
    same(by(asked, CLASS), paint_classes(asked.answers.labels, asked.answerer.class_set))


def test_truth_is_in_the_data_sets_classes(asked):
    same(by(asked, TRUTH), paint_classes(asked.scene.truth, asked.scene.source.class_set))


def test_errors_compare_in_the_data_sets_classes(asked, opened):
    predicted = opened.class_mapping.translate(asked.answers.labels)
    same(by(asked, ERROR), paint_errors(predicted, asked.scene.truth))
    assert torch.equal(compare(asked)[0], predicted)


def test_errors_of_a_data_set_in_other_classes_are_told_by_the_mapping(answerer, opened, tiny_kitti):
    from clip2scene.viewer.source import open_split

    scene = read_scene(open_split(opened, tiny_kitti, "val"), 0, most=500)
    asked = Asked(scene, answerer, answerer.about(scene), Choices(mode=ERROR), lambda number: scene)
    predicted, truth = compare(asked)
    names = scene.source.class_set.classes
    for label, mapped in zip(asked.answers.labels.tolist(), predicted.tolist(), strict=True):
        if answerer.class_set.classes[label] == "driveable surface":
            assert names[mapped] == "road"
    assert torch.equal(truth, scene.truth)


def test_labels_by_hand_are_painted_alone_or_over_the_runs_classes(asked, opened, source):
    alone = {entry.name: entry.count for entry in by(asked, BY_HAND).entries}
    assert alone == {"bus": 40, "of no class": 10, "not labelled": 2450}
    labels = opened.mapping_to(source.label_classes).translate(asked.answers.labels)
    labels[:40], labels[40:50] = source.label_classes.classes.index("bus"), IGNORE_LABEL
    same(by(asked, CORRECTED), paint_classes(labels, source.label_classes))


@pytest.mark.parametrize("mode", [BY_HAND, CORRECTED])
def test_without_a_folder_there_are_no_labels_by_hand(asked, mode):
    with pytest.raises(ValueError, match="name a folder for them by --corrections"):
        by(replace(asked, corrections=None), mode)


def test_confidence_is_the_best_score(asked):
    same(by(asked, CONFIDENCE), paint_heat(asked.answers.scores.amax(1), low=0.0, high=1.0, unit="score"))


def test_phrases_are_painted_by_cosine_or_score_above_the_threshold(asked):
    cosine = asked.answerer.similarity(asked.answers, "car")
    same(by(asked, PHRASE, phrase=" car ", threshold=0.4), paint_heat(cosine, unit="cosine", threshold=0.4))
    score = asked.answerer.phrase_scores(asked.answers, "car")
    same(by(asked, SCORE, phrase="car"), paint_heat(score, low=0.0, high=1.0, unit="score"))


@pytest.mark.parametrize("mode", [PHRASE, SCORE])
def test_without_a_phrase_or_with_an_unknown_one_it_is_said_what_to_do(asked, mode):
    with pytest.raises(ValueError, match="type a word"):
        by(asked, mode, phrase="  ")
    with pytest.raises(ValueError, match="never taught zebra"):
        by(asked, mode, phrase="zebra")


def test_likeness_is_the_cosine_with_the_clicked_point_also_from_another_sample(asked, source):
    painting = by(asked, ALIKE, picked=Pick(0, 17))
    alike = asked.answers.cosines(asked.answers.directions[17].float())
    same(painting, paint_heat(alike, high=1.0, unit="cosine"))
    assert float(alike[17]) == pytest.approx(1, abs=2e-3)
    theirs = asked.answerer.about(asked.scene_of(1))
    other = asked.answers.cosines(theirs.directions[17].float())
    same(by(asked, ALIKE, picked=Pick(1, 17)), paint_heat(other, high=1.0, unit="cosine"))


def test_likeness_needs_a_click(asked):
    with pytest.raises(ValueError, match="click a point first"):
        by(asked, ALIKE)


def test_intensity_and_height_are_those_of_the_points(asked):
    same(by(asked, INTENSITY), paint_heat(asked.scene.features[:, 0]))
    same(by(asked, HEIGHT), paint_heat(asked.scene.positions[:, 2], unit="m"))


def test_a_cloud_without_intensity_says_so_and_that_of_a_room_has_its_colours(asked):
    none = of_cloud(asked, features=torch.zeros_like(asked.scene.cloud.features))
    with pytest.raises(ValueError, match="has no intensity"):
        by(none, INTENSITY)
    coloured = torch.rand(len(asked.scene.cloud), 3, generator=torch.Generator().manual_seed(0))
    painting = by(of_cloud(asked, features=coloured), INTENSITY)
    expected = (255 * coloured[asked.scene.shown]).round().to(torch.uint8)
    assert torch.equal(painting.colours, expected)


@pytest.mark.parametrize("mode", [TRUTH, ERROR])
def test_without_labels_there_is_no_truth_and_no_error(asked, mode):
    scene = replace(asked.scene, sample=replace(asked.scene.sample, labels=None))
    with pytest.raises(ValueError, match="has no true labels"):
        by(replace(asked, scene=scene), mode)


def test_pseudo_labels_are_painted_where_there_are_some(asked):
    same(by(asked, PSEUDO), paint_classes(asked.answers.pseudo_labels, asked.answerer.class_set))
    without = replace(asked, answers=replace(asked.answers, pseudo_labels=None))
    with pytest.raises(ValueError, match="keeps no pseudo-labels of"):
        by(without, PSEUDO)


@pytest.mark.parametrize("mode", [PHRASE, SCORE, EMBEDDING, ALIKE])
def test_a_run_of_labels_alone_has_no_embeddings_to_show(asked, mode, monkeypatch):
    def refuse():
        raise ValueError("trained on labels alone")

    monkeypatch.setattr(asked.answerer, "require_words", refuse)
    with pytest.raises(ValueError, match="trained on labels alone"):
        by(asked, mode, phrase="car", picked=Pick(0, 0))
    by(asked, CONFIDENCE)
