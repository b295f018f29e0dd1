import pytest
import torch
from tests.handover.clouds import CLASSES, frames

from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.handover.export import export_split
from clip2scene.handover.formats import FORMATS
from clip2scene.handover.frames import Labelled, LabelledSplit, open_labelled


def split(some, *, breaks=False):
    """A split of two scenes that are made up."""

    def read(numbers):
        for number in numbers:
            if breaks and number:
                raise ValueError("the cloud is broken")
            yield Labelled(some[number].sample, torch.from_numpy(some[number].labels), None)

    return LabelledSplit(CLASSES, {"scene-1": (0, 1), "scene-2": (2,)}, read, lambda number: None)


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_writes_all_clouds_and_says_what_it_lost(tmp_path, to):
    pytest.importorskip({"rrd": "rerun", "las": "laspy", "mcap": "rosbags"}.get(to, "numpy"))
    done = export_split(split(frames(3)), to, tmp_path / "out")
    assert (done.scenes, done.clouds, done.points, done.labelled) == (2, 3, 120, 90)
    said = done.sentence(tmp_path / "out")
    assert "wrote 3 clouds of 2 scenes, 120 points, 30 of them without a label" in said
    assert f"not in this format: instances, {FORMATS[to].lost}" in said
    assert any((tmp_path / "out").iterdir())


def test_nothing_is_left_of_an_export_that_fails(tmp_path):
    with pytest.raises(ValueError, match="the cloud is broken"):
        export_split(split(frames(3), breaks=True), "supervisely", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="already exists; remove it or name another folder"):
        export_split(split(frames(3)), "supervisely", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_benchmarks_are_written_as_by_their_own_commands(call, tiny_run, tiny_toytown, tmp_path):
    data = ("--data-root", tiny_toytown, "--split", "val")
    code, said, err = call("export", tiny_run, *data, "--to", "lidarseg", "--out", tmp_path / "new")
    assert code == 0 and "submit" in said, err
    code, before, _ = call("export-lidarseg", tiny_run, *data, "--out", tmp_path / "old")
    assert code == 0 and said.split("points")[0] == before.split("points")[0]
    new, old = (sorted((tmp_path / name / "lidarseg").rglob("*.bin")) for name in ("new", "old"))
    assert [path.read_bytes() for path in new] == [path.read_bytes() for path in old] and new
    code, _, err = call("export", "--to", "lidarseg", *data, "--out", tmp_path / "other")
    assert code == 1 and "name a run, and neither --scenes nor --layer" in err
    code, _, err = call("export", tiny_run, *data, "--to", "semantic-kitti", "--out", tmp_path / "other")
    assert code == 1 and "label files are for runs of semantic-kitti" in err


def test_point_labeler_gets_a_sequence_that_the_loader_of_its_layout_reads(tiny_kitti, tmp_path):
    labelled = open_labelled(None, data_root=tiny_kitti, split="val")
    export_split(labelled, "point-labeler", tmp_path / "out")
    (tmp_path / "kitti").mkdir()
    (tmp_path / "out").rename(tmp_path / "kitti" / "sequences")
    read = SemanticKitti(tmp_path / "kitti", split="val", labels=True)
    plain = SemanticKitti(tiny_kitti, split="val", labels=True)
    assert len(read) == len(plain) == 4
    for number, token in enumerate(read.tokens):
        sample, true = read[number], plain[number]
        assert token == true.token and (sample.labels == true.labels).all()
        assert (sample.cloud.positions == true.cloud.positions).all()
        assert (sample.cloud.features == true.cloud.features).all()
