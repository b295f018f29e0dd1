import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene.config import DataConfig
from clip2scene.datasets.dataset import Dataset, OpenOptions, count_images
from clip2scene.datasets.kitti.object import KittiObject
from clip2scene.geometry.projection import drop_occluded, project_points
from clip2scene.runs.run import open_run
from clip2scene.training.train import pretrain


@pytest.fixture
def benchmark(real_data, tmp_path):
    """A copy of the two real samples that a test may break."""
    return shutil.copytree(real_data / "kitti-object", tmp_path / "object")


def test_real_clouds_images_and_calibrations_are_read(real_data):
    dataset = KittiObject(real_data / "kitti-object")
    assert dataset.tokens == ("training-000000", "training-000001")
    assert (len(dataset), count_images(dataset), isinstance(dataset, Dataset)) == (2, 2, True)
    for number, (points, size) in enumerate(((115384, (1224, 370)), (120268, (1242, 375)))):
        sample = dataset[number]
        (camera,) = sample.cameras
        assert len(sample.cloud) == points and (camera.width, camera.height) == size
        assert sample.read_image(0).shape == (size[1], size[0], 3)
        assert 0 <= sample.cloud.features.min() and sample.cloud.features.max() <= 1
        assert sample.labels is None and sample.sweeps == ()


@pytest.mark.parametrize("number", range(2))
def test_real_points_project_as_p2_times_r0_rect_times_tr(real_data, number):
    text = (real_data / "kitti-object" / "training" / "calib" / f"{number:06d}.txt").read_text()
    given = dict(line.split(":") for line in text.splitlines() if line.strip())
    p2, tr = (np.array(given[name].split(), float).reshape(3, 4) for name in ("P2", "Tr_velo_to_cam"))
    rectify = np.eye(4)
    rectify[:3, :3] = np.array(given["R0_rect"].split(), float).reshape(3, 3)
    sample = KittiObject(real_data / "kitti-object")[number]
    points = np.column_stack([sample.cloud.positions.numpy().astype(float), np.ones(len(sample.cloud))])
    rays = points @ (p2 @ rectify @ np.vstack([tr, [0, 0, 0, 1]])).T
    pairs = project_points(sample.cloud.positions, sample.cameras)
    mine = rays[pairs.points.numpy()]
    assert 15_000 < len(pairs) < 25_000, "a quarter turn of 64 beams"
    assert np.abs(mine[:, :2] / mine[:, 2:] - pairs.pixels.numpy()).max() < 5e-3


def test_real_points_in_a_box_of_the_labels_fall_into_its_rectangle_in_the_image(real_data):
    """KITTI's own boxes, in space and in the image, agree with the cloud and camera as read here.

    Only gross faults are seen so, such as a wrong axis: boxes drawn by hand are true to about 5 cm, here 4
    pixels, and leaving out R0_rect or the 6 cm between the cameras passes. The test above sees those.
    """
    sample = KittiObject(real_data / "kitti-object")[0]
    words = (real_data / "kitti-object" / "training" / "label_2" / "000000.txt").read_text().split()
    assert words[0] == "Pedestrian"
    left, top, right, bottom, height, width, length, x, y, z, turn = map(float, words[4:15])
    pairs = drop_occluded(project_points(sample.cloud.positions, sample.cameras), sample.cameras)
    camera = sample.cameras[0]
    ahead = (sample.cloud.positions[pairs.points] @ camera.camera_from_lidar[:3, :3].T) + (
        camera.camera_from_lidar[:3, 3]
    )
    offset = ahead - torch.tensor([x + 0.06, y - height / 2, z])  # camera 2 stands 6 cm beside camera 0
    along = offset[:, 0] * np.cos(turn) - offset[:, 2] * np.sin(turn)
    across = offset[:, 0] * np.sin(turn) + offset[:, 2] * np.cos(turn)
    inside = (along.abs() < length / 2) & (across.abs() < width / 2) & (offset[:, 1].abs() < height / 2)
    u, v = pairs.pixels[inside].unbind(1)
    assert inside.sum() > 100
    assert left - 4 < u.min() and u.max() < right + 4 and top - 4 < v.min() and v.max() < bottom + 4
    assert u.max() - u.min() > 0.5 * (right - left) and v.max() - v.min() > 0.8 * (bottom - top)


def test_what_the_benchmark_has_not_is_refused(real_data, tmp_path):
    root = real_data / "kitti-object"
    for options, fault in (
        ({"labels": True}, "no labels of points.*use SemanticKITTI"),
        ({"split": "val"}, "unknown split 'val', expected one of train, test"),
        ({"sweeps": 2}, "asked for 2, found at most 1"),
        ({"split": "test"}, "there is no cloud .*testing/velodyne/NNNNNN.bin"),
    ):
        with pytest.raises(ValueError, match=fault):
            KittiObject.open(root, OpenOptions(**{"split": "train"} | options))
    with pytest.raises(ValueError, match="there is no cloud"):
        KittiObject(tmp_path)


def test_a_missing_image_leaves_a_sample_without_a_camera_or_out(benchmark):
    (benchmark / "training" / "image_2" / "000000.png").unlink()
    dataset = KittiObject(benchmark)
    assert [len(dataset[number].cameras) for number in range(2)] == [0, 1] and count_images(dataset) == 1
    with pytest.raises(ValueError, match="training-000000 has no camera 0, as its image is missing"):
        dataset[0].read_image(0)
    assert KittiObject(benchmark, need_images=True).tokens == ("training-000001",)
    assert dataset.label_map_path("training-000001", 0).name == "000001.png"
    with pytest.raises(ValueError, match="no camera 1"):
        dataset.label_map_path("training-000001", 1)
    shutil.rmtree(benchmark / "training" / "image_2")
    with pytest.raises(ValueError, match="none of the 2 clouds .* has an image"):
        KittiObject(benchmark, need_images=True)


def test_jpeg_images_are_found_and_others_named_where_there_are_none(benchmark):
    folder = benchmark / "training" / "image_2"
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            image.convert("RGB").save(path.with_suffix(".JPG"))
        path.unlink()
    assert count_images(KittiObject(benchmark)) == 2 and KittiObject(benchmark)[1].read_image(0).shape[2] == 3
    for path in folder.iterdir():
        path.rename(path.with_suffix(".ppm"))
    with pytest.raises(ValueError, match=r"image_2 holds 2 files, such as 000000\.ppm; restore"):
        KittiObject(benchmark, need_images=True)


@pytest.mark.parametrize(
    ("file", "damage", "fault"),
    [
        ("velodyne/000000.bin", lambda content: content[:-5], "000000.bin is truncated"),
        ("velodyne/000000.bin", lambda content: b"", "000000.bin is empty"),
        ("calib/000000.txt", lambda content: content[:300], "000000.txt breaks off|lacks"),
        ("calib/000000.txt", lambda content: content.replace(b"R0_rect", b"R1_rect"), "lacks R0_rect"),
        (
            "calib/000000.txt",
            lambda content: content.replace(b"9.999128", b"8.999128"),
            "R0_rect of .* rotation",
        ),
        ("image_2/000000.png", lambda content: content[:20], "000000.png cannot be read"),
    ],
)
def test_broken_files_are_named(benchmark, file, damage, fault):
    path = benchmark / "training" / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=fault):
        KittiObject(benchmark)[0]


def test_real_clouds_can_be_learnt_from_end_to_end(benchmark, tiny_recipe, tmp_path):
    """One real image, shrunk with its calibration, and one step; nothing is measured."""
    folder = benchmark / "training"
    for path in folder.glob("*/000001.*"):
        path.unlink()
    image = Image.open(folder / "image_2" / "000000.png")
    image.resize((306, 92)).save(folder / "image_2" / "000000.png")
    text = (folder / "calib" / "000000.txt").read_text().splitlines()
    p2 = np.array(text[2].split()[1:], float).reshape(3, 4)
    p2[:2] /= 4
    text[2] = "P2: " + " ".join(f"{value:.12e}" for value in p2.ravel())
    (folder / "calib" / "000000.txt").write_text("\n".join(text) + "\n")
    data = DataConfig(layout="kitti-object", classes="toytown")
    student = replace(tiny_recipe.student, voxel_size=1.0)
    pretrain(
        replace(tiny_recipe, data=data, student=student, steps=1), data_root=benchmark, out=tmp_path / "run"
    )
    assert open_run(tmp_path / "run").student() is not None
