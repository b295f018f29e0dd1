import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled import codes_for, labelled_path, write_labelled
from clip2scene.datasets.clouds.labelled.read import read_file_labels

NAMES = ("car", "zebra", "tree")
HEAD = "ply\nformat ascii 1.0\nelement vertex 7\n"
HEAD += "property float x\nproperty float y\nproperty float z\nend_header\n"
PCD = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 7\nHEIGHT 1\nPOINTS 7\nDATA ascii\n"
ROWS = "".join(f"{number} 0.5 1.5\n" for number in range(7))


def clouds(folder):
    (folder / "a.ply").write_text(HEAD + ROWS)
    (folder / "a.pcd").write_text(PCD + ROWS)
    (folder / "a.csv").write_text("x y z\n" + ROWS)
    (folder / "a.bin").write_bytes(bytes(7 * 16))
    np.save(folder / "a.npy", np.zeros(7, [("x", "f4"), ("y", "f4"), ("z", "f4")]))
    try:
        import laspy
    except ImportError:
        pass
    else:
        data = laspy.create(point_format=6, file_version="1.4")
        data.x = np.arange(7)
        data.write(folder / "a.laz")
    return sorted(folder.iterdir())


def test_what_is_written_in_a_format_is_read_from_it_with_its_names(labels, colours, tmp_path):
    for cloud in clouds(tmp_path):
        out = labelled_path(cloud, tmp_path / cloud.suffix, "a")
        codes = codes_for(cloud, NAMES, colours)
        write_labelled(cloud, out, labels, codes, points=7)
        codes.write(out.with_name("a.classes.json"), out.name)
        found = read_file_labels(out)
        assert found.ids.tolist() == codes.of(labels.labels).tolist(), cloud
        assert found.none == codes.none
        assert [found.names.get(number) for number in found.ids.tolist()] == [
            None if label < 0 else NAMES[label] for label in labels.labels.tolist()
        ]


def test_a_table_beside_that_is_of_another_file_is_passed_over(labels, colours, tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(7 * 16))
    out = tmp_path / "a.label"
    codes = codes_for(tmp_path / "a.bin", NAMES, colours)
    write_labelled(tmp_path / "a.bin", out, labels, codes, points=7)
    codes.write(tmp_path / "a.classes.json", "a.las")
    assert read_file_labels(out).names is None


def test_labels_of_benchmarks_are_read(tmp_path):
    np.array([10 | 7 << 16, 40], "<u4").tofile(tmp_path / "a.label")
    np.array([17, 24], "u1").tofile(tmp_path / "b_lidarseg.bin")
    (tmp_path / "scene.txt").write_text("3\n\n40\n")
    np.save(tmp_path / "a.npy", np.array([1, 2], "u1"))
    np.savez(tmp_path / "a.npz", labels=[1, -1], names=["x", "car"])
    for name, ids in {
        "a.label": [10, 40],
        "b_lidarseg.bin": [17, 24],
        "scene.txt": [3, 40],
        "a.npy": [1, 2],
    }.items():
        found = read_file_labels(tmp_path / name)
        assert found.ids.tolist() == ids and found.names is None
    found = read_file_labels(tmp_path / "a.npz")
    assert (found.ids.tolist(), found.names, found.none) == ([1, -1], {0: "x", 1: "car"}, -1)


def test_a_coloured_cloud_says_in_its_header_what_its_labels_mean(tmp_path):
    import torch

    from clip2scene.datasets.clouds import write_ply

    comments = ["label 0 is car", "label 1 is Straße", "label 65535 is none of these"]
    write_ply(tmp_path / "a.ply", torch.zeros(2, 3), labels=torch.tensor([1, 65535]), comments=comments)
    found = read_file_labels(tmp_path / "a.ply")
    assert (found.names, found.none) == ({0: "car", 1: "Straße"}, 65535)
    whole = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "b.ply").write_bytes(whole.replace(b"is car", rb"is \xZZ"))
    with pytest.raises(ValueError, match=r"b.ply names a label in a damaged comment"):
        read_file_labels(tmp_path / "b.ply")


def test_what_holds_no_labels_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.csv").write_text("x y z remark\n1 2 3 4\n")
    (tmp_path / "empty.label").write_bytes(b"")
    np.save(tmp_path / "c.npy", np.zeros((2, 4)))
    np.savez(tmp_path / "d.npz", scores=[1.0])
    np.save(tmp_path / "e.npy", np.array([(1.5,)], [("label", "f4")]))
    faults = {
        **{"a.png": "holds no labels by its suffix", "missing.label": "missing", "empty.label": "empty"},
        **{"b.csv": "no field of labels, only x, y, z, remark; name one by --field"},
        **{"c.npy": "expected a whole number for each", "d.npz": "no array of labels"},
        "e.npy": "no whole numbers",
    }
    for name, fault in faults.items():
        with pytest.raises(ValueError, match=fault):
            read_file_labels(tmp_path / name)
    assert read_file_labels(tmp_path / "b.csv", "Remark").ids.tolist() == [4]
