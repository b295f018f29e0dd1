import numpy as np
import pytest
from tests.handover.clouds import comes_back, frames, write

from clip2scene.classes.class_set import ClassSet
from clip2scene.handover import las

laspy = pytest.importorskip("laspy")


def test_labels_come_back_point_by_point_within_half_a_unit(tmp_path):
    some = frames()
    write(las, tmp_path, some)
    read = comes_back(las, tmp_path, some)
    most = max(np.abs(each.positions - frame.positions).max() for each, frame in zip(read, some, strict=True))
    assert 0 < most <= 0.51 * las.SCALE_M


def test_laspy_finds_classification_confidence_intensity_and_the_colours_of_classes(tmp_path):
    (frame,) = frames(1)
    write(las, tmp_path, [frame])
    points = laspy.read(tmp_path / "scene-1" / "cloud-00.las")
    assert str(points.header.version) == "1.4" and points.header.point_format.id == 7
    assert np.asarray(points.classification)[:5].tolist() == [1, 64, 65, 66, 1]
    assert (np.asarray(points.confidence) == frame.confidence).all()
    assert np.abs(np.asarray(points.intensity) / 65_535 - frame.intensity).max() < 1e-5
    assert (np.asarray(points.red)[1], np.asarray(points.green)[1]) == (255 * 257, 158 * 257)
    assert points.header.creation_date is not None


def test_true_labels_have_no_confidence(tmp_path):
    write(las, tmp_path, frames(1, confidence=False))
    points = laspy.read(tmp_path / "scene-1" / "cloud-00.las")
    assert list(points.point_format.extra_dimension_names) == []


def test_more_classes_than_the_standard_leaves_to_users_are_refused(tmp_path):
    names = tuple(f"class {number}" for number in range(193))
    many = ClassSet("many", names, tuple((name,) for name in names), ((1, 2, 3),) * 193, {})
    with pytest.raises(ValueError, match=r"\*.las has point format 7.* room for 192 words, got 193"):
        las.write_classes(tmp_path, many)


def test_two_files_of_one_sample_are_refused(tmp_path):
    some = frames(1)
    write(las, tmp_path, some)
    path = tmp_path / "scene-1" / "cloud-00.las"
    (tmp_path / "cloud-00.las").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="are of the same sample; keep one"):
        list(las.read_labels(tmp_path, ["cloud-00"]))


def test_a_file_cut_short_is_one_sentence(tmp_path):
    write(las, tmp_path, frames(1))
    path = tmp_path / "scene-1" / "cloud-00.las"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cloud-00.las cannot be read as LAS"):
        list(las.read_labels(tmp_path, ["cloud-00"]))


def test_a_file_is_never_read_whole(tmp_path, monkeypatch):
    some = frames()
    write(las, tmp_path, some)
    whole = comes_back(las, tmp_path, some)
    monkeypatch.setattr(las, "CHUNK", 7)
    monkeypatch.delattr(laspy.LasReader, "read")
    for each, other in zip(comes_back(las, tmp_path, some), whole, strict=True):
        assert len(each.ids) > 7 and (each.positions == other.positions).all()
