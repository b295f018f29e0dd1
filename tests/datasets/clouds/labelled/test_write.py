import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled.write import codes_for, labelled_path, write_labelled

ANSWERS = {
    **{"a.bin": "a.label", "a.pcd.bin": "a.label", "a.npy": "a.label"},
    **{name: name for name in ("a.LAS", "a.laz", "a.pcd", "a.csv", "a.feather")},
    **{"a.copc.laz": "a.laz", "a.e57": None, "a.ptx": None, "a.npz": None},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_cloud_is_answered_in_its_own_format_where_that_has_room(tmp_path, name):
    np.save(tmp_path / "a.npy", np.zeros((2, 4)))
    stem = name.rpartition(".")[0].removesuffix(".pcd")
    found = labelled_path(tmp_path / name, tmp_path / "out", stem)
    assert found == (None if ANSWERS[name] is None else tmp_path / "out" / ANSWERS[name])


def test_records_are_answered_as_records(labels, colours, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(7, [("x", "f4")]))
    out = labelled_path(path, tmp_path / "out", "b")
    assert out == tmp_path / "out" / "b.npy"
    codes = codes_for(path, ("car", "zebra", "tree"), colours)
    write_labelled(path, out, labels, codes, points=7)
    assert np.load(out)["label"].tolist() == codes.of(labels.labels).tolist()


def test_a_raw_cloud_gets_its_labels_in_a_file_beside(labels, colours, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(7 * 16))
    codes = codes_for(path, ("car", "zebra", "tree"), colours)
    out = labelled_path(path, tmp_path / "out", "a")
    write_labelled(path, out, labels, codes, points=7)
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["a.label"]
    assert (
        np.fromfile(out, "<u4").tolist() == codes.of(labels.labels).tolist() == [10, 0, 70, 301, 301, 10, 0]
    )
