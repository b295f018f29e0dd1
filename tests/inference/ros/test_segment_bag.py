import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.ros_bags import START_US, SWEEPS_US, cloud_message, toytown_drive, write_bag, write_ros1_bag

from clip2scene.datasets.clouds import CloudOptions
from clip2scene.datasets.convert.ros_bag import open_bag
from clip2scene.datasets.convert.ros_messages import columns_of
from clip2scene.geometry.mount import ground_of_mount
from clip2scene.inference.ros import segment_bag as module
from clip2scene.inference.ros.answers import CLASSES, NONE, Labelling
from clip2scene.inference.ros.segment_bag import is_recording, segment_bag
from clip2scene.inference.segment import SegmentOptions
from clip2scene.inference.segmenter import Segmenter
from clip2scene.types import PointCloud

PROMPTS, BUILTIN = ["car", "road", "building"], Path("builtin")


@pytest.fixture(scope="module")
def drive():
    """Clouds and transforms alone."""
    drive = toytown_drive()
    kept = ("/points", "/tf", "/tf_static")
    return replace(drive, messages=tuple(each for each in drive.messages if each[0] in kept))


def read(path):
    """All messages by topic, each with its moment."""
    with open_bag(path) as bag:
        found = {}
        for topic, time_ns, message in bag.recorded(bag.kinds):
            found.setdefault(topic, []).append((time_ns, message))
        return found


def label(drive, folder, **options):
    bag = write_bag(folder / "in", drive)
    return segment_bag(BUILTIN, bag, PROMPTS, folder / "out.mcap", **options)


@pytest.fixture(scope="module")
def answered(drive, tmp_path_factory):
    return read(label(drive, tmp_path_factory.mktemp("bag"), remove=["car"]))


def test_every_cloud_is_answered_at_its_moment_in_its_frame_with_its_own_fields(answered, drive):
    clouds = [(time_us, message) for topic, time_us, message in drive.messages if topic == "/points"]
    for name in ("segmentation", "visualization", "filtered"):
        made = answered[f"/points/{name}"]
        assert [time_ns for time_ns, _ in made] == [1000 * time_us for time_us, _ in clouds]
        assert [message.header for _, message in made] == [message.header for _, message in clouds]
    for (_, cloud), (_, made) in zip(clouds, answered["/points/segmentation"], strict=True):
        bytes_of = [each.data.reshape(-1, each.point_step)[:, : cloud.point_step] for each in (cloud, made)]
        assert np.array_equal(*bytes_of)
        assert made.fields[: len(cloud.fields)] == cloud.fields


def test_points_have_the_labels_that_the_segmenter_gives_them(answered, drive):
    segmenter = Segmenter.load("builtin")
    segmenter.set_prompts(PROMPTS)
    sweep = drive.sweeps[START_US + SWEEPS_US[1]]
    positions, intensity = (torch.from_numpy(each).float() for each in (sweep.positions, sweep.intensity))
    expected = segmenter.segment(PointCloud(positions, intensity[:, None]))
    message = answered["/points/segmentation"][1][1]
    ids, probabilities = columns_of(message, ("class_id", "probability"), "/points")
    assert set(ids.tolist()) == {0, 1, 2, NONE}
    assert np.array_equal(np.where(ids == NONE, -1, ids.astype(int)), expected.labels)
    known = ids != NONE
    np.testing.assert_allclose(
        probabilities[known], expected.scores.amax(1)[torch.from_numpy(known)], atol=1e-6
    )
    assert not probabilities[~known].any()


def test_colours_are_those_listed_and_what_is_removed_is_gone(answered):
    (listed,) = [json.loads(message.data) for _, message in answered[CLASSES]]
    assert [each["name"] for each in listed["classes"]] == PROMPTS and listed["none"] == NONE
    whole, coloured, filtered = (
        answered[f"/points/{name}"][0][1] for name in ("segmentation", "visualization", "filtered")
    )
    ids, x = columns_of(whole, ("class_id", "x"), "")
    rgb = columns_of(coloured, ("rgb",), "")[0].view("<u4")
    for each in listed["classes"]:
        red, green, blue = each["colour"]
        assert set(rgb[ids == each["id"]].tolist()) == {red << 16 | green << 8 | blue}
    assert np.array_equal(columns_of(coloured, ("x",), "")[0], x)
    assert np.array_equal(columns_of(filtered, ("x",), "")[0], x[ids != 0])
    assert 0 < len(x[ids != 0]) < len(x)


def test_transforms_are_as_they_were(answered, drive):
    for topic in ("/tf", "/tf_static"):
        expected = sorted(
            ((1000 * time_us, message) for name, time_us, message in drive.messages if name == topic),
            key=lambda each: each[0],
        )
        assert answered[topic] == expected


def test_a_recording_of_ros_1_is_answered_too(drive, answered, tmp_path):
    bag = write_ros1_bag(tmp_path / "in.bag", drive)
    made = read(segment_bag(BUILTIN, bag, PROMPTS, tmp_path / "out.mcap", remove=["car"]))
    for topic in answered:
        times, others = ([time_ns for time_ns, _ in each[topic]] for each in (made, answered))
        assert times == others
    for (_, one), (_, other) in zip(
        made["/points/segmentation"], answered["/points/segmentation"], strict=True
    ):
        assert np.array_equal(one.data, other.data)


def test_an_interrupted_call_goes_on_where_it_was(drive, answered, tmp_path, monkeypatch):
    real, labelled = Labelling.label, []

    def interrupted(self, message, topic):
        if len(labelled) == 2:
            raise KeyboardInterrupt
        labelled.append(message.header.stamp)
        return real(self, message, topic)

    monkeypatch.setattr(Labelling, "label", interrupted)
    with pytest.raises(KeyboardInterrupt):
        label(drive, tmp_path, remove=["car"])
    assert not (tmp_path / "out.mcap").exists()
    monkeypatch.setattr(
        Labelling, "label", lambda *given: labelled.append(given[1].header.stamp) or real(*given)
    )
    again = segment_bag(BUILTIN, tmp_path / "in", PROMPTS, tmp_path / "out.mcap", remove=["car"])
    assert len(labelled) == len(set(map(str, labelled))) == 3
    made = read(again)
    assert all(
        np.array_equal(one.data, other.data)
        for topic in ("/points/segmentation", "/points/filtered")
        for (_, one), (_, other) in zip(made[topic], answered[topic], strict=True)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.mcap"]


def test_other_words_do_not_take_what_an_interrupted_call_left(drive, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_write", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        label(drive, tmp_path)
    monkeypatch.undo()
    real, labelled = Labelling.label, []
    monkeypatch.setattr(Labelling, "label", lambda *given: labelled.append(given) or real(*given))
    segment_bag(BUILTIN, tmp_path / "in", ["tree"], tmp_path / "out.mcap")
    assert len(labelled) == 3


def test_clouds_that_cannot_be_read_are_counted_and_those_without_a_finite_point_are_no_class(
    drive, tmp_path
):
    broken = drive.changed("/points", lambda message: replace(message, data=message.data[:100]), number=1)
    nan = np.full(5, np.nan, np.float32)
    empty = cloud_message(
        START_US + SWEEPS_US[2], {axis: (4 * n, 7, nan) for n, axis in enumerate("xyz")}, step=12
    )
    notes = []
    made = read(
        label(broken.changed("/points", lambda message: empty, number=2), tmp_path, note=notes.append)
    )
    assert [len(message.data) // message.point_step for _, message in made["/points/segmentation"]][1] == 5
    assert set(columns_of(made["/points/segmentation"][1][1], ("class_id",), "")[0].tolist()) == {NONE}
    (told,) = [note for note in notes if "passed over" in note]
    assert "1 of 3 clouds" in told and "cut short" in told


def test_each_lidar_has_its_own_answers_and_intensities(drive, tmp_path):
    def louder(message):
        data = message.data.copy().reshape(-1, message.point_step)
        values = np.round(data[:, 14:18].copy().view("<f4") * 255).astype("<f4")
        data[:, 14:18] = values.view(np.uint8)
        return replace(message, data=data.reshape(-1))

    second = [("/rear", time_us + 1, louder(m)) for topic, time_us, m in drive.messages if topic == "/points"]
    notes = []
    made = read(label(replace(drive, messages=(*drive.messages, *second)), tmp_path, note=notes.append))
    assert len(made["/rear/segmentation"]) == len(made["/points/segmentation"]) == 3
    assert ["/rear" in note and "255" in note for note in notes if "intensities" in note] == [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topics": ["/nothing"]}, "no clouds .PointCloud2. in /nothing; it has"),
        ({"remove": ["bus"]}, "--remove names bus"),
        ({"options": SegmentOptions(files=CloudOptions(unit="mm"))}, "--unit is for cloud files"),
        ({"options": SegmentOptions(keep_raw=True, tile=20.0)}, "--keep-raw, --tile is for cloud files"),
    ],
)
def test_what_does_not_fit_a_recording_is_refused(options, message, drive, tmp_path):
    with pytest.raises(ValueError, match=message):
        label(drive, tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_nothing_is_written_over_and_the_answer_is_an_mcap_file(drive, tmp_path):
    bag = write_bag(tmp_path / "in", drive)
    (tmp_path / "there.mcap").write_bytes(b"mine")
    for name, message in (("there.mcap", "is there already"), ("out", "name it with .mcap")):
        with pytest.raises(ValueError, match=message):
            segment_bag(BUILTIN, bag, PROMPTS, tmp_path / name)
    assert (tmp_path / "there.mcap").read_bytes() == b"mine"


def test_what_appears_meanwhile_is_not_written_over(drive, tmp_path, monkeypatch):
    out, real = tmp_path / "out.mcap", module._label
    monkeypatch.setattr(module, "_label", lambda *given: (real(*given), out.write_bytes(b"mine")))
    with pytest.raises(ValueError, match="is there already"):
        label(drive, tmp_path)
    assert out.read_bytes() == b"mine"


def test_a_topic_that_begins_without_points_is_answered_and_one_that_never_has_any_is_named(drive, tmp_path):
    clouds = [each for each in drive.messages if each[0] == "/points"]
    none = replace(clouds[0][2], height=0, width=0, row_step=0, data=clouds[0][2].data[:0])
    early = [("/points", START_US + number, none) for number in range(20)]
    never = [("/never", START_US + number, none) for number in range(3)]
    notes = []
    made = read(
        label(replace(drive, messages=(*drive.messages, *early, *never)), tmp_path, note=notes.append)
    )
    assert [message.width > 0 for _, message in made["/points/segmentation"]] == [False] * 20 + [True] * 3
    assert "/never/segmentation" not in made
    assert [
        "none of its clouds can be labelled: /never: no cloud holds a point" in note for note in notes
    ] == [True]


def test_lasting_topics_are_offered_as_such_whatever_recorded_them(drive, tmp_path):
    out = segment_bag(BUILTIN, write_ros1_bag(tmp_path / "in.bag", drive), PROMPTS, tmp_path / "out.mcap")
    with open_bag(out) as bag:
        offered = {topic: [each.durability.name for each in bag.qos(topic)] for topic in bag.kinds}
    assert offered["/tf_static"] == offered[CLASSES] == ["TRANSIENT_LOCAL"] and offered["/tf"] == []


def test_a_mount_is_refused_where_the_student_takes_clouds_as_they_are(drive, tiny_run, tmp_path):
    bag = write_bag(tmp_path / "in", drive)
    options = SegmentOptions(mount=ground_of_mount(1.8, 0.0, 0.0))
    with pytest.raises(ValueError, match="takes clouds as they are, whatever the mount"):
        segment_bag(tiny_run, bag, PROMPTS, tmp_path / "out.mcap", options)


def test_a_recording_without_clouds_is_told_so(drive, tmp_path):
    with pytest.raises(ValueError, match="has no clouds"):
        label(drive.without("/points"), tmp_path)


def test_the_command_takes_one_recording(drive, tmp_path, call):
    bag = write_bag(tmp_path / "in", drive)
    assert is_recording(bag) and not is_recording(tmp_path) and is_recording(tmp_path / "a.BAG")
    words = ("segment", "builtin", bag, "--prompts", "car, road", "--out", tmp_path / "out.mcap")
    code, out, _ = call(*words, "--topics", "/points", "--remove", "car")
    assert code == 0 and f"wrote {tmp_path / 'out.mcap'}" in out
    code, _, error = call("segment", "builtin", bag, bag, *words[3:])
    assert code != 0 and "expected one recording" in error
    code, _, error = call("segment", "builtin", tmp_path / "a.bin", *words[3:], "--remove", "car")
    assert code != 0 and "are for recordings" in error
