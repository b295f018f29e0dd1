import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from clip2scene.build import open_dataset
from clip2scene.config import DataConfig
from clip2scene.datasets.dataset import count_images
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.datasets.rooms.rgbd import RgbdSequences
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.distill.lift import find_pairs
from clip2scene.geometry.depth import average_in_voxels, unproject
from clip2scene.runs.run import open_run
from clip2scene.toytown.rooms.room import Room
from clip2scene.toytown.rooms.room_scan import hand_held, sample_surface
from clip2scene.training.train import pretrain
from clip2scene.types import Camera, DepthImage

EVERY = FrameChoice(step=1)
SETTINGS = {"min_depth": 0.3, "occlusion_test": True}
START_S = 1_305_031_102.0


def matrix(path, rows):
    path.write_text("".join(" ".join(f"{value:.7e}" for value in row) + "\n" for row in rows))


def write_intrinsics(rooms, folder):
    for name in ("color", "depth"):
        source = rooms / "scans" / "scene0000_00" / "intrinsic" / f"intrinsic_{name}.txt"
        shutil.copy(source, folder / f"intrinsic_{name}.txt")


@pytest.fixture
def seven(tiny_rooms, tmp_path):
    """The first room of ``tiny_rooms`` as 7-Scenes would have it; where depth is unknown stands 65535."""
    folder, scene = tmp_path / "seven" / "flat" / "seq-01", tiny_rooms / "scans" / "scene0000_00"
    folder.mkdir(parents=True)
    for number in range(6):
        stem = folder / f"frame-{number:06d}"
        Image.open(scene / "color" / f"{number}.jpg").save(f"{stem}.color.png")
        depth = np.array(Image.open(scene / "depth" / f"{number}.png"))
        depth[:, :5] = 65535
        Image.fromarray(depth).save(f"{stem}.depth.png")
        shutil.copy(scene / "pose" / f"{number}.txt", f"{stem}.pose.txt")
    write_intrinsics(tiny_rooms, folder)
    return tmp_path / "seven"


@pytest.fixture
def tum(tiny_rooms, tmp_path):
    """The same room as TUM would have it: depth 5 ms after colour, poses every 10 ms, the camera still."""
    folder, scene = tmp_path / "tum", tiny_rooms / "scans" / "scene0000_00"
    rows = {"rgb": ["# color images"], "depth": ["# depth maps"], "groundtruth": ["# timestamp tx ty tz qx"]}
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for number, pose in enumerate(hand_held(Room(0), 0, 6)):
        taken, turn = START_S + number, Rotation.from_matrix(pose[:3, :3]).as_quat()
        Image.open(scene / "color" / f"{number}.jpg").save(folder / "rgb" / f"{taken:.6f}.png")
        millimetres = np.array(Image.open(scene / "depth" / f"{number}.png")).astype(np.int64)
        depth = Image.fromarray((millimetres * 5).astype(np.uint16))
        depth.save(folder / "depth" / f"{taken + 0.005:.6f}.png")
        rows["rgb"].append(f"{taken:.6f} rgb/{taken:.6f}.png")
        rows["depth"].append(f"{taken + 0.005:.6f} depth/{taken + 0.005:.6f}.png")
        for later in (-0.003, 0.007, 0.017):
            numbers = " ".join(f"{value:.6f}" for value in (*pose[:3, 3], *turn))
            rows["groundtruth"].append(f"{taken + later:.4f} {numbers}")
    for name, lines in rows.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    write_intrinsics(tiny_rooms, folder)
    return folder


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
    pairs = find_pairs(sample.cloud.positions, sample, SETTINGS)
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


def test_depth_has_the_pose_of_its_own_moment(tum):
    """The camera moves 1 m/s to the right: 5 ms after the image, the depth camera stands 5 mm further."""
    turn = "0 0 0 1"
    rows = [f"{START_S + at / 100:.4f} {at / 100:.4f} 0 0 {turn}" for at in range(-2, 600)]
    (tum / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    sample = RgbdSequences(tum, choice=EVERY)[0]
    for view in range(6):
        assert abs(float(sample.cameras[view].camera_from_lidar[0, 3]) + view) < 1e-5
        assert abs(float(sample.read_depth(view).camera.camera_from_lidar[0, 3]) + view + 0.005) < 1e-5


def test_frames_without_depth_or_pose_at_their_time_are_counted(tum, caplog):
    drop = lambda name, keep: (tum / name).write_text(  # noqa: E731
        "\n".join(line for line in (tum / name).read_text().splitlines() if keep(line)) + "\n"
    )
    drop("groundtruth.txt", lambda line: not line.startswith(f"{START_S + 1:.0f}"[:10]) or "#" in line)
    drop("groundtruth.txt", lambda line: not line.startswith(f"{START_S + 0:.0f}"[:10]) or "." not in line)
    drop("depth.txt", lambda line: not line.startswith(f"{START_S + 3:.0f}"))
    (tum / "depth" / f"{START_S + 4.005:.6f}.png").unlink()
    chosen = RgbdSequences(tum, choice=FrameChoice(1, 16, 0.7)).frames("sequence")
    assert (chosen.asked, chosen.missing) == (6, 2)
    assert chosen.lost == 1
    assert [frame.name for frame in chosen.frames] == ["frame-0", "frame-2", "frame-5"]
    assert "left out" in caplog.text
    with pytest.raises(ValueError, match="may be left out"):
        RgbdSequences(tum, choice=FrameChoice(1, 16, 0.2)).frames("sequence")


def test_unknown_depth_of_seven_scenes_makes_no_points(seven):
    sample = RgbdSequences(seven, choice=EVERY)[0]
    depths = sample.read_depth(0).depths
    assert depths[:, :5].unique().tolist() == [0.0]
    assert 0.3 < depths[:, 5:].min()
    assert depths.max() < 10


def test_sequences_are_found_at_three_depths_and_chosen_by_splits(seven, tum):
    assert RgbdSequences(seven).tokens == ("flat-seq-01",)
    assert RgbdSequences(seven / "flat").tokens == ("seq-01",)
    assert RgbdSequences(seven / "flat" / "seq-01").tokens == ("sequence",)
    tum.rename(seven / "desk")
    assert RgbdSequences(seven).tokens == ("desk", "flat-seq-01")
    (seven / "splits.json").write_text(json.dumps({"train": ["desk"], "val": ["flat-seq-01"]}))
    assert RgbdSequences(seven, split="val").tokens == ("flat-seq-01",)
    assert RgbdSequences(seven, split=None).tokens == ("desk", "flat-seq-01")
    for wrong in ("../desk", "table"):
        (seven / "splits.json").write_text(json.dumps({"train": [wrong]}))
        with pytest.raises(ValueError, match="has the name|expected some of desk"):
            RgbdSequences(seven)
    (seven / "splits.json").unlink()
    with pytest.raises(ValueError, match="unknown split 'val'"):
        RgbdSequences(seven, split="val")


def test_sequences_that_would_share_a_name_or_cannot_name_a_file_are_refused(seven):
    shutil.copytree(seven / "flat" / "seq-01", seven / "flat-seq-01")
    with pytest.raises(ValueError, match="flat/seq-01 and .*flat-seq-01 would both be called 'flat-seq-01'"):
        RgbdSequences(seven)
    (seven / "flat-seq-01").rename(seven / "my flat")
    with pytest.raises(ValueError, match="has the name 'my flat'"):
        RgbdSequences(seven)


def test_usual_numbers_stand_in_for_intrinsics_that_are_not_told(seven, tum):
    for folder in (seven / "flat" / "seq-01", tum):
        for path in folder.glob("intrinsic_*.txt"):
            path.unlink()
    with pytest.raises(ValueError, match="far from the middle"):  # they are for 640 x 480
        RgbdSequences(tum, choice=EVERY)[0]
    for path in (seven / "flat" / "seq-01").glob("*.png"):
        with Image.open(path) as image:
            image.resize((640, 480), Image.Resampling.NEAREST).save(path)
    sample = RgbdSequences(seven, choice=FrameChoice(3))[0]
    assert sample.cameras[0].intrinsics.tolist() == [[585, 0, 320], [0, 585, 240], [0, 0, 1]]
    matrix(seven / "flat" / "seq-01" / "camera-intrinsics.txt", [[500, 0, 319], [0, 501, 239], [0, 0, 1]])
    sample = RgbdSequences(seven, choice=FrameChoice(3))[0]
    assert sample.cameras[1].intrinsics.tolist() == [[500, 0, 319], [0, 501, 239], [0, 0, 1]]
    assert sample.read_depth(1).camera.intrinsics.tolist() == [[500, 0, 319], [0, 501, 239], [0, 0, 1]]


def rewrite(path, change):
    path.write_text(change(path.read_text()))


FAULTS = {
    "a path out of the folder": (
        "rgb.txt",
        lambda text: text.replace("rgb/", "../rgb/"),
        "inside that folder",
    ),
    "an absolute path": ("depth.txt", lambda text: text.replace("depth/", "/etc/"), "inside that folder"),
    "times that fall": ("rgb.txt", lambda text: text + f"{START_S - 9:.6f} rgb/a.png\n", "do not rise"),
    "a time twice": ("rgb.txt", lambda text: text + text.splitlines()[-1] + "\n", "do not rise"),
    "a time that is NaN": ("rgb.txt", lambda text: "nan rgb/a.png\n" + text, "begin with seconds"),
    "no rows": ("depth.txt", lambda text: "# nothing\n", "got '0 rows'"),
    "a row too short": ("groundtruth.txt", lambda text: text[: text.rindex(" ")], "rows of 8 values"),
    "words": ("groundtruth.txt", lambda text: "one two\n", "begin with a time"),
    "NaN in a pose": ("groundtruth.txt", lambda text: no_numbers(text, "nan"), "not a rigid motion"),
    "a rotation of length 0": ("groundtruth.txt", lambda text: no_numbers(text, "0"), "not a rigid motion"),
}


def no_numbers(text, value):
    lines = [line.split() for line in text.splitlines()[1:]]
    return "\n".join(" ".join([line[0], *[value] * 7]) for line in lines) + "\n"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_tums_files_is_one_sentence_that_names_the_place(tum, fault):
    name, change, message = FAULTS[fault]
    rewrite(tum / name, change)
    with pytest.raises(ValueError, match=message) as caught:
        RgbdSequences(tum, choice=EVERY)[0]
    assert str(tum) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_an_empty_folder_and_blind_frames_are_refused(tum, tmp_path):
    with pytest.raises(ValueError, match="has no labels of points"):
        RgbdSequences(tum, labels=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "blind").mkdir()
    matrix(tmp_path / "blind" / "frame-000000.pose.txt", np.eye(4))
    with pytest.raises(ValueError, match="of 0 frames"):
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
        (path,) = run.carry(seven, split="train", with_labels=False)
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
    pairs = find_pairs(sample.cloud.positions, sample, SETTINGS)
    assert len(pairs.points.unique()) > 0.9 * len(sample.cloud)
    assert len(pairs) > 1.5 * len(sample.cloud)
    shown = sample.read_image(4)[tuple(pairs.pixels[pairs.views == 4].round().long().flip(1).T)].float() / 255
    fused = sample.cloud.features[pairs.points[pairs.views == 4]]
    assert float((shown - fused).abs().median()) < 0.1
