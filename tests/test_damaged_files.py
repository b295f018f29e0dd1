"""Files of every kind that a loader reads, cut short and with bits flipped: refused by name, or read soundly.

Faults that a format can show in one way only stand with its loader's own tests.
"""

import json
import math
import shutil

import laspy
import numpy as np
import pytest
import torch
from PIL import Image
from tests.damages import a_picture, save, try_damages
from tests.datasets.clouds.test_read import every_format
from tests.datasets.kitti.conftest import P2, POINTS
from tests.datasets.kitti.test_raw import DAY, DRIVE
from tests.datasets.kitti.test_raw import root as raw_root
from tests.datasets.rooms.conftest import seven, tum

from clip2scene.classes.tables import NUSCENES, SCANNET_200, TOYTOWN
from clip2scene.datasets.clouds import read_cloud
from clip2scene.datasets.drive_log.classes import read_labels
from clip2scene.datasets.kitti.object import KittiObject
from clip2scene.datasets.kitti.raw import KittiRaw
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.pandaset.loader import CAMERAS, HEIGHT, WIDTH, PandaSet
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.datasets.rooms.rgbd import RgbdSequences
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.geometry.projection import voxelize
from clip2scene.io import read_json
from clip2scene.teacher.label_maps import read_label_map

__all__ = ["raw_root", "seven", "tum"]  # fixtures


VERSION = "v1.0-trainval"


def check_cloud(cloud):
    assert len(cloud)
    assert cloud.positions.isfinite().all() and cloud.positions.abs().max() <= 1e5
    assert ((cloud.features >= 0) & (cloud.features <= 1)).all()


def check_sample(num_classes):
    def check(sample):
        for cloud in (sample.cloud, *sample.sweeps):
            check_cloud(cloud)
        for camera in sample.cameras:
            assert camera.camera_from_lidar.isfinite().all() and camera.intrinsics.isfinite().all()
        if sample.labels is not None:
            assert len(sample.labels) == len(sample.cloud)
            assert -1 <= sample.labels.min() and sample.labels.max() < num_classes

    return check


def las(folder, suffix):
    header = laspy.LasHeader(point_format=0, version="1.2")
    header.scales = [0.001] * 3
    content = laspy.LasData(header)
    content.x, content.y, content.z = np.array([[1.5, 10, 0], [-2, 20, 0], [0.25, -1, 3]]).astype(float)
    content.intensity = np.array([0, 100, 200], np.uint16)
    content.write(folder / f"a{suffix}")
    return folder / f"a{suffix}"


def every_cloud(folder):
    yield from every_format(folder)
    np.savez_compressed(folder / "packed.npz", xyz=np.ones((40, 3), np.float32), intensity=np.ones(40))
    yield folder / "packed.npz"
    for suffix in (".las", ".laz"):
        yield las(folder, suffix)


def test_clouds_of_every_format_are_read_soundly_or_refused(tmp_path):
    for path in every_cloud(tmp_path):
        refused = try_damages(path, lambda path=path: read_cloud(path), check_cloud, number=60)
        assert refused > 20, path.name


@pytest.mark.parametrize(
    ("name", "arrays", "fault"),
    [
        ("a.npy", np.array([["a", "b", "c"]]), "array of numbers"),
        ("a.npy", np.ones((2, 3), complex), "array of numbers"),
        ("a.npy", np.ones((2, 3), bool), "array of numbers"),
        ("a.npy", np.ones(3), "array of numbers"),
        ("a.npy", np.zeros((0, 4), np.float32), "holds no points"),
        ("a.npy", np.full((2, 3), 1e300), "coordinates are broken"),
        ("a.npy", np.array([[4e6, 0, 0], [0, 0, 0]]), "beyond 100 km"),
        ("a.npz", {"xyz": np.float32(1.0)}, "array xyz of 3 columns"),
        ("a.npz", {"xyz": np.ones((2, 3)), "intensity": np.float32(1.0)}, "intensity of the same length"),
        ("a.npz", {"xyz": np.ones((2, 3)), "intensity": np.array(["a", "b"])}, "should hold numbers"),
        ("a.npz", {"xyz": np.array([["a", "b", "c"]])}, "should hold numbers"),
        ("a.npz", {"xyz": np.zeros((0, 3))}, "holds no points"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, name, arrays, fault):
    if name.endswith("z"):
        np.savez(tmp_path / name, **arrays)
    else:
        np.save(tmp_path / name, arrays)
    with pytest.raises(ValueError, match=fault) as caught:
        read_cloud(tmp_path / name)
    assert name in str(caught.value)


def test_headers_that_ask_for_too_much_or_nothing_are_refused(tmp_path):
    header = "FIELDS x y z _\nSIZE 4 4 4 1\nTYPE F F F U\nCOUNT 1 1 1 {}\nPOINTS {}\nDATA binary\n"
    for padding, points, fault in ((1_000_000_000, 1, "broken PCD header"), (1, 10**12, "truncated")):
        (tmp_path / "a.pcd").write_text(header.format(padding, points))
        with pytest.raises(ValueError, match=fault):
            read_cloud(tmp_path / "a.pcd")
    ply = "ply\nformat ascii 1.0\nelement vertex 0\n{}end_header\n"
    (tmp_path / "a.ply").write_text(ply.format("".join(f"property float {axis}\n" for axis in "xyz")))
    with pytest.raises(ValueError, match="a.ply holds no points"):
        read_cloud(tmp_path / "a.ply")
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="a.json is not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match=f"{tmp_path.name} is a folder"):
        read_json(tmp_path)


def test_a_stray_point_far_out_never_scrambles_voxels():
    for far in (1e30, -1e30, 3e18):
        with pytest.raises(ValueError, match="spans"):
            voxelize(torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [far, 0, 0]]), 0.1)
    with pytest.raises(ValueError, match="spans"):
        voxelize(torch.tensor([[1e30, 0, 0]]), 0.1)


def test_class_maps_hold_known_classes_or_are_refused(tmp_path):
    for kind, bits in (("a.png", np.uint8), ("b.png", np.uint16)):
        path = save(tmp_path / kind, (a_picture(1)[..., 0] % 5).astype(bits))

        def check(labels):
            assert labels.ndim == 2 and -1 <= labels.min() and labels.max() < 5

        assert try_damages(path, lambda path=path: read_label_map(path, 5), check, number=60) > 25


@pytest.mark.parametrize("value", [32_768, 40_000, 65_535])
def test_a_class_beyond_16_bits_with_sign_is_not_taken_for_another(tmp_path, value):
    path = save(tmp_path / "a.png", np.array([[0, value]], np.uint16))
    with pytest.raises(ValueError, match=f"holds class {value}"):
        read_label_map(path, 4)


def test_labels_of_logs_are_known_classes_or_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(50, dtype=np.uint8) % 30)
    (tmp_path / "a.label").write_bytes((np.arange(50) % 30).astype("<u4").tobytes())

    def check(labels):
        assert len(labels) == 50 and -1 <= labels.min() and labels.max() < len(NUSCENES)

    for name in ("a.npy", "a.label"):
        path = tmp_path / name
        assert try_damages(path, lambda path=path: read_labels(path, 50, NUSCENES), check, number=80) > 30
    for wrong in (np.ones(50), np.full(50, "a"), np.zeros((50, 1), np.uint8), np.uint8(3)):
        np.save(tmp_path / "a.npy", wrong)
        with pytest.raises(
            ValueError, match=r"a.npy (holds .* expected one whole|should be an array of) number"
        ):
            read_labels(tmp_path / "a.npy", 50, NUSCENES)


@pytest.fixture
def town(tiny_toytown, tmp_path):
    """A copy of toytown that a test may break."""
    return shutil.copytree(tiny_toytown, tmp_path / "toytown")


@pytest.mark.parametrize(
    "table", ["sensor", "calibrated_sensor", "ego_pose", "sample", "sample_data", "scene", "splits"]
)
def test_damaged_tables_of_nuscenes_are_refused_or_change_numbers_alone(town, table):
    names = (f"{table}.json", "sample ", "lacks", "calibrated_sensor.json", "ego_pose.json")

    def read():
        return NuScenes(town, class_set=TOYTOWN, sweeps=2)[1]

    path = town / VERSION / f"{table}.json"
    assert try_damages(path, read, check_sample(len(TOYTOWN)), number=24, names=names) > 10


def test_damaged_clouds_and_labels_of_nuscenes_are_refused_or_sound(town):
    data = NuScenes(town, class_set=TOYTOWN)
    cloud = data.lidar_file(data.tokens[0])[1]
    label = next((town / "lidarseg" / VERSION).glob(f"{data.lidar_file(data.tokens[0])[0]}*"))
    names = (cloud.name, label.name)
    for path in (cloud, label):
        assert try_damages(path, lambda: data[0], check_sample(len(TOYTOWN)), number=60, names=names) > 25


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 256.0])
def test_intensities_that_no_sensor_measures_are_refused(town, value):
    data = NuScenes(town)
    path = data.lidar_file(data.tokens[0])[1]
    records = np.fromfile(path, "<f4").reshape(-1, 5)
    records[7, 3] = value
    records.tofile(path)
    with pytest.raises(ValueError, match=f"{path.name} holds 1 intensities of {len(records)}"):
        data[0]


@pytest.mark.parametrize("splits", [{"train": None}, {"train": [["a"]]}, {"train": [3]}, {"train": {"a": 1}}])
def test_splits_of_nuscenes_that_list_no_names_are_refused(town, splits):
    (town / VERSION / "splits.json").write_text(json.dumps(splits))
    with pytest.raises(ValueError, match="splits.json (has no list of names for|lists .* in) split 'train'"):
        NuScenes(town)


@pytest.fixture
def drive(tmp_path):
    """Two frames of five points in PandaSet's layout, without images."""
    root = tmp_path / "007"
    (root / "lidar").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pose = {"position": {"x": 1.0, "y": 2.0, "z": 0.0}, "heading": {"w": 1.0, "x": 0.0, "y": 0.0, "z": 0.0}}
    for frame, write in enumerate((np.savez, np.savez_compressed)):
        arrays = {
            "xyz": rng.uniform(-20, 20, (5, 3)).astype(np.float32),
            "intensity": np.arange(5, dtype="u1"),
        }
        ids = {"sensor": np.array([0, 1, 0, 0, 1], "u1"), "label": np.array([13, 41, 0, 5, 7], "u1")}
        write(root / "lidar" / f"{frame:02d}.npz", **arrays, **ids)
    for folder in ("lidar", *(f"camera/{name}" for name in CAMERAS)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "poses.json").write_text(json.dumps([pose, pose]))
        (root / folder / "timestamps.json").write_text(json.dumps([1.5e9, 1.5e9 + 0.1]))
        intrinsics = {"fx": 1000.0, "fy": 1000.0, "cx": (WIDTH - 1) / 2, "cy": (HEIGHT - 1) / 2}
        (root / folder / "intrinsics.json").write_text(json.dumps(intrinsics))
    return root


@pytest.mark.parametrize(
    "name", ["00.npz", "01.npz", "poses.json", "left_camera/poses.json", "left_camera/intrinsics.json"]
)
def test_damaged_files_of_pandaset_are_refused_or_sound(drive, name):
    path = drive / ("camera" if "/" in name else "lidar") / name

    def read():
        return PandaSet(drive, sweeps=2)[1]

    assert try_damages(path, read, check_sample(len(PandaSet.class_set)), number=100) > 40


def test_damaged_times_of_pandaset_are_refused_or_whole_numbers(drive):
    path = drive / "lidar" / "timestamps.json"
    data = PandaSet(drive)
    assert (
        try_damages(
            path, lambda: data.timestamps(1), lambda found: isinstance(found.cloud_us, int), number=60
        )
        > 25
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"xyz": np.float32(1.0)},
        {"xyz": np.full((5, 3), "a")},
        {"xyz": np.ones((5, 3), complex)},
        {"label": np.full(5, np.nan)},
        {"sensor": np.full(5, "0")},
        {"intensity": np.full(5, np.nan)},
        {"intensity": np.full(5, 300, np.int16)},
        {"xyz": np.full((5, 3), 1e30)},
        {"xyz": np.zeros((0, 3)), "label": [], "sensor": [], "intensity": []},
    ],
)
def test_arrays_of_pandaset_of_another_kind_are_refused(drive, changes):
    path = drive / "lidar" / "00.npz"
    with np.load(path) as archive:
        np.savez(path, **{**{name: archive[name] for name in archive}, **changes})
    with pytest.raises(ValueError, match="00.npz"):
        PandaSet(drive)[0]


@pytest.fixture
def kitti_object(tmp_path):
    """A frame of KITTI's object benchmark."""
    folder = tmp_path / "object" / "training"
    for part in ("velodyne", "image_2", "calib"):
        (folder / part).mkdir(parents=True)
    (folder / "velodyne" / "000000.bin").write_bytes(POINTS.tobytes())
    Image.new("RGB", (1220, 370)).save(folder / "image_2" / "000000.png")
    lines = {"P2": P2, "R0_rect": "1 0 0 0 1 0 0 0 1", "Tr_velo_to_cam": "0 -1 0 0.1 0 0 -1 -0.2 1 0 0 -0.3"}
    text = "".join(f"{name}: {numbers}\n" for name, numbers in lines.items())
    (folder / "calib" / "000000.txt").write_text(text)
    return folder.parent


def test_damaged_files_of_kittis_object_benchmark_are_refused_or_sound(kitti_object):
    for name in ("velodyne/000000.bin", "calib/000000.txt"):
        path = kitti_object / "training" / name
        refused = try_damages(path, lambda: KittiObject(kitti_object)[0], check_sample(0), number=80)
        assert refused > 30


def test_damaged_files_of_kittis_raw_recordings_are_refused_or_sound(raw_root):
    drive = raw_root / DAY / DRIVE
    files = [raw_root / DAY / f"calib_{name}.txt" for name in ("cam_to_cam", "velo_to_cam", "imu_to_velo")]
    files += [drive / "oxts" / "data" / "0000000001.txt", drive / "velodyne_points/data/0000000001.bin"]
    for path in files:
        refused = try_damages(path, lambda: KittiRaw(raw_root, sweeps=2)[1], check_sample(0), number=60)
        assert refused > 15, path.name


def frames_of(root):
    sample = RgbdSequences(root, choice=FrameChoice(step=3), voxel_size=0.1)[0]
    return sample, [sample.read_image(view) for view in range(len(sample.cameras))]


def check_frames(found):
    check_sample(0)(found[0])


@pytest.mark.parametrize(
    "name",
    ["frame-000003.pose.txt", "intrinsic_depth.txt", "frame-000003.color.png", "frame-000003.depth.png"],
)
def test_damaged_files_of_seven_scenes_are_refused_or_sound(seven, name):
    path = seven / "flat" / "seq-01" / name
    names = ("flat-seq-01", str(path.parent), path.name.split(".")[0])
    assert try_damages(path, lambda: frames_of(seven), check_frames, number=16, names=names) > 4


@pytest.mark.parametrize("name", ["rgb.txt", "depth.txt", "groundtruth.txt"])
def test_damaged_tables_of_tum_are_refused_or_sound(tum, name):
    names = (str(tum), "image", "sequence")
    assert try_damages(tum / name, lambda: frames_of(tum), check_frames, number=20, names=names) > 4


@pytest.mark.parametrize("kind", ["segs.json", "aggregation.json", "labels.combined.tsv"])
def test_damaged_words_of_scannets_things_are_refused_or_known_classes(tiny_rooms, tmp_path, kind):
    root = shutil.copytree(tiny_rooms, tmp_path / "rooms")
    (path,) = [each for each in root.rglob(f"*{kind}") if "scene0000_00" in each.name or kind.endswith("tsv")]

    def read():
        sample = ScanNet(root, class_set=SCANNET_200, choice=FrameChoice(step=6))[0]
        assert sample.labels.min() >= -1 and sample.labels.max() < len(SCANNET_200)
        return sample

    names = ("scene0000_00", "labels.combined.tsv")
    refused = try_damages(path, read, lambda sample: None, number=30, names=names)
    assert refused > 5  # of a table that is cut between rows, lost words are counted and logged
