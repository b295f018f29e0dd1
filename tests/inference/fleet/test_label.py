import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.inference.fleet.conftest import RUN

from clip2scene.inference.export_kitti import scored_predictions
from clip2scene.inference.fleet.label import Labeller, LabelOptions, labels_name
from clip2scene.types import PointCloud


@pytest.fixture(scope="module")
def labeller(drive):
    return Labeller(RUN, drive, "val", LabelOptions(abstain=0.4))


def test_labels_are_those_of_export_and_the_same_bytes_each_time(labeller):
    sample = labeller.read(0)
    content = labeller.label(sample)
    assert content == labeller.label(labeller.read(0))
    ((_, labels, scores),) = scored_predictions(labeller.run, labeller.dataset, [0], abstain=0.4)
    with np.load(io.BytesIO(content)) as arrays:
        assert np.array_equal(arrays["labels"], labels) and (arrays["labels"] == -1).any()
        assert np.array_equal(arrays["scores"], scores.half())


def test_the_row_of_labels_that_are_there_is_the_same_but_for_who_made_them(labeller):
    content = labeller.label(labeller.read(1))
    row = labeller.row(1, content, since=0.0, worker="here:1")
    assert replace(row, seconds=None, worker=None) == labeller.row(1, content)
    assert row.seconds > 0 and row.by_class is not None and sum(row.by_class) == row.points
    with np.load(io.BytesIO(content)) as arrays:
        assert row.by_class[-1] == (arrays["labels"] == -1).sum()
        assert row.below_half == pytest.approx((arrays["scores"] < 0.5).mean())
        assert row.mean_confidence == pytest.approx(arrays["scores"].astype(float).mean())


def test_labels_that_are_damaged_or_of_another_sample_are_refused(labeller):
    content = labeller.label(labeller.read(1))
    with pytest.raises(ValueError, match="does not hold labels of that sample"):
        labeller.row(2, content)
    for damaged in (content[:-30], b"", content.replace(b"labels.npy", b"labour.npy")):
        with pytest.raises(ValueError, match=r"labels/08-000001.labels.npz (cannot be read|lacks an array)"):
            labeller.row(1, damaged)
    flipped = bytearray(content)
    flipped[200] ^= 0xFF
    with pytest.raises(ValueError, match=r"labels/08-000001.labels.npz cannot be read"):
        labeller.row(1, bytes(flipped))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": lambda labels: labels * 0 + 20_000}, "has labels from 20000 to 20000, expected"),
        ({"scores": lambda scores: scores * np.float16("nan")}, "scores that are not within 0..1"),
        ({"scores": lambda scores: scores[:-1]}, "does not hold labels of that sample"),
        ({"scores": lambda scores: np.array(["x"] * len(scores))}, "scores of .* should hold numbers"),
        ({"more": lambda _: None}, "would unpack to"),
    ],
)
def test_labels_that_another_program_wrote_are_told_in_a_sentence(labeller, change, message):
    with np.load(io.BytesIO(labeller.label(labeller.read(1)))) as arrays:
        held = dict(arrays)
    (name, alter), *_ = change.items()
    if name == "more":
        held["labels"] = np.zeros(200_000_000, np.int16)  # 0.4 MB that would become 400
    else:
        held[name] = alter(held[name])
    stream = io.BytesIO()
    np.savez_compressed(stream, **held)
    with pytest.raises(ValueError, match=message):
        labeller.row(1, stream.getvalue())


def test_the_key_is_of_run_words_and_settings_and_not_of_the_place(labeller, drive, tmp_path):
    (tmp_path / "elsewhere").symlink_to(drive)
    same = Labeller(RUN, tmp_path / "elsewhere", "val", LabelOptions(abstain=0.4))
    assert same.key() == labeller.key()
    others = [
        LabelOptions(),
        LabelOptions(abstain=0.4, quality="low"),
        LabelOptions(("road",), abstain=0.4),
        LabelOptions(("road",), background="none", abstain=0.4),
    ]
    keys = {Labeller(RUN, drive, "val", how).key() for how in others}
    assert len(keys) == len(others) and labeller.key() not in keys


def test_what_the_student_does_not_take_is_refused(labeller):
    sample = labeller.read(0)
    coloured = PointCloud(sample.cloud.positions, torch.rand(len(sample.cloud), 3))
    with pytest.raises(ValueError, match="the cloud has 3 channels of features, the student takes 1"):
        labeller.label(replace(sample, cloud=coloured))
    with pytest.raises(ValueError, match="expected 0 \\(never\\) to 1"):
        LabelOptions(abstain=2.0)


def test_a_file_of_labels_is_named_by_its_sample():
    assert labels_name("08-000003") == "labels/08-000003.labels.npz"
