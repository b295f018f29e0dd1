import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import cKDTree
from tests.datasets.conftest import pose

from clip2scene.classes.tables import CITYSCAPES
from clip2scene.datasets.pandaset.loader import CAMERAS, HEIGHT, WIDTH, PandaSet
from clip2scene.geometry.dynamic_points import seen_through
from clip2scene.geometry.projection import drop_occluded, project_points
from clip2scene.types import IGNORE_LABEL


def test_clouds_stand_in_the_turned_ego_frame_and_cameras_at_their_own_time(sequence):
    data = PandaSet(sequence)
    assert len(data) == 2 and data.tokens == ("007-00", "007-01")
    first, second = data[0], data[1]
    # forward is the world's y here, left is minus x
    torch.testing.assert_close(first.cloud.positions, torch.tensor([[10.0, 0, 1], [20, 3, 0], [-5, -2, 0]]))
    torch.testing.assert_close(second.cloud.positions[:, 0], torch.tensor([8.0, 18.0, -7.0]))
    torch.testing.assert_close(first.cloud.features[:, 0], torch.tensor([0.0, 0.2, 1.0]))
    car, building = CITYSCAPES.classes.index("car"), CITYSCAPES.classes.index("building")
    assert first.labels.tolist() == [car, building, IGNORE_LABEL]
    pairs = project_points(second.cloud.positions, second.cameras[:1])
    # the camera took its image half a metre further on: depth 7.5, not 8
    assert pairs.points.tolist() == [0, 1]
    torch.testing.assert_close(pairs.depths, torch.tensor([7.5, 17.5]))
    torch.testing.assert_close(pairs.pixels[0], torch.tensor([959.5, 539.5 - 1000 / 7.5]))


def test_an_earlier_frame_of_a_still_world_lies_on_the_later_one(sequence):
    turned = [pose(x=0.3, y=-0.2, z=0.1, yaw=0.1), pose(y=2.0, yaw=-0.4)]
    (sequence / "lidar" / "poses.json").write_text(json.dumps(turned))
    first, second = PandaSet(sequence, sweeps=2)
    assert first.sweeps == () and len(second.sweeps) == 1, "the recording begins with the first frame"
    torch.testing.assert_close(second.sweeps[0].positions, second.cloud.positions)
    torch.testing.assert_close(second.sweeps[0].features, second.cloud.features)
    assert (first.cloud.positions - second.cloud.positions).norm(dim=1).min() > 1


def lengthen(sequence, frames):
    """Copy frame 0 until the sequence has so many frames, each 1 m further along the world's y axis."""
    for folder in ("lidar", *(f"camera/{name}" for name in CAMERAS)):
        path = sequence / folder / "poses.json"
        heading = json.loads(path.read_text())[0]["heading"]
        poses = [{**pose(y=float(frame)), "heading": heading} for frame in range(frames)]
        path.write_text(json.dumps(poses))
    for frame in range(frames):
        if frame:
            shutil.copyfile(sequence / "lidar" / "00.npz", sequence / "lidar" / f"{frame:02d}.npz")
        rewrite(sequence / "lidar" / f"{frame:02d}.npz", intensity=np.full(3, frame, np.uint8))


def test_sweeps_are_the_frames_just_before_newest_first_of_whatever_split(sequence):
    lengthen(sequence, 40)
    for frame in range(30):  # clouds of the train split are borrowed, its labels are not
        path = sequence / "lidar" / f"{frame:02d}.npz"
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive if name != "label"}
        np.savez(path, **arrays)
    data = PandaSet(sequence, split="val", sweeps=4)
    for index, frame in ((0, 30), (1, 31), (9, 39)):
        told = [round(float(sweep.features[0] * 255)) for sweep in data[index].sweeps]
        assert told == [frame - 1, frame - 2, frame - 3]
        assert len(data[index].labels) == len(data[index].cloud)
    (sequence / "lidar" / "28.npz").unlink()
    assert [len(data.sweeps) for data in PandaSet(sequence, split="val", sweeps=4)][:3] == [2, 2, 3]


def test_sweeps_hold_the_chosen_sensor_without_the_recording_vehicle(sequence):
    near = np.array([[0.9, 2.4, 1.5], [0, 10, 1], [0.9, 2.6, 1.5]], np.float32)  # the lidar stands at y = 1
    rewrite(sequence / "lidar" / "00.npz", xyz=near)
    cloud = PandaSet(sequence, sweeps=2)[1].sweeps[0]
    torch.testing.assert_close(cloud.positions[:, 0], torch.tensor([8.0, 0.6]))
    assert len(PandaSet(sequence, sweeps=2, sensor="forward")[1].sweeps[0]) == 1


def test_more_sweeps_than_recorded_are_refused(sequence):
    with pytest.raises(ValueError, match="more sweeps than recorded: asked for 3, found at most 2"):
        PandaSet(sequence, sweeps=3)
    with pytest.raises(ValueError, match="more sweeps than recorded: asked for 2, found at most 1"):
        PandaSet(sequence, frames=[0], sweeps=2)
    for wrong in (0, 11):
        with pytest.raises(ValueError, match=rf"sweeps must lie in 1\.\.10, got {wrong}"):
            PandaSet(sequence, sweeps=wrong)


def test_a_broken_earlier_frame_is_named(sequence):
    rewrite(sequence / "lidar" / "00.npz", xyz=np.full((3, 3), np.nan, np.float32))
    data = PandaSet(sequence, sweeps=2)
    with pytest.raises(ValueError, match="00.npz holds 3 points of 3 with NaN"):
        data[1]
    (sequence / "lidar" / "poses.json").write_text(
        json.dumps([{**pose(), "heading": {"w": 2, "x": 0, "y": 0, "z": 0}}, pose()])
    )
    with pytest.raises(ValueError, match="lidar.poses.json: .*not a rigid motion"):
        PandaSet(sequence, sweeps=2)


def test_a_sensor_can_be_chosen(sequence):
    assert PandaSet(sequence, sensor="spinning")[0].cloud.features[:, 0].tolist() == [0.0, 1.0]
    forward = PandaSet(sequence, sensor="forward")[0]
    assert len(forward.cloud) == len(forward.labels) == 1
    with pytest.raises(ValueError, match="unknown sensor 'rear'"):
        PandaSet(sequence, sensor="rear")


def test_without_labels_the_label_array_is_never_touched(sequence):
    path = sequence / "lidar" / "00.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive if name != "label"}
    np.savez(path, **arrays)
    assert PandaSet(sequence, labels=False)[0].labels is None
    with pytest.raises(ValueError, match="00.npz lacks an array .*label"):
        PandaSet(sequence)[0]


def test_frames_and_splits_are_checked(sequence):
    assert PandaSet(sequence, frames=[1]).tokens == ("007-01",)
    assert PandaSet(sequence, split="train").frames == (0,) and PandaSet(sequence, split="val").frames == (1,)
    with pytest.raises(ValueError, match=r"has frames 0-1, but not \[2\]"):
        PandaSet(sequence, frames=[1, 2])
    (sequence / "lidar" / "00.npz").unlink()
    with pytest.raises(ValueError, match=r"has frames 1-1, but not \[0\]"):
        PandaSet(sequence, split="train")
    (sequence / "lidar" / "01.npz").rename(sequence / "lidar" / "00.npz")
    with pytest.raises(ValueError, match="has frames 0-0, but not two to split"):
        PandaSet(sequence, split="train")
    with pytest.raises(ValueError, match="unknown split 'test'"):
        PandaSet(sequence, split="test")
    with pytest.raises(ValueError, match="name one of them"):
        PandaSet(sequence, split="val", frames=[0])
    with pytest.raises(ValueError, match="holds no lidar"):
        PandaSet(sequence / "camera")


@pytest.mark.parametrize(("frames", "border"), [(40, 30), (80, 60)])
def test_three_quarters_of_a_sequence_are_to_learn_from(sequence, frames, border):
    lengthen(sequence, frames)
    assert PandaSet(sequence, split="train").frames == tuple(range(border))
    assert PandaSet(sequence, split="val").frames == tuple(range(border, frames))


@pytest.mark.parametrize("label", [43, 255])
def test_labels_that_pandaset_does_not_have_are_refused(sequence, label):
    rewrite(sequence / "lidar" / "00.npz", label=np.array([13, label, 0], np.uint8))
    with pytest.raises(
        ValueError, match=rf"00\.npz holds the labels \[{label}\] at 1 points of 3.* in 0\.\.42"
    ):
        PandaSet(sequence)[0]


def test_label_maps_are_looked_for_beside_the_images(sequence):
    data = PandaSet(sequence)
    assert data.label_map_path("007-01", 3) == sequence / "semantic_maps" / "back_camera" / "01.png"
    with pytest.raises(ValueError, match="no camera 6 of sample '007-01'"):
        data.label_map_path("007-01", 6)
    with pytest.raises(ValueError, match="no camera 0 of sample '../x'"):
        data.label_map_path("../x", 0)


def test_images_are_read_when_asked_for_and_named_when_missing(sequence):
    data = PandaSet(sequence)
    assert data[0].read_image(0).shape == (HEIGHT, WIDTH, 3)
    second = data[1]
    with pytest.raises(ValueError, match="front_right_camera.01.jpg is missing"):
        second.read_image(1)


def test_images_are_found_whatever_their_suffix(sequence):
    path = sequence / "camera" / CAMERAS[0] / "00.jpg"
    with Image.open(path) as image:
        image.save(path.with_suffix(".png"))
    path.unlink()
    assert PandaSet(sequence)[0].read_image(0).shape == (1080, 1920, 3)


def rewrite(path, **changes):
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive}
    np.savez(path, **{**arrays, **changes})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"xyz": np.full((3, 3), np.nan, np.float32)}, "3 points of 3 with NaN"),
        ({"label": np.zeros(2, np.uint8)}, "array label of .* has shape"),
        ({"xyz": np.zeros((3, 2), np.float32)}, "array xyz of .* has shape"),
        ({"sensor": np.full(3, 7, np.uint8)}, "holds no points"),
    ],
)
def test_broken_clouds_are_named(sequence, changes, fault):
    rewrite(sequence / "lidar" / "00.npz", **changes)
    with pytest.raises(ValueError, match=fault) as caught:
        PandaSet(sequence)[0]
    assert "00.npz" in str(caught.value)


def test_a_truncated_cloud_is_named(sequence):
    path = sequence / "lidar" / "01.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="01.npz cannot be read"):
        PandaSet(sequence)[1]


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("lidar/poses.json", [pose()], "poses.json does not hold a position"),
        (
            "lidar/poses.json",
            [{**pose(), "heading": {"w": 1, "x": 1, "y": 0, "z": 0}}] * 2,
            "not a rigid motion",
        ),
        ("camera/left_camera/poses.json", {"a": 1}, "left_camera.poses.json does not hold"),
        ("camera/left_camera/intrinsics.json", {"fx": 1.0}, "intrinsics.json should hold"),
        ("camera/left_camera/intrinsics.json", {"fx": 0.0, "fy": 1, "cx": 1, "cy": 1}, "positive finite"),
    ],
)
def test_broken_calibration_is_named(sequence, file, content, fault):
    (sequence / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=fault):
        PandaSet(sequence)


@pytest.mark.real_data
def test_a_real_2d_segmenter_agrees_with_the_real_lidar_labels_as_measured_before(real_data):
    data = PandaSet(real_data / "pandaset-002", split="val")
    assert len(data) == 10
    sample = data[4]
    pairs = project_points(sample.cloud.positions, sample.cameras)
    accuracy = point_accuracy(data, sample, pairs)
    assert 0.84 < accuracy < 0.89  # 86 % were measured over the whole drive
    kept = drop_occluded(pairs, sample.cameras)
    assert 0.80 < len(kept) / len(pairs) < 0.95
    assert point_accuracy(data, sample, kept) > accuracy + 0.02, "what is dropped is mostly wrong"


def point_accuracy(data, sample, pairs):
    guess = torch.full((len(pairs),), IGNORE_LABEL)
    for view in range(len(sample.cameras)):
        labels = torch.from_numpy(
            np.asarray(Image.open(data.label_map_path(sample.token, view))).astype(np.int64)
        )
        mine = pairs.views == view
        height, width = labels.shape
        columns = ((pairs.pixels[mine, 0] + 0.5) * width / WIDTH).long()
        rows = ((pairs.pixels[mine, 1] + 0.5) * height / HEIGHT).long()
        guess[mine] = labels[rows, columns]
    truth = sample.labels[pairs.points]
    return (guess == truth)[truth >= 0].float().mean().item()


@pytest.mark.real_data
def test_where_real_points_are_called_moved_the_keyframe_has_none(real_data):
    data = PandaSet(real_data / "pandaset-002", frames=[20], sensor="spinning", labels=False, sweeps=5)
    sample = data[0]
    assert len(sample.sweeps) == 4
    sweep, keyframe = sample.sweeps[-1].positions, sample.cloud.positions
    apart = torch.from_numpy(cKDTree(keyframe.numpy()).query(sweep.numpy())[0])
    assert apart.median() < 0.05, "most of the street lies where it lay 0.4 s before"
    gone = seen_through(sweep, keyframe, viewpoint=data.viewpoint)
    assert 0.005 < gone.float().mean() < 0.05
    assert (apart[gone] > 0.3).float().mean() > 0.97


def test_a_pose_that_no_vehicle_reaches_is_named(sequence):
    (sequence / "lidar" / "poses.json").write_text(json.dumps([pose(), pose(y=2000.0)]))
    with pytest.raises(
        ValueError, match=r"poses\.json: the vehicle in frame 1 is 2000 m from the place 100 ms"
    ):
        PandaSet(sequence)
