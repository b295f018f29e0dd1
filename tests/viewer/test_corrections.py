import shutil
from dataclasses import replace

import pytest
import torch

from clip2scene.classes.tables import TOYTOWN
from clip2scene.datasets.label_layer import SUFFIX, UNLABELLED, LabelLayer, read_layer, write_layer
from clip2scene.types import IGNORE_LABEL, PointCloud, Sample
from clip2scene.viewer import corrections as module
from clip2scene.viewer.corrections import Corrections

CLASSES = replace(TOYTOWN, train_id_of_raw={})
COUNT = 8


def make_sample(token="a", shift=0.0):
    positions = torch.arange(3.0 * COUNT).reshape(COUNT, 3) + shift
    return Sample(token, PointCloud(positions, torch.ones(COUNT, 1)), (), lambda view: None)


def points(*numbers):
    return torch.tensor(numbers, dtype=torch.long)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "by-hand"


@pytest.fixture
def corrections(folder):
    return Corrections(folder, CLASSES)


def on_disk(folder, token="a"):
    return read_layer(folder / f"{token}{SUFFIX}").labels.tolist()


def test_a_label_is_on_the_disk_as_soon_as_it_is_given(corrections, folder):
    assert corrections.give(make_sample(), points(1, 3), 2) == 2
    assert on_disk(folder) == [UNLABELLED, 2, UNLABELLED, 2, *[UNLABELLED] * 4]
    assert corrections.give(make_sample(), points(3, 4), IGNORE_LABEL) == 2
    assert corrections.give(make_sample(), points(3), IGNORE_LABEL) == 0  # it is that already
    assert corrections.give(make_sample(), points(1), UNLABELLED) == 1
    assert on_disk(folder) == [*[UNLABELLED] * 3, IGNORE_LABEL, IGNORE_LABEL, *[UNLABELLED] * 3]
    assert corrections.trouble == "" and corrections.labelled() == {"a"}


def test_nothing_is_written_before_the_first_label(corrections, folder):
    assert not corrections.layer(make_sample()).labelled.any()
    assert not folder.exists() and corrections.labelled() == set()
    assert corrections.undo() is None and corrections.redo() is None


def test_many_steps_are_undone_and_done_again_in_memory_and_on_the_disk(corrections, folder):
    states, steps = (
        [],
        [("a", points(0, 1), 3), ("b", points(2), 1), ("a", points(1, 2), 0), ("a", points(1), -1)],
    )
    for token, chosen, label in steps:
        corrections.give(make_sample(token), chosen, label)
        states.append({t: on_disk(folder, t) for t in "ab" if (folder / f"{t}{SUFFIX}").exists()})
    for before, (token, *_) in zip(states[-2::-1], steps[:0:-1], strict=True):
        assert corrections.undo() == token
        for each, labels in before.items():
            assert on_disk(folder, each) == labels
            assert corrections.layer(make_sample(each)).labels.tolist() == labels
    assert corrections.undo() == "a" and corrections.undo() is None
    assert not [*folder.iterdir()] and corrections.steps == (0, 4)
    for after, (token, *_) in zip(states, steps, strict=True):
        assert corrections.redo() == token
        assert on_disk(folder, token) == after[token]
    assert corrections.redo() is None and corrections.steps == (4, 0)


def test_another_step_ends_what_can_be_done_again(corrections):
    corrections.give(make_sample(), points(0), 1)
    corrections.undo()
    corrections.give(make_sample(), points(1), 1)
    assert corrections.redo() is None and corrections.steps == (1, 0)


def test_the_oldest_steps_are_forgotten(folder, monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 2)
    corrections = Corrections(folder, CLASSES)
    for label in (0, 1, 2):
        corrections.give(make_sample(), points(0), label)
    assert [corrections.undo(), corrections.undo(), corrections.undo()] == ["a", "a", None]
    assert on_disk(folder)[0] == 0


def test_labels_that_left_the_memory_are_read_and_undone(folder, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 1)
    corrections = Corrections(folder, CLASSES)
    corrections.give(make_sample("a"), points(0), 1)
    for token in "bcd":
        corrections.give(make_sample(token), points(0), 2)
    assert len(corrections._layers) == 1
    assert corrections.layer(make_sample("a")).labels[0] == 1
    assert [corrections.undo() for _ in range(4)] == ["d", "c", "b", "a"]
    assert not [*folder.iterdir()]
    assert [corrections.redo() for _ in range(4)] == ["a", "b", "c", "d"]
    assert on_disk(folder)[:2] == [1, UNLABELLED]


def test_who_comes_later_goes_on_from_there_in_an_order_of_classes_of_their_own(corrections, folder):
    corrections.give(make_sample(), points(0), CLASSES.classes.index("car"))
    turned = replace(
        CLASSES, classes=CLASSES.classes[::-1], prompts=CLASSES.prompts[::-1], colours=CLASSES.colours[::-1]
    )
    later = Corrections(folder, turned)
    assert later.layer(make_sample()).labels[0] == turned.classes.index("car")
    later.give(make_sample(), points(1), turned.classes.index("car"))
    assert read_layer(folder / f"a{SUFFIX}").classes == turned.classes
    assert (
        Corrections(folder, CLASSES).layer(make_sample()).labels[:2].tolist()
        == [CLASSES.classes.index("car")] * 2
    )


def test_labels_of_another_cloud_or_of_other_classes_are_refused_and_left_as_they_are(corrections, folder):
    path = write_layer(folder, LabelLayer.of(make_sample(shift=1.0), ("car",), torch.zeros(COUNT).long()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="belongs to another cloud"):
        corrections.give(make_sample(), points(0), 1)
    write_layer(folder, LabelLayer.of(make_sample("b"), ("zebra",), torch.zeros(COUNT).long()))
    with pytest.raises(ValueError, match="labels points as 'zebra', expected some of"):
        corrections.layer(make_sample("b"))
    assert path.read_bytes() == before and corrections.steps == (0, 0)


def test_what_cannot_be_saved_is_kept_said_and_saved_later(corrections, folder, monkeypatch):
    corrections.give(make_sample("a"), points(0), 1)
    saved = write_layer

    def full(folder, layer):
        raise ValueError("the disk is full")

    monkeypatch.setattr(module, "write_layer", full)
    corrections.give(make_sample("a"), points(1), 1)
    corrections.give(make_sample("b"), points(1), 1)
    assert "labels of 2 samples are kept in memory alone, not saved: the disk is full" in corrections.trouble
    assert on_disk(folder)[:2] == [1, UNLABELLED]  # what was there before is whole
    assert corrections.layer(make_sample("a")).labels[:2].tolist() == [1, 1]
    assert corrections.labelled() == {"a", "b"}
    monkeypatch.setattr(module, "write_layer", saved)
    assert corrections.save() == "" == corrections.trouble
    assert on_disk(folder)[:2] == [1, 1] and on_disk(folder, "b")[1] == 1


def test_one_sample_that_cannot_be_saved_keeps_no_other_from_it(corrections, folder, monkeypatch):
    saved = write_layer

    def denied(folder, layer):
        if layer.token == "a":
            raise PermissionError("denied")
        return saved(folder, layer)

    monkeypatch.setattr(module, "write_layer", denied)
    corrections.give(make_sample("a"), points(1), 1)
    corrections.give(make_sample("b"), points(1), 1)
    assert "labels of 1 samples are kept in memory alone, not saved: denied" in corrections.trouble
    assert on_disk(folder, "b")[1] == 1


@pytest.mark.parametrize("move", ["undo", "redo"])
def test_a_step_that_cannot_be_moved_stays_where_it_was(folder, monkeypatch, move):
    monkeypatch.setattr(module, "_KEPT", 1)
    corrections = Corrections(folder, CLASSES)
    corrections.give(make_sample("a"), points(0), 1)
    corrections.give(make_sample("a"), points(1), 1)
    if move == "redo":
        corrections.undo()
    corrections.layer(make_sample("b"))  # and a is in memory no more
    path, steps = folder / f"a{SUFFIX}", corrections.steps
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(ValueError, match="cannot be read"):
        getattr(corrections, move)()
    assert corrections.steps == steps
    path.write_bytes(whole)
    assert getattr(corrections, move)() == "a" and corrections.steps != steps


def test_a_folder_that_is_gone_or_none_is_said_and_nothing_is_lost(corrections, folder):
    corrections.give(make_sample(), points(0), 1)
    shutil.rmtree(folder)
    folder.write_text("a file")
    corrections.give(make_sample(), points(1), 1)
    assert "kept in memory alone" in corrections.trouble
    folder.unlink()
    corrections.give(make_sample(), points(2), 1)
    assert corrections.trouble == "" and on_disk(folder)[:3] == [1, 1, 1]


def test_who_may_only_look_sees_what_another_gives(corrections, folder):
    onlooker = Corrections(folder, CLASSES, read_only="another viewer gives labels")
    assert not onlooker.layer(make_sample()).labelled.any()
    corrections.give(make_sample(), points(0), 1)
    assert onlooker.layer(make_sample()).labels[0] == 1
    with pytest.raises(ValueError, match="another viewer gives labels"):
        onlooker.give(make_sample(), points(1), 1)
    assert onlooker.labelled() == {"a"} and on_disk(folder)[1] == UNLABELLED


def test_a_label_that_is_no_class_is_refused(corrections):
    for label in (-3, len(CLASSES)):
        with pytest.raises(ValueError, match="there is no class"):
            corrections.give(make_sample(), points(0), label)


def test_samples_whose_last_label_was_taken_away_are_to_be_labelled_again(corrections, folder):
    corrections.give(make_sample(), points(0), 1)
    corrections.undo()
    assert corrections.labelled() == set() == Corrections(folder, CLASSES).labelled()
