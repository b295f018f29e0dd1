from pathlib import Path
from typing import get_args

import pytest

from clip2scene import build
from clip2scene.config import DataConfig
from clip2scene.config.data import Layout
from clip2scene.datasets import LOADERS
from clip2scene.datasets.recognise import check_layout

FILES = {
    "drive-log": ("calibration.json", "lidar/a.npy"),
    "nuscenes": ("v1.0-mini/sample_data.json", "samples/LIDAR_TOP/a.bin"),
    "semantic-kitti": ("sequences/08/velodyne/000000.bin", "sequences/08/calib.txt"),
    "kitti-object": ("training/velodyne/000000.bin", "training/calib/000000.txt"),
    "kitti-raw": ("2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000000.png",),
    "scannet": ("scans/scene0000_00/scene0000_00_vh_clean_2.ply",),
    "pandaset": ("lidar/00.npz", "camera/front_camera/00.jpg"),
    "mix": ("mix.json",),
    "rgbd": ("office/seq-01/frame-000000.pose.txt",),
}


def make(root, layout):
    for name in FILES[layout]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def test_every_layout_can_be_recognised():
    assert set(FILES) == set(LOADERS) == set(get_args(Layout))


@pytest.mark.parametrize("there", FILES)
@pytest.mark.parametrize("wanted", FILES)
def test_a_data_set_read_in_another_layout_is_told_as_what_it_is(tmp_path, there, wanted):
    root = make(tmp_path / "data-set", there)
    if there == wanted:
        check_layout(root, wanted)
        return
    what = f"expected {wanted}: add --data.layout {there}, or name another folder"
    if wanted == "mix":  # a run that was trained on several cannot be told another layout
        what = f"expected a mixture's folder: name one whose mix.json lists it .* --data.layout {there}$"
    with pytest.raises(ValueError, match=f"looks like .* layout {there}, {what}"):
        build.open_dataset(DataConfig(layout=wanted, min_depth=0.3), root, split="train")


@pytest.mark.parametrize(
    ("layout", "inner"),
    [
        ("nuscenes", "v1.0-mini"),
        ("semantic-kitti", "sequences"),
        ("semantic-kitti", "sequences/08"),
        ("drive-log", "lidar"),
    ],
)
def test_a_part_of_a_data_set_and_what_lies_around_one_lead_to_it(tmp_path, layout, inner):
    root = make(tmp_path / "around" / "data-set", layout)
    for near in (root / inner, root.parent):
        with pytest.raises(
            ValueError, match=f"but {root} looks like one in the layout {layout}: name that folder$"
        ):
            check_layout(near, layout)
    with pytest.raises(ValueError, match=f"name that folder, and add --data.layout {layout}$"):
        check_layout(root.parent, "kitti-raw")


@pytest.mark.parametrize("name", ["metadata.yaml", "drive.mcap", "drive.bag"])
def test_recordings_are_told_as_such(tmp_path, name):
    root = tmp_path / "bag"
    root.mkdir()
    (root / name).write_bytes(b"x")
    for path in (root, root / name):
        with pytest.raises(
            ValueError, match=f"expected .*data set; clip2scene convert-recording {path} --out"
        ):
            check_layout(path, "drive-log")


def test_a_log_of_123d_is_told_as_such(tmp_path):
    for name in ("sync.arrow", "lidar.lidar_merged.arrow"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(
        ValueError, match=f"expected a data set; clip2scene convert-123d {tmp_path} --out log"
    ):
        check_layout(tmp_path, "nuscenes")


def test_a_folder_like_nothing_is_left_to_its_loader(tmp_path):
    check_layout(tmp_path, "nuscenes")
    check_layout(Path("nowhere"), "nuscenes")
