import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene.datasets.dataset import count_images
from clip2scene.datasets.drive_log.classes import class_set_to_json, read_class_set
from clip2scene.datasets.drive_log.files import HEADER
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.doctor.timing import find_places
from clip2scene.geometry.projection import invert_rigid, project_points
from clip2scene.types import IGNORE_LABEL

DOCS = Path(__file__).resolve().parents[3] / "docs" / "own_recordings.md"
NAMES = ("a", "b", "c.5")
CAMERA_FROM_LIDAR = [[0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, -0.1], [0, 0, 0, 1]]
RFU_FROM_FLU = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])


def calibration(**lidar):
    camera = {"name": "front", "width": 32, "height": 24, "camera_from_lidar": CAMERA_FROM_LIDAR}
    camera["intrinsics"] = [[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]]
    return {**HEADER, "lidar": lidar, "cameras": [camera]}


def write(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def points(number):
    rng = np.random.default_rng(number)
    return np.column_stack([rng.uniform(-20, 20, (50, 3)), rng.uniform(0, 1, 50)]).astype(np.float32)


@pytest.fixture
def log(tmp_path):
    """Three clouds of 0.1 s, driven 1 m forward each; images 20 ms later; labels 0 to 3."""
    poses, times = ["name,timestamp_us,x,y,z,qw,qx,qy,qz"], ["camera,name,timestamp_us"]
    for number, name in enumerate(NAMES):
        for folder in ("lidar", "labels", "images/front"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "lidar" / f"{name}.npy", points(number))
        np.save(tmp_path / "labels" / f"{name}.npy", np.arange(50) % 4)
        Image.new("RGB", (32, 24), (number, 0, 0)).save(tmp_path / "images" / "front" / f"{name}.png")
        poses.append(f"{name},{100_000 * number},{number},0,0,1,0,0,0")
        times.append(f"front,{name},{100_000 * number + 20_000}")
    write(tmp_path, "poses.csv", "\n".join(poses))
    write(tmp_path, "images.csv", "\n".join(times))
    write(tmp_path, "calibration.json", calibration())
    classes = [{"name": "car", "ids": [1, 3], "prompts": ["car", "van"]}, {"name": "tree", "ids": [2]}]
    write(tmp_path, "classes.json", {**HEADER, "classes": classes})
    return tmp_path


def test_clouds_labels_and_images_come_back(log):
    dataset = DriveLog(log)
    assert dataset.tokens == NAMES
    assert (len(dataset), count_images(dataset)) == (3, 3)
    for number in range(3):
        sample = dataset[number]
        assert np.array_equal(sample.cloud.positions.numpy(), points(number)[:, :3])
        assert np.array_equal(sample.cloud.features[:, 0].numpy(), points(number)[:, 3])
        assert sample.labels.tolist() == [{0: IGNORE_LABEL, 1: 0, 2: 1, 3: 0}[n % 4] for n in range(50)]
        assert sample.read_image(0)[0, 0].tolist() == [number, 0, 0]
    assert dataset.class_set.prompts == (("car", "van"), ("tree",))
    assert len(set(dataset.class_set.colours)) == 2


def test_the_way_between_cloud_and_image_is_in_the_camera(log):
    still = torch.tensor(CAMERA_FROM_LIDAR, dtype=torch.float32)
    for number in range(3):  # 0.2 m further on; the last one goes on as before
        moved = DriveLog(log)[number].cameras[0].camera_from_lidar
        assert torch.allclose((moved - still)[:3, 3], torch.tensor([0, 0, -0.2]), atol=1e-6)
        assert torch.equal(moved[:3, :3], still[:3, :3])
    (log / "images.csv").unlink()
    assert torch.equal(DriveLog(log)[0].cameras[0].camera_from_lidar, still)


def test_earlier_sweeps_are_carried_by_the_poses_less_the_vehicle(log):
    sample = DriveLog(log, sweeps=3)[2]
    for back, found in enumerate(sample.sweeps, start=1):
        before = points(2 - back)
        own = (np.abs(before[:, :2]) < 1).all(1)
        slow = before[~own, :3] - [back, 0, 0]
        assert np.allclose(found.positions.numpy(), slow, atol=1e-5)
    assert [len(DriveLog(log, sweeps=3)[number].sweeps) for number in range(3)] == [0, 1, 2]
    write(log, "calibration.json", calibration(vehicle_reach_m=15))
    assert len(DriveLog(log, sweeps=2)[1].sweeps[0]) < 30


def test_sweeps_do_not_cross_from_one_drive_to_the_next(log):
    text = (log / "poses.csv").read_text().replace("c.5,200000", "c.5,99200000")
    write(log, "poses.csv", text)
    (log / "images.csv").unlink()
    assert [len(DriveLog(log, sweeps=2)[number].sweeps) for number in range(3)] == [0, 1, 0]
    with pytest.raises(ValueError, match="asked for 3, found at most 2"):
        DriveLog(log, sweeps=3, split=None)


@pytest.mark.parametrize("form", ["matrix", "quaternion"])
def test_a_lidar_with_other_axes_sees_the_same_pixels(log, form):
    straight = DriveLog(log, sweeps=2)
    expected = [straight[1].cloud.positions, straight[1].sweeps[0].positions]
    pairs = project_points(expected[0], straight[1].cameras)
    for number, name in enumerate(NAMES):
        turned = points(number).copy()
        turned[:, :3] = turned[:, :3] @ RFU_FROM_FLU.T
        np.save(log / "lidar" / f"{name}.npy", turned)
    motion = np.array(CAMERA_FROM_LIDAR, dtype=float)
    motion[:3, :3] = motion[:3, :3] @ RFU_FROM_FLU.T
    ego_from_lidar = np.eye(4)
    ego_from_lidar[:3, :3] = RFU_FROM_FLU.T  # flu_from_rfu: the vehicle's frame stays where it was
    content = calibration(axes="RFU", ego_from_lidar=ego_from_lidar.tolist())
    content["cameras"][0]["camera_from_lidar"] = motion.tolist()
    if form == "quaternion":
        half = 0.5**0.5
        content["lidar"]["ego_from_lidar"] = {"rotation": [half, 0, 0, -half], "translation": [0, 0, 0]}
        content["cameras"][0]["camera_from_lidar"] = {
            "rotation": [half, half, 0, 0],
            "translation": motion[:3, 3].tolist(),
        }
    write(log, "calibration.json", content)
    sample = DriveLog(log, sweeps=2)[1]
    assert torch.allclose(sample.cloud.positions, expected[0], atol=1e-5)
    assert torch.allclose(sample.sweeps[0].positions, expected[1], atol=1e-5)
    found = project_points(sample.cloud.positions, sample.cameras)
    assert found.points.tolist() == pairs.points.tolist() != []
    assert torch.allclose(found.pixels, pairs.pixels, atol=1e-3)


def test_counts_become_intensities_between_0_and_1(log):
    counted = points(0)
    counted[:, 3] = np.arange(50) * 4
    np.save(log / "lidar" / "a.npy", counted)
    with pytest.raises(ValueError, match="an intensity of 196, expected at most 1; say which"):
        DriveLog(log)[0]
    write(log, "calibration.json", calibration(intensity_max=200))
    assert torch.allclose(DriveLog(log)[0].cloud.features[:, 0], torch.arange(50) * 4 / 200)


def test_splits_are_the_users_own_and_other_clouds_are_earlier_sweeps(log):
    write(log, "splits.json", {**HEADER, "splits": {"train": ["a"], "val": ["c.5"]}})
    val = DriveLog(log, split="val", sweeps=3)
    assert (val.tokens, len(val[0].sweeps)) == (("c.5",), 2)
    assert DriveLog(log, split=None).tokens == NAMES
    with pytest.raises(ValueError, match="unknown split 'test', expected one of train, val$"):
        DriveLog(log, split="test")


def test_clouds_without_images_are_left_out_of_learning_only(log):
    (log / "images" / "front" / "b.png").unlink()
    assert DriveLog(log, need_images=True).tokens == ("a", "c.5")
    dataset = DriveLog(log)
    assert (dataset.tokens, count_images(dataset)) == (NAMES, 2)
    assert dataset[1].cameras == ()
    with pytest.raises(ValueError, match="sample b: no camera 0"):
        dataset[1].read_image(0)
    assert dataset.label_map_path("a", 0) == log / "semantic_maps" / "front" / "a.png"
    for name in ("a", "c.5"):
        (log / "images" / "front" / f"{name}.png").unlink()
    with pytest.raises(ValueError, match="none of the 3 clouds of split 'train' has an image of its name"):
        DriveLog(log, need_images=True)


def test_images_of_some_cameras_are_enough(log):
    content = calibration()
    content["cameras"].insert(0, {**content["cameras"][0], "name": "back"})
    write(log, "calibration.json", content)
    sample = DriveLog(log)[0]
    assert [camera.name for camera in sample.cameras] == ["front"]
    assert sample.read_image(0).shape == (24, 32, 3)
    assert DriveLog(log).label_map_path("a", 0).parent.name == "front"


def test_without_poses_clouds_are_in_the_order_of_their_names(log):
    (log / "poses.csv").unlink()
    (log / "images.csv").unlink()
    assert DriveLog(log).tokens == NAMES
    with pytest.raises(ValueError, match=r"poses.csv is missing, which 2 sweeps are carried by"):
        DriveLog(log, sweeps=2)


def test_labels_are_read_from_either_format_and_never_without_being_asked_for(log):
    expected = DriveLog(log)[0].labels
    (log / "labels" / "a.npy").unlink()
    (np.arange(50, dtype="<u4") % 4 | 7 << 16).tofile(log / "labels" / "a.label")
    assert torch.equal(DriveLog(log)[0].labels, expected)
    (log / "labels" / "b.npy").unlink()
    with pytest.raises(ValueError, match=r"lacks b.npy, in all 1 of 3 label files"):
        DriveLog(log)
    assert DriveLog(log, labels=False)[1].labels is None


def test_labels_of_the_samples_that_are_named_are_enough(log):
    expected = DriveLog(log)[2].labels
    (log / "labels" / "b.npy").unlink()
    dataset = DriveLog(log, labels=["c.5"])
    assert (dataset.tokens, torch.equal(dataset[2].labels, expected)) == (NAMES, True)
    assert dataset[0].labels is None  # though its file is there
    with pytest.raises(
        ValueError, match=r"lacks b.npy, in all 1 of 2 label files of the samples that are cho"
    ):
        DriveLog(log, labels=["a", "b"])


def test_classes_survive_being_written_and_read(log, tmp_path):
    mine = read_class_set(log)
    write(tmp_path / "run", "classes.json", class_set_to_json(mine))
    assert read_class_set(tmp_path / "run") == mine


def edited(change):
    """Change calibration.json."""

    def apply(log):
        content = json.loads((log / "calibration.json").read_text())
        change(content, content["cameras"][0])
        write(log, "calibration.json", content)

    return apply


def replaced(name, old, new):
    def apply(log):
        text = (log / name).read_text()
        assert old in text
        write(log, name, text.replace(old, new))

    return apply


def cloud(array):
    return lambda log: np.save(log / "lidar" / "a.npy", array)


def entry(**values):
    return edited(lambda content, camera: camera.update(values))


def lidar(**values):
    return edited(lambda content, camera: content.update(lidar=values))


NAN = float("nan")
FAULTS = {
    "calibration missing": (lambda log: (log / "calibration.json").unlink(), r"calibration.json is missing"),
    "calibration cut": (lambda log: write(log, "calibration.json", '{"format":'), "not valid JSON"),
    "calibration a list": (
        lambda log: write(log, "calibration.json", []),
        "the file should be of type object",
    ),
    "no format": (edited(lambda c, _: c.pop("format")), "the file lacks format"),
    "later version": (edited(lambda c, _: c.update(version=2)), "version should be 1, got 2"),
    "version true": (edited(lambda c, _: c.update(version=True)), "version should be 1, got true"),
    "unknown entry": (edited(lambda c, _: c.update(cameraz=[])), "unknown entry 'cameraz', expected some of"),
    "typing slip": (entry(heigth=3), r"cameras\[0\] has an unknown entry 'heigth'"),
    "scaled": (entry(camera_from_lidar=(2 * np.eye(4)).tolist()), "camera_from_lidar is 0 0 0 2|0 0 0 1"),
    "sheared": (
        entry(camera_from_lidar=[[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        "front: camera_from_lidar is not a rotation",
    ),
    "mirrored": (
        entry(camera_from_lidar=np.diag([1, 1, -1, 1]).tolist()),
        "camera_from_lidar is not a rotation",
    ),
    "3x4": (
        entry(camera_from_lidar=np.eye(4)[:3].tolist()),
        "camera_from_lidar should have 4 entries, got 3",
    ),
    "NaN motion": (
        entry(camera_from_lidar={"rotation": [1, 0, 0, 0], "translation": [0, NAN, 0]}),
        r"camera_from_lidar.translation\[1\] should be of type number, got NaN",
    ),
    "quaternion of length 2": (
        entry(camera_from_lidar={"rotation": [2, 0, 0, 0], "translation": [0, 0, 0]}),
        "camera_from_lidar: quaternion .* is not a rigid motion",
    ),
    "motion in words": (entry(camera_from_lidar="identity"), "should be of type array or object, got"),
    "NaN intrinsics": (
        entry(intrinsics=[[NAN, 0, 1], [0, 1, 1], [0, 0, 1]]),
        r"intrinsics\[0\]\[0\] should be of type number, got NaN",
    ),
    "intrinsics of another size": (
        entry(intrinsics=[[30, 0, 320], [0, 30, 240], [0, 0, 1]]),
        "within the image of 32x24",
    ),
    "intrinsics transposed": (
        entry(intrinsics=[[30, 0, 0], [0, 30, 0], [15, 11, 1]]),
        "front: intrinsics are",
    ),
    "negative focal length": (entry(intrinsics=[[-30, 0, 15], [0, 30, 11], [0, 0, 1]]), "positive fx and fy"),
    "distorted": (entry(distortion=[0.1, 0, 0, 0, 0]), r"undistort them \(with OpenCV: cv2.undistort\)"),
    "width in words": (entry(width="32"), 'width should be of type integer, got "32"'),
    "no width": (entry(width=0), "width should lie in 1..65535, got 0"),
    "camera above the folder": (entry(name="../front"), r"cameras\[0\].name should match"),
    "camera's line end": (entry(name="front\n"), r"cameras\[0\].name should match"),
    "camera twice": (
        edited(lambda c, camera: c["cameras"].append(camera)),
        "lists a camera twice: front, front",
    ),
    "folder of no camera": (entry(name="rear"), "images/front is of no camera in calibration.json"),
    "left-handed": (lidar(axes="FRU"), "right-handed"),
    "axes twice": (lidar(axes="FFU"), "right-handed"),
    "axes in words": (lidar(axes="ENU"), "lidar.axes should match"),
    "endless intensity": (lidar(intensity_max=10**400), "lidar.intensity_max should be of type number"),
    "no intensity": (lidar(intensity_max=0), "lidar.intensity_max should be above 0"),
    "image of another size": (
        lambda log: Image.new("RGB", (64, 48)).save(log / "images" / "front" / "a.png"),
        "sample a: image .* is 64x48, expected 32x24",
    ),
    "image broken": (lambda log: write(log, "images/front/a.png", "no"), "sample a: image .* cannot be read"),
    "image twice": (lambda log: write(log, "images/front/a.jpg", ""), "holds both a.jpg and a.png"),
    "no clouds": (lambda log: [path.unlink() for path in (log / "lidar").iterdir()], "lidar holds no cloud"),
    "cloud twice": (lambda log: write(log, "lidar/a.bin", "1234"), "holds both a.bin and a.npy"),
    "cloud of nuScenes": (lambda log: write(log, "lidar/d.pcd.bin", "1234"), "in nuScenes' own format"),
    "cloud with a blank": (lambda log: write(log, "lidar/d 1.npy", ""), "has the name 'd 1'"),
    "cloud of no points": (cloud(np.zeros((0, 4), np.float32)), "sample a: .* holds no points"),
    "cloud empty": (lambda log: write(log, "lidar/a.npy", ""), "sample a: .*a.npy is empty"),
    "cloud with NaN": (cloud(np.full((5, 4), np.nan, np.float32)), "sample a: .*5 points of 5 with NaN"),
    "cloud shorter than labels": (cloud(points(0)[:9]), "sample a: .*50 labels, but the cloud 9 points"),
    "labels as fractions": (
        lambda log: np.save(log / "labels" / "a.npy", np.zeros(50)),
        r"float64 of shape \(50,\), expected one whole number",
    ),
    "labels broken": (lambda log: write(log, "labels/a.npy", "no"), "sample a: .*cannot be read as a NumPy"),
    "no poses": (lambda log: (log / "poses.csv").unlink(), "poses.csv is missing"),
    "poses of other columns": (
        replaced("poses.csv", "qw,qx,qy,qz", "qx,qy,qz,qw"),
        "expected a first line name,",
    ),
    "poses empty": (lambda log: write(log, "poses.csv", ""), "expected a first line name,.* got 'nothing'"),
    "a pose cut": (
        replaced("poses.csv", "b,100000,1,0,0,1,0,0,0", "b,100000,1,0"),
        "line 3: expected 9 values",
    ),
    "time twice": (replaced("poses.csv", "b,100000", "b,0"), "line 3: timestamp_us is 0 after 0"),
    "times unsorted": (
        replaced("poses.csv", "a,0", "a,150000"),
        "line 3: timestamp_us is 100000 after 150000",
    ),
    "time in seconds": (
        replaced("poses.csv", "b,100000", "b,0.1"),
        "line 3: timestamp_us is '0.1', expected whole",
    ),
    "pose twice": (replaced("poses.csv", "b,", "a,"), "names a cloud twice"),
    "a cloud without a pose": (
        replaced("poses.csv", "b,", ","),
        "has no row for cloud 'b', in all for 1 of 3",
    ),
    "pose above the folder": (replaced("poses.csv", "b,", "../b,"), r"has the name '../b', expected"),
    "absolute pose": (replaced("poses.csv", "b,", "/b,"), "has the name '/b', expected"),
    "pose no rotation": (
        replaced("poses.csv", "1,0,0,0\nb", "0,0,0,0\nb"),
        "line 2: expected finite numbers and",
    ),
    "pose NaN": (replaced("poses.csv", "b,100000,1", "b,100000,nan"), "line 3: expected finite numbers"),
    "pose in words": (replaced("poses.csv", "b,100000,1", "b,100000,one"), "something that is no number"),
    "image of no camera": (replaced("images.csv", "front,b", "rear,b"), "line 3: camera 'rear' is not in"),
    "image time twice": (
        replaced("images.csv", "front,b", "front,a"),
        "line 3: image 'a' of front is listed twice",
    ),
    "image without time": (
        replaced("images.csv", "front,b", "front,d"),
        "tells no time of image 'b' of front",
    ),
    "image above the folder": (replaced("images.csv", "front,b", "front,../b"), "has the name '../b'"),
    "image before all poses": (
        replaced("poses.csv", "a,0,", ",0,0,0,0,1,0,0,0\na,50000,"),
        None,  # still within reach
    ),
    "image long after all poses": (
        replaced("images.csv", "front,a,20000", "front,a,900000"),
        "sample a: .*tells no pose for the moment 900000 us",
    ),
    "no classes": (lambda log: (log / "classes.json").unlink(), "classes.json is missing"),
    "no class": (replaced("classes.json", '"name": "tree"', '"nam": "tree"'), r"classes\[1\] lacks name"),
    "class twice": (replaced("classes.json", "tree", "car"), "needs distinct class names"),
    "prompt of two": (replaced("classes.json", "tree", "van"), "the same prompt 'van'"),
    "id of two": (replaced("classes.json", "[2]", "[3]"), "gives an id to two classes"),
    "id negative": (replaced("classes.json", "[2]", "[-2]"), r"classes\[1\].ids\[0\] should lie in 0..65535"),
    "splits a list": (
        lambda log: write(log, "splits.json", []),
        "splits.json: the file should be of type object",
    ),
    "split of no clouds": (
        lambda log: write(log, "splits.json", {**HEADER, "splits": {"train": []}}),
        "splits.train should have at least 1 entries, got 0",
    ),
    "split above the folder": (
        lambda log: write(log, "splits.json", {**HEADER, "splits": {"train": ["../a"]}}),
        r"splits.train\[0\] should match",
    ),
    "split of other clouds": (
        lambda log: write(log, "splits.json", {**HEADER, "splits": {"train": ["d"]}}),
        "split 'train' lists 'd', which is no cloud",
    ),
    "split twice": (
        lambda log: write(log, "splits.json", {**HEADER, "splits": {"train": ["a", "a"]}}),
        "split 'train' lists a cloud twice",
    ),
}


def read_everything(log):
    dataset = DriveLog(log, sweeps=2)
    for number in range(len(dataset)):
        sample = dataset[number]
        for view in range(len(sample.cameras)):
            sample.read_image(view)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_sentence(log, fault):
    spoil, message = FAULTS[fault]
    read_everything(log)
    spoil(log)
    if message is None:
        return read_everything(log)
    with pytest.raises(ValueError, match=message) as caught:
        read_everything(log)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["calibration.json", "classes.json", "splits.json", "poses.csv", "images.csv"]
)
def test_a_damaged_file_is_refused_or_read_but_never_crashes(log, name):
    write(log, "splits.json", {**HEADER, "splits": {"train": list(NAMES)}})
    whole = (log / name).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for attempt in range(60):
        damaged = bytearray(whole[: rng.integers(len(whole))] if attempt % 2 else whole)
        for place in rng.integers(len(damaged), size=2) if attempt % 2 == 0 else ():
            damaged[place] ^= 1 << rng.integers(8)
        (log / name).write_bytes(bytes(damaged))
        try:
            read_everything(log)
        except ValueError as error:
            refused += 1
            assert name in str(error) or "calibration" in str(error) or "sample" in str(error), error
    assert refused > 25


def documented():
    """Read the blocks of the section on own recordings, by the file they are of."""
    section = DOCS.read_text(encoding="utf-8").split("\n## ")[0]
    blocks = re.findall(r"(.*?)```(json|csv|python|)\n(.*?)```", section, re.DOTALL)
    return {
        re.findall(r"`(log/[\w.]+|write_log.py)`", before)[-1]: block
        for before, language, block in blocks
        if language
    }


def test_the_documented_example_is_a_whole_drive_log(tmp_path, monkeypatch):
    blocks = documented()
    assert set(blocks) == {
        *("write_log.py", "log/calibration.json", "log/classes.json", "log/splits.json"),
        *("log/poses.csv", "log/images.csv"),
    }
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks["write_log.py"], "write_log.py", "exec"), {})
    for name in ("log/calibration.json", "log/classes.json", "log/splits.json"):
        write(tmp_path, name, blocks[name])
    for name in ("log/poses.csv", "log/images.csv"):
        assert (tmp_path / name).read_text() == blocks[name]
    train, val = (DriveLog(tmp_path / "log", split=split, sweeps=2) for split in ("train", "val"))
    assert (len(train), len(val), count_images(train)) == (3, 1, 3)
    sample = val[0]
    assert len(sample.sweeps) == 1
    assert sample.labels.unique().tolist() == [IGNORE_LABEL, 0, 1, 2]
    assert sample.read_image(0).shape == (480, 640, 3)
    assert len(project_points(sample.cloud.positions, sample.cameras)) > 50
    ahead = torch.tensor([[10.0, 0, 0]])
    pixel = project_points(ahead, sample.cameras).pixels[0]
    assert pixel[0] == pytest.approx(319.5, abs=1e-3), "straight ahead is the image's middle column"
    assert invert_rigid(sample.cameras[0].camera_from_lidar)[0, 3] > 0


def test_every_entry_of_the_schema_is_documented_with_the_files():
    text = DOCS.read_text(encoding="utf-8").split("\n## ")[0]
    path = Path(__file__).resolve().parents[3] / "src" / "clip2scene" / "assets" / "drive-log.schema.json"
    for definition in json.loads(path.read_text())["$defs"].values():
        for name in definition.get("properties", {}):
            assert name in text, f"docs/own_recordings.md does not mention {name}"


def test_moments_tell_when_and_where_clouds_and_images_were_taken(log):
    moved = calibration(ego_from_lidar=[[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]])
    write(log, "calibration.json", moved)
    (log / "images" / "front" / "b.png").unlink()
    told = [DriveLog(log, sweeps=3).timestamps(number) for number in range(3)]
    assert [each.cloud_us for each in told] == [0, 100_000, 200_000]
    assert [each.image_us for each in told] == [{"front": 20_000}, {}, {"front": 220_000}]
    assert [each.sweeps_us for each in told] == [(), (0,), (100_000, 0)]
    for number, each in enumerate(told):
        assert each.world_from_cloud[:3, 3].tolist() == [number + 0.5, 0, 2]
    assert len({each.drive for each in told}) == 1


def test_moments_without_poses_tell_nothing_but_the_cameras(log):
    for name in ("poses.csv", "images.csv"):
        (log / name).unlink()
    told = DriveLog(log).timestamps(1)
    assert (told.cloud_us, told.image_us, told.sweeps_us) == (None, {"front": None}, ())
    assert told.world_from_cloud is None


def test_a_gap_in_time_makes_another_drive_whose_places_are_others(log):
    """Two recordings that each begin at the origin of their own world were not taken at one place."""
    (log / "images.csv").unlink()
    text = (log / "poses.csv").read_text().replace("c.5,200000,2,", "c.5,{},0,")
    drives = {}
    for time_us in (1_100_000, 1_100_001):
        write(log, "poses.csv", text.format(time_us))
        dataset = DriveLog(log)
        drives[time_us] = [dataset.timestamps(number).drive for number in range(3)]
        places = find_places(dataset, range(3))
        assert places == ([0, 0, 0] if time_us == 1_100_000 else [0, 0, 2])
    assert [len(set(names)) for names in drives.values()] == [1, 2]
    between = text.format("1100001").replace("c.5,", ",600000,1,0,0,1,0,0,0\nc.5,")
    write(log, "poses.csv", between)  # known all the way, so one drive
    assert len({DriveLog(log).timestamps(number).drive for number in range(3)}) == 1
