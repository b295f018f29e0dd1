import builtins
import shutil

import numpy as np
import pytest
from tests.datasets.conftest import LIDAR_PICKLE, write_pickle

from clip2scene.classes.tables import CITYSCAPES
from clip2scene.datasets.convert.pandaset_pickles import convert_pandaset
from clip2scene.datasets.pandaset.loader import CAMERAS, HEIGHT, WIDTH, PandaSet
from clip2scene.datasets.pandaset.tables import read_numbered_table


def test_an_official_sequence_is_converted_without_pandas(official, tmp_path, monkeypatch):
    real_import = builtins.__import__

    def no_pandas(name, *rest):
        assert not name.startswith("pandas"), "pandas is not needed"
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_pandas)
    convert_pandaset(official, tmp_path / "converted")
    monkeypatch.undo()
    table, _ = read_numbered_table(official / "lidar" / "00.pkl.gz")
    sample = PandaSet(tmp_path / "converted")[0]
    np.testing.assert_allclose(sample.cloud.positions[:, 0], table["y"], atol=1e-6)
    np.testing.assert_allclose(sample.cloud.positions[:, 1], -table["x"], atol=1e-6)
    np.testing.assert_allclose(sample.cloud.features[:, 0], table["i"] / 255, atol=1e-6)
    names = [CITYSCAPES.classes[i] if i >= 0 else None for i in sample.labels.tolist()]
    assert names == ["road", "car", None, "building", "vegetation"]
    assert sample.read_image(0).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ValueError, match="already exists"):
        convert_pandaset(official, tmp_path / "converted")


def test_labels_belong_to_points_by_the_numbers_of_their_rows(official, tmp_path, old_table):
    path = official / "annotations" / "semseg" / "00.pkl.gz"
    order = np.array([7, 0, 9, 2, 5])  # the rows of the points are called 0, 2, 5, 7, 9
    blocks = [{"values": (order + 10)[None], "mgr_locs": slice(0, 1, 1)}]
    old_table(path, ["class"], blocks, order)
    convert_pandaset(official, tmp_path / "joined")
    with np.load(tmp_path / "joined" / "lidar" / "00.npz") as archive:
        assert archive["label"].tolist() == [10, 12, 15, 17, 19]
    for rows in (order + 1, np.arange(5), np.array([0, 0, 2, 5, 7])):
        old_table(path, ["class"], blocks, rows)
        with pytest.raises(ValueError, match="numbers its rows otherwise than .*00.pkl.gz"):
            convert_pandaset(official, tmp_path / "converted")
    old_table(path, ["class"], blocks, np.arange(5) / 2)
    with pytest.raises(ValueError, match="its rows are not called by one whole number each"):
        convert_pandaset(official, tmp_path / "converted")


def test_a_sequence_without_labels_is_converted_too(official, tmp_path):
    shutil.rmtree(official / "annotations")
    convert_pandaset(official, tmp_path / "converted")
    assert PandaSet(tmp_path / "converted", labels=False)[0].labels is None
    with pytest.raises(ValueError, match="00.npz lacks an array .*label"):
        PandaSet(tmp_path / "converted")[0]


def test_labels_of_another_length_are_refused(official, tmp_path):
    write_pickle(official / "annotations" / "semseg" / "00.pkl.gz", LIDAR_PICKLE)
    with pytest.raises(ValueError, match="should hold a column class"):
        convert_pandaset(official, tmp_path / "converted")
    with pytest.raises(ValueError, match="holds no lidar/NN.pkl.gz"):
        convert_pandaset(tmp_path, tmp_path / "converted")


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        ("lidar/poses.json", "007.lidar.poses.json is missing"),
        ("camera/back_camera/poses.json", "007.camera.back_camera.poses.json is missing"),
        ("camera/back_camera/intrinsics.json", "007.camera.back_camera.intrinsics.json is missing"),
        ("camera/back_camera/00.jpg", "007.camera.back_camera.00.jpg is missing, in all 1 of 6 images"),
    ],
)
def test_a_download_that_lacks_a_file_is_refused(official, tmp_path, file, fault):
    (official / file).unlink()
    with pytest.raises(ValueError, match=fault) as caught:
        convert_pandaset(official, tmp_path / "converted")
    assert "partial" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["007", "download"], "nothing half-written"


def test_a_download_has_labels_of_all_sweeps_or_of_none(official, tmp_path):
    for camera in CAMERAS:
        shutil.copyfile(official / "camera" / camera / "00.jpg", official / "camera" / camera / "01.jpg")
    shutil.copyfile(official / "lidar" / "00.pkl.gz", official / "lidar" / "01.pkl.gz")
    with pytest.raises(ValueError, match="semseg lacks 01.pkl.gz, in all 1 of 2 files"):
        convert_pandaset(official, tmp_path / "converted")
    shutil.rmtree(official / "annotations")
    convert_pandaset(official, tmp_path / "converted")
    assert len(PandaSet(tmp_path / "converted", labels=False)) == 2


@pytest.mark.parametrize(
    ("column", "value"), [("i", -5), ("i", 900), ("i", np.nan), ("d", 2), ("d", -1), ("class", 256)]
)
def test_numbers_that_are_no_bytes_are_refused(official, tmp_path, old_table, column, value):
    values = np.ones((6, 5))
    if column != "class":
        values["xyzitd".index(column), 3] = value
    blocks = [{"values": values, "mgr_locs": slice(0, 6, 1)}]
    old_table(official / "lidar" / "00.pkl.gz", list("xyzitd"), blocks, np.arange(5))
    labels = [
        {"values": np.array([[1, 2, 3, value if column == "class" else 4, 5]]), "mgr_locs": slice(0, 1, 1)}
    ]
    old_table(official / "annotations" / "semseg" / "00.pkl.gz", ["class"], labels, np.arange(5))
    fault = rf"column {column} of .*00.pkl.gz holds {value}(\.0)?, in all 1 values that are not in 0\.\."
    with pytest.raises(ValueError, match=fault):
        convert_pandaset(official, tmp_path / "converted")
