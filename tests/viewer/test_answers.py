import shutil
from dataclasses import replace

import pytest
import torch

from clip2scene.distill.lifted import load_lifted
from clip2scene.inference.segmenter import Segmenter
from clip2scene.runs.run import open_run
from clip2scene.types import PointCloud
from clip2scene.viewer import answers as module
from clip2scene.viewer.answers import Answerer, require_same_classes
from clip2scene.viewer.scene import read_scene


@pytest.fixture(scope="module")
def scene(source):
    return read_scene(source, 0, most=3000)


@pytest.fixture(scope="module")
def answers(answerer, scene):
    return answerer.about(scene)


def test_labels_and_scores_are_those_of_the_segmenter_though_few_points_are_shown(opened, scene, answers):
    found = Segmenter.of_run(opened).segment(scene.sample.cloud, with_embeddings=True)
    assert torch.equal(answers.labels, found.labels[scene.shown])
    torch.testing.assert_close(answers.scores, found.scores[scene.shown])
    unit = torch.nn.functional.normalize(found.embeddings[scene.shown], dim=1)
    torch.testing.assert_close(answers.directions.float(), unit, atol=1e-3, rtol=1e-3)


def test_a_phrase_is_scored_as_segment_scores_it(opened, answerer, scene, answers):
    for phrase in ("car", "tree", "lorry", "lamp"):
        segmenter = Segmenter.of_run(opened)
        segmenter.set_prompts([phrase])
        expected = segmenter.segment(scene.sample.cloud).scores[scene.shown, 0]
        torch.testing.assert_close(answerer.phrase_scores(answers, phrase), expected, atol=5e-3, rtol=5e-3)


def test_similarity_is_the_cosine_with_the_phrase(opened, answerer, scene, answers):
    found = Segmenter.of_run(opened).segment(scene.sample.cloud, with_embeddings=True)
    text = answerer.embed_phrase("car").embeddings[0]
    expected = torch.nn.functional.cosine_similarity(found.embeddings[scene.shown], text[None])
    torch.testing.assert_close(answerer.similarity(answers, "car"), expected, atol=2e-3, rtol=0)


def test_the_network_runs_once_a_scene_and_answers_are_dropped_where_they_take_too_much(
    opened, source, monkeypatch
):
    answerer, asked = Answerer(opened), []
    ask = answerer._ask
    monkeypatch.setattr(answerer, "_ask", lambda scene: asked.append(scene) or ask(scene))
    first, second = (read_scene(source, number, most=100) for number in (0, 1))
    assert answerer.about(first) is answerer.about(first)
    answerer.about(second)
    answerer.about(first)
    assert len(asked) == 2
    monkeypatch.setattr(module, "KEPT_BYTES", 1)
    answerer._kept.clear()
    for scene in (first, second, first):
        answerer.about(scene)
    assert len(asked) == 5 and len(answerer._kept) == 1


def test_the_text_encoder_runs_once_a_phrase(opened, monkeypatch):
    answerer, calls = Answerer(opened), []
    place = answerer.segmenter.place_words
    monkeypatch.setattr(answerer.segmenter, "place_words", lambda words: calls.append(words) or place(words))
    answerer.embed_phrase("car")
    answerer.embed_phrase("car")
    assert calls == [["car"]]


def test_an_unknown_word_is_answered_with_those_that_are_known(answerer, answers):
    with pytest.raises(ValueError, match="never taught zebra; label with words that it knows"):
        answerer.similarity(answers, "zebra")


def test_the_nearest_words_are_ranked_by_their_cosine(opened, answerer, answers):
    ranked = answerer.nearest_words(answers, 7, ("street",))
    assert {word for word, _ in ranked} == {*opened.prompts.names, "street"}
    values = [cosine for _, cosine in ranked]
    assert values == sorted(values, reverse=True)
    for word, cosine in ranked[:3]:
        text = answerer.embed_phrase(word).embeddings[0]
        assert cosine == pytest.approx(float(answers.cosines(text)[7]), abs=2e-3)


def test_pseudo_labels_are_those_of_the_runs_folder(opened, scene, answers, source):
    (path,) = (opened.folder / "carried" / "val").rglob(f"{source.tokens[0]}.safetensors")
    assert torch.equal(answers.pseudo_labels, load_lifted(path).voted_labels()[scene.shown])


def test_without_pseudo_labels_of_this_very_cloud_there_are_none(opened, answerer, source):
    assert answerer._pseudo_labels(read_scene(replace(source, split="test"), 0, most=10)) is None
    read = source.read

    def read_moved(number):
        sample, notes = read(number)
        cloud = PointCloud(sample.cloud.positions + 1, sample.cloud.features)
        return replace(sample, cloud=cloud), notes

    moved = read_scene(replace(source, read=read_moved), 0, most=10)
    assert answerer._pseudo_labels(moved) is None


def test_components_tell_kinds_of_embeddings_apart_in_the_same_colours_in_every_scene(opened, source):
    answerer = Answerer(opened)
    first, second = (answerer.about(read_scene(source, number, most=2000)) for number in (0, 1))
    colours = answerer.component_colours(first)
    assert colours.shape == (2000, 3) and colours.float().std(0).min() > 20
    again = replace(second, directions=torch.cat([first.directions[:5], second.directions[5:]]))
    assert torch.equal(answerer.component_colours(again)[:5], colours[:5])


def test_components_are_those_of_a_decomposition(answers):
    mean, axes, *_ = module._principal_components(answers.directions)
    directions = answers.directions.double()
    expected = torch.linalg.svd(directions - directions.mean(0), full_matrices=False).Vh[:3].T
    torch.testing.assert_close((axes.double().T @ expected).abs(), torch.eye(3).double(), atol=1e-4, rtol=0)


def test_a_text_space_of_two_channels_has_colours_too(answers):
    few = torch.nn.functional.normalize(answers.directions[:, :2].float(), dim=1).half()
    mean, axes, low, high = module._principal_components(few)
    assert axes.shape == (2, 3) and (high > low).all()


def test_clouds_of_other_features_than_the_runs_are_refused(answerer, source):
    def read_coloured(number):
        sample, notes = source.read(number)
        cloud = PointCloud(sample.cloud.positions, sample.cloud.features.expand(-1, 3).contiguous())
        return replace(sample, token="coloured", cloud=cloud), notes

    with pytest.raises(ValueError, match="trained on 1 channels of features.*has 3"):
        answerer.about(read_scene(replace(source, read=read_coloured), 0, most=10))


def test_a_run_of_labels_alone_has_no_words(opened):
    class OfLabels:
        knows_words, folder = False, opened.folder

    answerer = Answerer(opened)
    answerer.run = OfLabels()
    with pytest.raises(ValueError, match="trained on labels alone"):
        answerer.require_words()


def test_two_runs_of_other_classes_are_refused_and_those_of_the_same_are_not(opened):
    fewer = replace(opened, prompts=replace(opened.prompts, classes=opened.prompts.classes[:-1]))
    require_same_classes(opened, opened)
    with pytest.raises(ValueError, match="two runs are looked at together in the same classes"):
        require_same_classes(opened, fewer)


def test_a_run_is_called_by_its_folder_and_the_student_in_the_package_builtin(answerer, tiny_run):
    assert answerer.name == tiny_run.name
    assert Answerer(open_run("builtin")).name == "builtin"


def test_words_come_from_a_table_where_one_is_named(opened, tmp_path, tiny_run):
    from clip2scene.inference.text_embeddings import embed_words

    embed_words(["car", "tree"], run=tiny_run).save(tmp_path / "words.safetensors")
    of_table = Answerer(opened, words=tmp_path / "words.safetensors")
    torch.testing.assert_close(
        of_table.embed_phrase("car").embeddings, Answerer(opened).embed_phrase("car").embeddings
    )
    with pytest.raises(ValueError, match="street"):
        of_table.embed_phrase("street")


def test_a_run_without_a_checkpoint_is_refused(tiny_run, tmp_path):
    folder = shutil.copytree(
        tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint*", "carried")
    )
    with pytest.raises(ValueError, match="checkpoint"):
        Answerer(open_run(folder))
