from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree
from tests.datasets.rooms.conftest import EVERY, matrix
from tests.lifting import lift

from clip2scene.build import open_dataset
from clip2scene.config import DataConfig
from clip2scene.datasets.dataset import OpenOptions, count_images
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.datasets.rooms.rgbd import RgbdSequences
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.distill.lift import PairingOptions, find_pairs
from clip2scene.geometry.depth import average_in_voxels, unproject
from clip2scene.runs.run import open_run
from clip2scene.toytown.rooms.room import Room
from clip2scene.toytown.rooms.room_scan import hand_held, sample_surface
from clip2scene.training.train import pretrain
from clip2scene.types import Camera, DepthImage

PAIRING = PairingOptions(min_depth=0.3)


@pytest.fixture(scope="module")
def dense():
    """Many places on the surfaces of the first room."""
    room = Room(0)
    return sample_surface(room, 0, hand_held(room, 0, 6), 1500.0)


@pytest.mark.parametrize("layout", ["seven", "tum"])
def test_the_cloud_lies_on_the_rooms_surfaces_and_is_seen_by_its_frames(layout, request, tiny_rooms, dense):
    sample = RgbdSequences(request.getfixturevalue(layout), choice=EVERY)[0]
    away, nearest = cKDTree(dense.positions).query(sample.cloud.positions.numpy())
    assert len(away) > 5000
    assert np.quantile(away, 0.98) < 0.035, np.quantile(away, 0.98)  # voxels at edges hold two surfaces
    pairs = find_pairs(sample.cloud.positions, sample, PAIRING)
    assert len(pairs.points.unique()) > 0.9 * len(away)
    official = ScanNet(tiny_rooms, choice=EVERY)[0]
    for camera, other in zip(sample.cameras, official.cameras, strict=True):
        assert (camera.camera_from_lidar - other.camera_from_lidar).abs().max() < 1e-4
        assert torch.equal(camera.intrinsics, other.intrinsics)
    colours = sample.cloud.features.numpy()
    assert ((colours >= 0) & (colours <= 1)).all()
    painted = dense.colours[nearest].astype(float)  # without light, so only alike
    assert np.corrcoef(painted[:, 0] - painted[:, 2], colours[:, 0] - colours[:, 2])[0, 1] > 0.7


def test_a_point_of_a_depth_image_is_where_its_pixel_and_depth_say():
    intrinsics = torch.tensor([[100.0, 0, 3.0], [0, 50.0, 2.0], [0, 0, 1]])
    motion = torch.eye(4)
    motion[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    depths = torch.zeros(5, 7)
    depths[4, 6], depths[2, 1], depths[0, 0] = 2.0, 1.5, 9.0
    image = DepthImage(Camera("depth", intrinsics, motion, 7, 5), depths)
    by_hand = [(2.0 * 3 / 100 - 1, 2.0 * 2 / 50 - 2, 2.0 - 3)]
    assert torch.allclose(unproject(image, step=2, farthest=5.0), torch.tensor(by_hand))
    assert len(unproject(image)) == 3
    for wrong in ({"step": 0}, {"farthest": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            unproject(image, **wrong)


def test_averages_are_those_of_a_loop_over_points():
    generator = torch.Generator().manual_seed(0)
    positions, features = torch.rand(500, 3, generator=generator), torch.rand(500, 2, generator=generator)
    slow = {}
    for number in range(500):
        slow.setdefault(tuple((positions[number] / 0.2).floor().tolist()), []).append(number)
    cloud = average_in_voxels(positions, features, 0.2)
    assert len(cloud) == len(slow)
    for number, key in enumerate(sorted(slow)):
        mine = slow[key]
        assert torch.allclose(cloud.positions[number], positions[mine].mean(0), atol=1e-6)
        assert torch.allclose(cloud.features[number], features[mine].mean(0), atol=1e-6)


def test_unknown_depth_of_seven_scenes_makes_no_points(seven):
    sample = RgbdSequences(seven, choice=EVERY)[0]
    depths = sample.read_depth(0).depths
    assert depths[:, :5].unique().tolist() == [0.0]
    assert 0.3 < depths[:, 5:].min()
    assert depths.max() < 10


def test_labels_an_empty_folder_and_blind_frames_are_refused(tum, tmp_path):
    with pytest.raises(ValueError, match="has no labels of points"):
        RgbdSequences.open(tum, OpenOptions("train", labels=True))
    (tmp_path / "empty").mkdir()
    (tmp_path / "blind").mkdir()
    matrix(tmp_path / "blind" / "frame-000000.pose.txt", np.eye(4))
    with pytest.raises(ValueError, match="blind holds 1 files, such as frame-000000.pose.txt"):
        RgbdSequences(tmp_path / "blind")[0]
    with pytest.raises(ValueError, match="holds no sequence"):
        RgbdSequences(tmp_path / "empty")
    with pytest.raises(ValueError, match="voxel_size must be positive"):
        RgbdSequences(tum, voxel_size=0.0)
    for path in (tum / "depth").iterdir():
        Image.fromarray(np.zeros((84, 112), np.uint16)).save(path)
    with pytest.raises(ValueError, match="no depth up to 5 m was measured"):
        RgbdSequences(tum, choice=EVERY)[0]


def test_a_student_learns_from_sequences_without_a_mesh(seven, tiny_recipe, tmp_path):
    data = DataConfig(layout="rgbd", min_depth=0.3, frame_step=2, words="scannet")
    dataset = open_dataset(data, seven, split="train", labels=False)
    assert (count_images(dataset), len(dataset[0].cameras)) == (1, 3)
    assert (
        dataset.label_map_path("flat-seq-01", 1).as_posix().endswith("seq-01/semantic_maps/frame-000002.png")
    )
    with pytest.raises(ValueError, match="no camera 3"):
        dataset.label_map_path("flat-seq-01", 3)
    pretrain(replace(tiny_recipe, data=data, steps=2), data_root=seven, out=tmp_path / "run")
    assert open_run(tmp_path / "run").student() is not None


def test_what_a_teacher_said_of_frames_that_were_mended_since_is_not_taken_again(
    seven, tiny_recipe, tmp_path
):
    data = DataConfig(layout="rgbd", min_depth=0.3, frame_step=2, words="scannet")
    pretrain(replace(tiny_recipe, data=data, steps=1), data_root=seven, out=tmp_path / "run")
    run, folder = open_run(tmp_path / "run"), seven / "flat" / "seq-01"

    def lifted():
        (path,) = lift(run, seven, split="train")
        return path

    def brighten(path):
        with Image.open(path) as image:
            image.point(lambda value: value // 2 + 60).save(path)

    def move(path):
        rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
        rows[0][3] += 0.01
        matrix(path, rows)

    def look_wider(path):
        rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
        rows[0][0] *= 0.99
        matrix(path, rows)

    def measure_nothing(path):
        with Image.open(path) as image:
            depths = np.array(image)
        depths[:9] = 0
        Image.fromarray(depths).save(path)

    seen = [lifted()]
    assert lifted() == seen[0], "nothing was mended"
    for mend, name in (
        (brighten, "frame-000002.color.png"),
        (measure_nothing, "frame-000002.depth.png"),
        (move, "frame-000004.pose.txt"),
        (look_wider, "intrinsic_depth.txt"),
        (look_wider, "intrinsic_color.txt"),
    ):
        mend(folder / name)
        assert lifted() not in seen, name
        seen.append(lifted())
    brighten(folder / "frame-000003.color.png")
    assert lifted() == seen[-1], "this frame is not looked at"


def test_a_real_sequence_agrees_with_itself(real_data):
    """What some frames measured, others see too: poses, intrinsics and depths belong together."""
    root = real_data / "seven-scenes"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    sample = RgbdSequences(root, choice=FrameChoice(step=1, most=9))[0]
    assert len(sample.cameras) == 9
    assert len(sample.cloud) > 20_000
    pairs = find_pairs(sample.cloud.positions, sample, PAIRING)
    assert len(pairs.points.unique()) > 0.9 * len(sample.cloud)
    assert len(pairs) > 1.5 * len(sample.cloud)
    shown = sample.read_image(4)[tuple(pairs.pixels[pairs.views == 4].round().long().flip(1).T)].float() / 255
    fused = sample.cloud.features[pairs.points[pairs.views == 4]]
    assert float((shown - fused).abs().median()) < 0.1
