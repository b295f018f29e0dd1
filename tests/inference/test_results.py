import zipfile

import numpy as np
import pytest
import torch

from clip2scene.datasets.clouds import read_cloud_file, read_ply
from clip2scene.datasets.clouds.labelled import NO_LABEL, codes_for
from clip2scene.datasets.clouds.labelled.codes import read_codes
from clip2scene.inference.cloud_files import NamedCloud
from clip2scene.inference.figures import word_palette
from clip2scene.inference.results import ResultPaths, write_results
from clip2scene.inference.segmenter import Segmentation

NAMES = ("car", "tree")


@pytest.fixture
def found():
    scores = torch.tensor([[0.75, 0.25], [0.125, 0.5], [0.25, 0.125]])
    return Segmentation(NAMES, torch.tensor([0, 1, -1]), scores)


def write(path, out, found):
    cloud = NamedCloud(path, path.with_suffix("").relative_to(path.parent))
    paths = ResultPaths.of(cloud, out)
    codes = codes_for(path, NAMES, word_palette(2).numpy())
    write_results(cloud, paths, read_cloud_file(path), found, codes)
    codes.write(paths.classes, paths.labelled().name)
    assert sorted(out.iterdir()) == sorted(paths.written())
    return paths


def test_an_archive_of_arrays_keeps_its_own_beside_labels_and_scores(found, tmp_path):
    given = {"xyz": np.eye(3), "labels": np.array([7, 8, 9]), "when": np.array(["a", "b", "c"])}
    np.savez(tmp_path / "a.npz", **given)
    np.save(tmp_path / "file.npy", np.arange(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.write(tmp_path / "file.npy", "file.npy")  # a name that savez does not take
    paths = write(tmp_path / "a.npz", tmp_path / "out", found)
    with np.load(paths.numbers) as arrays:
        assert np.array_equal(arrays["xyz"], given["xyz"])
        assert np.array_equal(arrays["when"], given["when"])
        assert arrays["file"].tolist() == [0, 1]
        assert np.array_equal(arrays["labels_before"], given["labels"])
        assert arrays["labels"].tolist() == [0, 1, -1] and arrays["names"].tolist() == list(NAMES)
        assert np.array_equal(arrays["scores"], found.scores.half())
    assert paths.own is None
    assert read_codes(paths.classes) == ({0: "car", 1: "tree"}, NO_LABEL, "a.ply")


def test_a_ply_is_answered_once_with_its_own_fields_and_the_score_of_each_label(found, tmp_path):
    head = "ply\nformat ascii 1.0\nelement vertex 3\n"
    head += "".join(
        f"property {kind} {name}\n" for kind, name in (("double", "x"), ("float", "y"), ("int", "z"))
    )
    path = tmp_path / "a.ply"
    path.write_text(f"{head}end_header\n450000.125 1 2\n450003 4 5\n450006 7 8\n")
    paths = write(path, tmp_path / "out", found)
    assert paths.own == paths.coloured
    columns = read_ply(paths.own)
    assert columns["x"].tolist() == [450000.125, 450003, 450006]
    assert columns["label"].tolist() == [0, 1, NO_LABEL]
    assert columns["confidence"].tolist() == [0.75, 0.5, 0.25]


def test_las_is_answered_as_las_and_as_a_coloured_cloud_in_full_precision(found, tmp_path):
    laspy = pytest.importorskip("laspy")
    data = laspy.create(point_format=7, file_version="1.4")
    data.header.offsets, data.header.scales = [4.5e5, 5.4e6, 0], [1e-4] * 3
    data.x, data.y = np.array([450001.1234, 450002.5, 450003]), np.array([5400000.0001, 5400001, 5400002])
    data.z = np.array([1.0, 2, 3])
    data.write(tmp_path / "map.las")
    paths = write(tmp_path / "map.las", tmp_path / "out", found)
    after, columns, data = laspy.read(paths.own), read_ply(paths.coloured), laspy.read(tmp_path / "map.las")
    for axis in "xyz":
        assert np.array_equal(after[axis], data[axis]) and np.array_equal(columns[axis], data[axis])
        assert columns[axis].dtype == np.float64
    assert np.asarray(after.classification).tolist() == [64, 65, 1]
    assert read_codes(paths.classes) == ({64: "car", 65: "tree"}, 1, "map.las")
