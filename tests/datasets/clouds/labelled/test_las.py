import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled import las as module
from clip2scene.datasets.clouds.labelled.codes import PointLabels, las_codes
from clip2scene.datasets.clouds.labelled.las import point_format_of, write_las

laspy = pytest.importorskip("laspy")

NAMES = ("car", "zebra", "tree")


def make(path, point_format, version="1.4"):
    """Seven points of a map with every dimension at random, extra bytes, a scale for each axis and a VLR."""
    header = laspy.LasHeader(point_format=point_format, version=version)
    header.scales, header.offsets = [0.001, 0.01, 0.0005], [4.5e5, 5.4e6, 100.0]
    header.add_extra_dims([laspy.ExtraBytesParams("height", "f8"), laspy.ExtraBytesParams("normal", "3f4")])
    header.add_extra_dims([laspy.ExtraBytesParams("confidence", "u2", scales=[0.1], offsets=[0.0])])
    header.vlrs.append(laspy.VLR("somebody", 7, "what they say", b"\x01\x02\x03"))
    record, rng = laspy.ScaleAwarePointRecord.zeros(7, header=header), np.random.default_rng(0)
    for name in record.array.dtype.names:
        part = record.array[name]
        if part.dtype.kind == "f":
            record.array[name] = rng.normal(size=part.shape)
        else:
            most = min(np.iinfo(part.dtype).max, 2**31 - 1)
            record.array[name] = rng.integers(0, most, part.shape, dtype=np.int64)
    data = laspy.LasData(header, record)
    if version == "1.4":
        data.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("somebody", 8, "far behind", b"\x05" * 70_000)])
    data.write(path)
    return laspy.read(path)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
@pytest.mark.parametrize(
    ("point_format", "version"), [(0, "1.2"), (3, "1.3"), (1, "1.4"), (6, "1.4"), (7, "1.4")]
)
def test_every_dimension_comes_back_and_labels_are_the_classification(
    labels, colours, tmp_path, monkeypatch, suffix, point_format, version
):
    monkeypatch.setattr(module, "CHUNK", 3)
    path, out = tmp_path / f"map{suffix}", tmp_path / "out" / f"map{suffix}"
    before = make(path, point_format, version)
    codes = las_codes(NAMES, colours, point_format_of(path), path)
    write_las(path, out, labels, codes)
    after = laspy.read(out)
    names = set(before.point_format.dimension_names) - {"classification", "confidence"}
    assert {"X", "Y", "Z", "intensity", "return_number", "height", "normal"} <= names
    for name in names:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    np.testing.assert_array_equal(after["confidence_before"], before["confidence"])
    np.testing.assert_array_equal(after["classification_before"], before["classification"])
    assert np.asarray(after.classification).tolist() == codes.of(labels.labels).tolist()
    assert after["label_raw"].tolist() == codes.of(labels.raw).tolist()
    np.testing.assert_array_equal(after["confidence"], labels.confidence)
    for what in ("scales", "offsets", "mins", "maxs", "version", "point_count", "are_points_compressed"):
        assert np.all(getattr(after.header, what) == getattr(before.header, what)), what
    assert after.header.point_format.id == point_format
    (mine,) = [vlr for vlr in after.header.vlrs if vlr.user_id == "somebody"]
    assert (mine.record_id, mine.record_data) == (7, b"\x01\x02\x03")
    if version == "1.4":
        (far,) = after.evlrs
        assert (far.record_id, far.record_data) == (8, b"\x05" * 70_000)


def test_what_is_labelled_twice_keeps_both_labels(labels, colours, tmp_path):
    make(tmp_path / "a.las", 6)
    codes = las_codes(NAMES, colours, 6, tmp_path)
    plain = PointLabels(labels.labels, labels.confidence)
    write_las(tmp_path / "a.las", tmp_path / "b.las", plain, codes)
    write_las(tmp_path / "b.las", tmp_path / "c.las", PointLabels(labels.raw, labels.confidence), codes)
    once, twice = laspy.read(tmp_path / "b.las"), laspy.read(tmp_path / "c.las")
    np.testing.assert_array_equal(twice["classification_before_2"], once.classification)
    np.testing.assert_array_equal(twice["classification_before"], once["classification_before"])
    assert "label_raw" not in set(twice.point_format.dimension_names)
