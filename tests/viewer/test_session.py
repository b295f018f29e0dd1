from dataclasses import replace

import pytest
import torch

from clip2scene.viewer.answers import Answerer
from clip2scene.viewer.choices import ALIKE, CLASS, CONFIDENCE, ERROR, PHRASE, TRUTH, Choices, Pick, Selection
from clip2scene.viewer.corrections import Corrections
from clip2scene.viewer.session import Session
from clip2scene.viz.raster import NO_LABEL


def test_a_picture_has_every_point_its_legend_and_how_many_are_right(session, source, opened):
    picture = session.picture(Choices())
    (layer,) = picture.layers
    sample = source.read(0).sample
    assert torch.equal(layer.positions, sample.cloud.positions)
    assert sum(line.counts[0] for line in picture.legend) == len(sample.cloud)
    labels = opened.class_mapping.translate(session.answerers[0].about(picture.scene).labels)
    known = sample.labels >= 0
    share = float((labels == sample.labels)[known].double().mean())
    assert f"{100 * share:.1f} % of {int(known.sum()):,} labelled points right" in picture.facts[0]
    assert picture.trouble == ""


def test_what_is_hidden_is_left_out_of_the_points_and_not_of_the_legend(session):
    whole = session.picture(Choices())
    name, count = whole.legend[0].name, whole.legend[0].counts[0]
    rest = session.picture(Choices(hidden=frozenset({name})))
    assert len(rest.layers[0].points) == len(whole.layers[0].points) - count
    assert rest.legend == whole.legend
    assert torch.equal(
        rest.layers[0].colours,
        whole.layers[0].colours[torch.isin(whole.layers[0].points, rest.layers[0].points)],
    )


def test_what_is_selected_is_white_in_its_own_sample_alone(session):
    points = torch.tensor([3, 4, 9])
    chosen = Selection(0, points)
    (layer,) = session.picture(Choices(selected=chosen)).layers
    (plain,) = session.picture(Choices()).layers
    marked = (layer.colours == torch.tensor([255, 255, 255])).all(1)
    assert marked.nonzero()[:, 0].tolist() == points.tolist()
    assert torch.equal(layer.colours[~marked], plain.colours[~marked])
    (other,) = session.picture(Choices(number=1, selected=chosen)).layers
    assert torch.equal(other.colours, session.picture(Choices(number=1)).layers[0].colours)


def test_the_next_sample_to_label_is_the_next_in_order_without_labels(source, answerer, tmp_path):
    corrections = Corrections(tmp_path, source.label_classes)
    session = Session(source, [answerer], corrections=corrections, order=[1, 0])
    assert [session.next_to_label(number) for number in (None, 1, 0)] == [1, 0, 1]
    corrections.give(session.scene(1).sample, torch.tensor([0]), 1)
    assert [session.next_to_label(number) for number in (None, 1, 0)] == [0, 0, None]
    corrections.give(session.scene(0).sample, torch.tensor([0]), 1)
    assert session.next_to_label() is None


def test_what_is_not_to_be_had_is_a_sentence_over_grey_points(session):
    picture = session.picture(Choices(mode=PHRASE, phrase="zebra"))
    assert "zebra" in picture.trouble
    assert picture.layers[0].colours.unique(dim=0).tolist() == [[*NO_LABEL]]


def test_a_cloud_without_labels_can_be_looked_at(source, answerer):
    def read(number):
        sample, notes = source.read(number)
        return replace(sample, labels=None), notes

    session = Session(replace(source, read=read, class_set=None), [answerer])
    picture = session.picture(Choices())
    assert not picture.trouble and not any("right" in fact for fact in picture.facts)
    for mode in (TRUTH, ERROR):
        assert "no true labels" in session.picture(Choices(mode=mode)).trouble
    assert "truth" not in dict(session.describe(Choices(picked=Pick(0, 0))))


def test_notes_of_the_sample_and_of_all_samples_are_told(source, answerer):
    noted = replace(source, read=lambda number: (source.read(number).sample, ("its own",)), notes=("of all",))
    assert {"its own", "of all"} <= {*Session(noted, [answerer]).picture(Choices()).facts}


def test_too_many_points_are_thinned(source, answerer):
    session = Session(source, [Answerer(answerer.run)], most_points=400)
    picture = session.picture(Choices())
    assert len(picture.layers[0].positions) == 400
    assert any("400 of" in fact for fact in picture.facts)
    with pytest.raises(ValueError, match="--most-points is 0"):
        Session(source, [answerer], most_points=0)


def test_fewer_points_can_be_drawn_than_are_counted(session):
    whole = session.picture(Choices())
    few, more = (session.picture(Choices(drawn=count)) for count in (300, 600))
    assert (len(few.layers[0].points), len(more.layers[0].points)) == (300, 600)
    assert torch.isin(few.layers[0].points, more.layers[0].points).all(), "points come and go one by one"
    assert few.legend == whole.legend and any("300 of these points are drawn" in fact for fact in few.facts)
    name = whole.legend[0].name
    rest = session.picture(Choices(drawn=300, hidden=frozenset({name})))
    assert torch.isin(rest.layers[0].points, few.layers[0].points).all(), "a hidden class makes no room"
    assert len(session.picture(Choices(drawn=10**9)).layers[0].points) == len(whole.layers[0].points)


def test_two_runs_stand_side_by_side_and_do_not_overlap(source, answerer):
    session = Session(source, [answerer, answerer])
    first, second = session.picture(Choices(runs=(0, 1))).layers
    assert first.offset == (0.0, 0.0, 0.0) and second.offset[1] < 0
    width = torch.quantile(first.positions[:, 1], torch.tensor([0.01, 0.99])).diff().item()
    assert -second.offset[1] == pytest.approx(1.1 * width, rel=0.02)
    assert [line.counts for line in session.picture(Choices(runs=(0, 1))).legend] == [
        (line.counts[0],) * 2 for line in session.picture(Choices()).legend
    ]
    assert session.picture(Choices(runs=(1,))).layers[0].offset == (0.0, 0.0, 0.0)


def test_two_runs_of_other_classes_are_refused(source, answerer, opened):
    fewer = Answerer(opened)
    fewer.run = replace(opened, prompts=replace(opened.prompts, classes=opened.prompts.classes[1:]))
    with pytest.raises(ValueError, match="same classes"):
        Session(source, [answerer, fewer])


def test_a_clicked_point_is_described(session, source, answerer):
    assert session.describe(Choices()) == []
    session.picture(Choices(mode=PHRASE, phrase="street"))
    told = dict(session.describe(Choices(picked=Pick(0, 11))))
    answers = answerer.about(session.scene(0))
    sample = source.read(0).sample
    label = answerer.class_set.classes[int(answers.labels[11])]
    assert told["class"] == f"{label} {float(answers.scores[11].max()):.2f}"
    assert told["next"].count(",") == 1
    assert told["truth"] == ("none" if sample.labels[11] < 0 else source.class_set.classes[sample.labels[11]])
    away = (sample.cloud.positions[11] - torch.tensor(source.viewpoint)).norm()
    assert told["distance"] == f"{float(away):.1f} m"
    assert told["intensity"] == f"{float(sample.cloud.features[11, 0]):.2f}"
    assert "teacher" in told and "sample" not in told
    ranked = answerer.nearest_words(answers, 11, ("street",))[:5]
    assert told["nearest words"] == ", ".join(f"{word} {cosine:.2f}" for word, cosine in ranked)


def test_a_point_of_another_sample_is_named_with_it_and_of_two_runs_each_is_told(source, answerer):
    session = Session(source, [answerer, answerer])
    told = session.describe(Choices(number=1, runs=(0, 1), picked=Pick(0, 3)))
    assert told[0] == ("sample", source.tokens[0])
    assert [what for what, _ in told].count("tiny: class") == 2


def test_more_like_this_is_there_after_a_click(session):
    assert "click a point first" in session.picture(Choices(mode=ALIKE)).trouble
    assert not session.picture(Choices(mode=ALIKE, picked=Pick(1, 3))).trouble


def test_phrases_that_were_found_are_compared_with_clicked_points_the_last_ones(source, answerer):
    session = Session(source, [answerer])
    for phrase in ("street", "zebra", "red car", "street"):
        session.picture(Choices(mode=PHRASE, phrase=phrase))
    session.picture(Choices(mode=CLASS, phrase="tree house"))
    assert session._phrases == ["red car", "street"]


def test_a_sample_is_read_once(source, answerer):
    reads = []
    counted = replace(source, read=lambda number: reads.append(number) or source.read(number))
    session = Session(counted, [answerer])
    for mode in (CLASS, CONFIDENCE, CLASS):
        session.picture(Choices(mode=mode))
    assert reads == [0]


def test_the_text_encoder_is_opened_ahead_and_one_that_cannot_be_waits_until_it_is_asked(source, opened):
    answerer, calls = Answerer(opened), []
    place = answerer.segmenter.place_words
    answerer.segmenter.place_words = lambda words: calls.append(words) or place(words)
    Session(source, [answerer]).warm_up()
    assert len(calls) == 1

    def refuse(words):
        raise ValueError("the image-text model is not where it was")

    answerer.segmenter.place_words = refuse
    answerer.embed_phrase.cache_clear()
    Session(source, [answerer]).warm_up()
    assert (
        "not where it was" in Session(source, [answerer]).picture(Choices(mode=PHRASE, phrase="car")).trouble
    )
