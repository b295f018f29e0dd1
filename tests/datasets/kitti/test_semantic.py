import builtins
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tests.datasets.kitti.conftest import LABELS, P2, POINTS, TR, open_val, write

from clip2scene.classes.tables import SEMANTIC_KITTI, TOYTOWN_KITTI
from clip2scene.datasets.dataset import count_images
from clip2scene.datasets.kitti.semantic import SPLITS, SemanticKitti
from clip2scene.doctor.timing import check_times
from clip2scene.geometry.projection import invert_rigid, project_points
from clip2scene.types import IGNORE_LABEL


def test_a_sample_holds_the_cloud_as_it_is_with_one_camera(root):
    dataset = open_val(root)
    assert dataset.tokens == ("08-000000", "08-000001", "08-000002") and len(dataset) == 3
    sample = dataset[1]
    assert sample.token == "08-000001" and sample.sweeps == ()
    assert sample.cloud.positions.tolist() == POINTS[:, :3].tolist()
    assert sample.cloud.features.tolist() == POINTS[:, 3:].tolist()
    (camera,) = sample.cameras
    assert (camera.name, camera.width, camera.height) == ("image_2", 1220, 370)
    assert sample.read_image(0)[5, 7].tolist() == [1, 0, 200]


def test_pixels_are_those_of_p2_times_tr_offset_included(root):
    sample = open_val(root)[0]
    p2, tr = (np.array(text.split(), float).reshape(3, 4) for text in (P2, TR))
    rays = p2 @ np.vstack([tr, [0, 0, 0, 1]]) @ np.append(POINTS[1, :3], 1.0)
    pairs = project_points(sample.cloud.positions, sample.cameras)
    assert pairs.points.tolist() == [0, 1]
    assert np.allclose(pairs.pixels[1].numpy(), rays[:2] / rays[2], atol=1e-3)
    assert pairs.depths[1].item() == pytest.approx(rays[2], abs=1e-4)


def test_labels_are_the_lower_bits_with_moving_things_merged(root):
    car, road = (SEMANTIC_KITTI.classes.index(name) for name in ("car", "road"))
    assert open_val(root)[0].labels.tolist() == [car, road, IGNORE_LABEL, IGNORE_LABEL]
    few = open_val(root, class_set=TOYTOWN_KITTI)[0].labels
    assert few.tolist() == [0, TOYTOWN_KITTI.classes.index("road"), IGNORE_LABEL, IGNORE_LABEL]


def test_without_labels_the_label_folder_is_never_touched(root):
    shutil.rmtree(root / "sequences" / "11" / "labels")
    dataset = SemanticKitti(root, split=None, labels=False, sequences=["11"])
    assert dataset[0].labels is None
    with pytest.raises(ValueError, match=r"lacks 000000.label, in all 2 of 2 .* use labels=False"):
        SemanticKitti(root, sequences=["11"])


def test_labels_of_the_samples_that_are_named_are_enough(root):
    (root / "sequences" / "08" / "labels" / "000000.label").unlink()
    dataset = open_val(root, labels=["08-000001"])
    assert dataset[0].labels is None and len(dataset[1].labels) == 4
    with pytest.raises(ValueError, match=r"lacks 000000.label, in all 1 of 2 .*--labels.count"):
        open_val(root, labels=["08-000001", "08-000000"])


def test_images_keep_the_size_of_their_own_file(root):
    sizes = [(c.width, c.height) for n in range(5) for c in SemanticKitti(root, split=None)[n].cameras]
    assert sizes == [(1220, 370)] * 3 + [(1240, 376)] * 2
    path = root / "sequences" / "08" / "image_2" / "000001.png"
    Image.new("RGB", (1241, 376)).save(path)
    sample = open_val(root)[1]
    assert (sample.cameras[0].width, sample.cameras[0].height) == (1241, 376)
    assert sample.read_image(0).shape == (376, 1241, 3)
    assert torch.equal(sample.cameras[0].intrinsics, open_val(root)[0].cameras[0].intrinsics)


def test_a_missing_image_leaves_the_sample_without_a_camera(root):
    (root / "sequences" / "08" / "image_2" / "000001.png").unlink()
    dataset = open_val(root)
    assert count_images(dataset) == 2
    assert [len(dataset[n].cameras) for n in range(3)] == [1, 0, 1]
    with pytest.raises(ValueError, match="000001.png is missing, so the sample has no camera 0"):
        dataset[1].read_image(0)
    assert open_val(root, need_images=True).tokens == ("08-000000", "08-000002")
    seen = open_val(root, need_images=True, sweeps=2)[1]
    assert seen.token == "08-000002" and seen.sweeps[0].positions[0, 0] == 8, "the sweep just before"
    shutil.rmtree(root / "sequences" / "08" / "image_2")
    with pytest.raises(ValueError, match="none of the sequences 08 of .* has an image in image_2"):
        open_val(root, need_images=True)
    assert count_images(open_val(root)) == 0
    assert open_val(root)[0].cameras == ()


def test_images_are_read_by_content_and_others_named_where_there_are_none(root):
    folder = root / "sequences" / "08" / "image_2"
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    dataset = open_val(root, need_images=True)
    assert len(dataset) == 3 and abs(int(dataset[2].read_image(0)[0, 0, 2]) - 200) < 3
    for path in folder.iterdir():
        path.rename(path.with_suffix(".webp"))
    with pytest.raises(ValueError, match=r"\.png or \.jpg: .*image_2 holds 3 files, such as 000000\.webp"):
        open_val(root, need_images=True)


def test_earlier_sweeps_are_those_just_before_newest_first_in_the_clouds_frame(root):
    samples = [open_val(root, sweeps=3)[number] for number in range(3)]
    assert [len(sample.sweeps) for sample in samples] == [0, 1, 2]
    for back, sweep in enumerate(samples[2].sweeps, 1):
        kept = POINTS[:3]  # the last point lies on the vehicle
        assert torch.allclose(
            sweep.positions, torch.from_numpy(kept[:, :3] - [2.0 * back, 0, 0]).float(), atol=1e-5
        )
        assert sweep.features.tolist() == kept[:, 3:].tolist()


def test_a_turn_is_carried_through_the_frame_of_camera_0(root):
    """The truth, step by step: into camera 0, into the world, into the other camera 0, into the lidar."""
    angle = 0.3
    turned = [np.cos(angle), 0, np.sin(angle), 1.5, 0, 1, 0, -0.1, -np.sin(angle), 0, np.cos(angle), 2.5]
    lines = ["1 0 0 0 0 1 0 0 0 0 1 0", " ".join(map(str, turned)), "1 0 0 0 0 1 0 0 0 0 1 9"]
    (root / "sequences" / "08" / "poses.txt").write_text("\n".join(lines) + "\n")
    found = open_val(root, sweeps=2)[1].sweeps[0].positions
    tr = np.array(TR.split(), float).reshape(3, 4)
    pose = np.array(turned).reshape(3, 4)
    for point, where in zip(POINTS[:3, :3], found, strict=True):
        in_world = tr[:, :3] @ point + tr[:, 3]  # the first pose is the world itself
        in_camera = pose[:, :3].T @ (in_world - pose[:, 3])
        in_lidar = tr[:, :3].T @ (in_camera - tr[:, 3])
        assert np.allclose(where.numpy(), in_lidar, atol=1e-4)


def test_sequences_never_borrow_sweeps_of_another(root):
    dataset = SemanticKitti(root, split=None, sweeps=3)
    assert [len(dataset[number].sweeps) for number in range(5)] == [0, 1, 2, 0, 1]
    with pytest.raises(ValueError, match="asked for 4, found at most 3"):
        SemanticKitti(root, split=None, sweeps=4)


def test_moments_are_those_of_times_and_poses(root):
    (root / "sequences" / "08" / "times.txt").write_text("0.000000e+00\n1.037610e-01\n2.075210e-01\n")
    told = [open_val(root).timestamps(number) for number in range(3)]
    assert [each.cloud_us for each in told] == [0, 103_761, 207_521]
    assert all(each.drive == "08" and each.image_us == {"image_2": None} for each in told)
    ahead = invert_rigid(told[0].world_from_cloud) @ told[2].world_from_cloud
    torch.testing.assert_close(ahead[:3, 3], torch.tensor([4.0, 0, 0]).double(), atol=1e-9, rtol=0)


def test_without_times_and_poses_nothing_is_told_of_moments(root):
    (root / "sequences" / "08" / "poses.txt").unlink()
    told = open_val(root).timestamps(1)
    assert told.cloud_us is None and told.world_from_cloud is None


def test_moments_are_told_where_clouds_are_missing(root):
    """Poses and times go by the cloud's number: half a sequence is healthy as long as sweeps are single."""
    folder = root / "sequences" / "08"
    write(folder / "times.txt", "0.0e+00\n1.0e-01\n2.0e-01\n")
    whole = [open_val(root).timestamps(number) for number in range(3)]
    (folder / "velodyne" / "000001.bin").unlink()
    for number, expected in enumerate((whole[0], whole[2])):
        told = open_val(root).timestamps(number)
        assert told.cloud_us == expected.cloud_us
        assert torch.equal(told.world_from_cloud, expected.world_from_cloud)
    assert not [line for line in check_times(open_val(root), [0, 1]) if line.mark == "fault"]


@pytest.mark.parametrize(
    ("poses", "fault"),
    [
        (2, "holds 2 poses, but .* 2 clouds up to 000002.*; restore it, or remove it to go without poses$"),
        (None, "expected 12 numbers in each line, not so in line 2"),
    ],
)
def test_moments_of_damaged_poses_are_refused_with_advice_that_fits(root, poses, fault):
    folder = root / "sequences" / "08"
    (folder / "velodyne" / "000001.bin").unlink()
    write(folder / "poses.txt", f"{STILL}\n" * poses if poses else f"{STILL}\n1 0\n{STILL}\n")
    with pytest.raises(ValueError, match=fault):
        open_val(root).timestamps(1)


def test_a_pose_is_named_by_its_line_where_clouds_are_missing(root):
    folder = root / "sequences" / "08"
    (folder / "velodyne" / "000001.bin").unlink()
    write(folder / "poses.txt", f"{STILL}\n{STILL}\n{STILL.replace('1', '2')}\n")
    with pytest.raises(ValueError, match="line 3 of .*poses.txt"):
        open_val(root).timestamps(1)


def test_poses_are_not_needed_for_single_sweeps(root):
    (root / "sequences" / "08" / "poses.txt").unlink()
    assert len(open_val(root)) == 3
    with pytest.raises(ValueError, match="poses.txt is missing"):
        open_val(root, sweeps=2)


def test_splits_are_the_official_ones_or_those_of_the_folder_itself(root):
    assert [len(SPLITS[name]) for name in ("train", "val", "test")] == [10, 1, 11]
    assert len({name for names in SPLITS.values() for name in names}) == 22
    with pytest.raises(ValueError, match=r"split 'train'.*it has 08, 11: restore 00, 01, .*splits.json"):
        SemanticKitti(root)
    with pytest.raises(ValueError, match="unknown split 'trai', expected one of train, val, test"):
        SemanticKitti(root, split="trai")
    (root / "splits.json").write_text(
        json.dumps({"train": ["11"], "none": [], "odd": 3, "twice": ["08", "08"]})
    )
    assert SemanticKitti(root).tokens == ("11-000000", "11-000001")
    for split, fault in (("none", "different sequences"), ("odd", "has no list"), ("twice", "a name twice")):
        with pytest.raises(ValueError, match=fault):
            SemanticKitti(root, split=split)
    with pytest.raises(ValueError, match="unknown split 'val', expected one of train, none"):
        open_val(root)
    (root / "splits.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="has no list of names for split 'val'"):
        open_val(root)
    with pytest.raises(ValueError, match="sequences is not a folder"):
        SemanticKitti(root / "nowhere")


def test_class_maps_are_looked_for_beside_the_images(root):
    dataset = open_val(root)
    path = dataset.label_map_path("08-000002", 0)
    assert path == root / "sequences" / "08" / "semantic_maps" / "000002.png"
    for token, view in (("08-000009", 0), ("08-000002", 1)):
        with pytest.raises(ValueError, match="no camera"):
            dataset.label_map_path(token, view)


def test_opening_reads_nothing_but_small_text_files(root, monkeypatch):
    touched, plain = [], builtins.open
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: pytest.fail(f"read {path}"))
    monkeypatch.setattr("PIL.Image.open", lambda path, **o: pytest.fail(f"opened {path}"))
    real = type(root).read_text
    monkeypatch.setattr(
        "pathlib.Path.read_text", lambda path, **o: touched.append(path.name) or real(path, **o)
    )
    monkeypatch.setattr(builtins, "open", lambda path, *a, **o: pytest.fail(f"opened {path}") or plain(path))
    SemanticKitti(root, split=None, sweeps=2)
    assert sorted(touched) == ["calib.txt", "calib.txt", "poses.txt", "poses.txt"]


def points(*changes):
    changed = POINTS.copy()
    for row, column, value in changes:
        changed[row, column] = value
    return changed.tobytes()


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("velodyne/000001.bin", POINTS.tobytes()[:-3], "000001.bin is truncated: 61 bytes"),
        ("velodyne/000001.bin", b"", "000001.bin is empty"),
        ("velodyne/000001.bin", points((2, 1, np.nan)), "1 points of 4 with NaN"),
        ("velodyne/000001.bin", points((2, 1, np.inf), (0, 0, np.nan)), "2 points of 4 with NaN"),
        ("velodyne/000001.bin", points((1, 3, np.nan)), "1 reflectances of 4 that are not in 0..1"),
        ("velodyne/000001.bin", points((1, 3, 255), (0, 3, -1)), "2 reflectances of 4"),
        (
            "velodyne/000001.bin",
            np.zeros((4, 5), "<f4").tobytes() + b"\0" * 16,
            "000001.label holds 4 labels",
        ),
        ("labels/000001.label", LABELS[:3].tobytes(), "holds 3 labels, but its cloud 4 points"),
        ("labels/000001.label", LABELS.tobytes()[:-1], "000001.label is truncated"),
        ("labels/000001.label", b"", "000001.label is empty"),
        ("labels/000001.label", LABELS.astype("<f4").tobytes(), "none of SemanticKITTI's"),
        ("image_2/000001.png", b"", "000001.png cannot be read"),
        ("image_2/000001.png", b"\x89PNG\r\n\x1a\n\0\0", "000001.png cannot be read"),
    ],
)
def test_a_broken_file_is_named_when_its_sample_is_read(root, file, content, fault):
    write(root / "sequences" / "08" / file, content)
    dataset = open_val(root)
    assert len(dataset[0].cloud) == 4
    with pytest.raises(ValueError, match=fault):
        dataset[1]


def test_a_truncated_image_is_named_when_it_is_read(root):
    path = root / "sequences" / "08" / "image_2" / "000001.png"
    noise = np.random.default_rng(0).integers(0, 255, (370, 1220, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    write(path, path.read_bytes()[:100_000])
    sample = open_val(root)[1]
    with pytest.raises(ValueError, match="000001.png cannot be read"):
        sample.read_image(0)


def test_a_cloud_that_disappears_is_named(root):
    dataset = open_val(root)
    (root / "sequences" / "08" / "velodyne" / "000001.bin").unlink()
    with pytest.raises(ValueError, match="000001.bin is missing"):
        dataset[1]


STILL = "1 0 0 0 0 1 0 0 0 0 1 0"


@pytest.mark.parametrize(
    ("poses", "fault"),
    [
        ("", "holds 0 poses, but .*velodyne 3 clouds up to 000002"),
        (f"{STILL}\n" * 2, "holds 2 poses, but .* 3 clouds"),
        (f"{STILL}\n" * 4, "holds 4 poses, but .* 3 clouds"),
        (f"{STILL}\n{STILL} 7\n{STILL}\n", "expected 12 numbers in each line, not so in line 2"),
        (f"{STILL}\n{STILL}\n{STILL[:-4]}\n", "expected 12 numbers in each line, not so in line 3"),
        (f"{STILL}\n{STILL}\n{STILL.replace('1', 'one')}\n", "expected 12 numbers in each line"),
        (f"{STILL}\n{STILL}\n{STILL[:-1]}-12.3", "breaks off, perhaps within a number"),
    ],
)
def test_poses_that_are_not_one_for_each_cloud_are_refused(root, poses, fault):
    write(root / "sequences" / "08" / "poses.txt", poses)
    with pytest.raises(ValueError, match=fault):
        open_val(root, sweeps=2)


def test_poses_are_refused_where_a_cloud_is_missing_even_if_their_number_fits(root):
    folder = root / "sequences" / "08"
    (folder / "velodyne" / "000001.bin").unlink()
    write(folder / "poses.txt", f"{STILL}\n" * 2)
    with pytest.raises(ValueError, match="2 poses, but .* 2 clouds up to 000002"):
        open_val(root, sweeps=2, labels=False)


@pytest.mark.parametrize("wrong", [STILL.replace("1", "2"), STILL.replace("0", "nan"), "0 " * 12])
def test_a_pose_that_is_no_rigid_motion_is_named(root, wrong):
    write(root / "sequences" / "08" / "poses.txt", f"{STILL}\n{wrong}\n{STILL}\n")
    dataset = open_val(root, sweeps=2)
    assert not dataset[0].sweeps
    for number in (1, 2):
        with pytest.raises(ValueError, match="line 2 of .*poses.txt"):
            dataset[number]


def test_a_broken_earlier_sweep_is_named(root):
    write(root / "sequences" / "08" / "velodyne" / "000000.bin", POINTS.tobytes()[:-1])
    with pytest.raises(ValueError, match="000000.bin is truncated"):
        open_val(root, sweeps=2)[1]


def test_a_sequence_without_clouds_is_refused(root):
    shutil.rmtree(root / "sequences" / "08" / "velodyne")
    with pytest.raises(ValueError, match="velodyne holds no NNNNNN.bin"):
        open_val(root)


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_gives_an_error_or_a_sound_sample(root, seed):
    """Cuts and flipped bits anywhere: never another exception, never numbers that are not numbers."""
    rng = np.random.default_rng(seed)
    files = [path for path in sorted((root / "sequences" / "08").rglob("*.*")) if path.suffix != ".png"]
    path = files[seed % len(files)]
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        content = content[: int(rng.integers(len(content)))]
    else:
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))
    try:
        dataset = open_val(root, sweeps=3)
        samples = [dataset[number] for number in range(3)]
    except ValueError as error:
        assert path.name in str(error) or path.with_suffix(".label").name in str(error)
        return
    for sample in samples:
        assert len(sample.cloud) == len(sample.labels) == 4
        for cloud in (sample.cloud, *sample.sweeps):
            assert cloud.positions.isfinite().all() and cloud.features.isfinite().all()
        assert sample.cameras[0].camera_from_lidar.isfinite().all()
        assert sample.labels.min() >= IGNORE_LABEL and sample.labels.max() < len(SEMANTIC_KITTI)


@pytest.mark.parametrize(
    "content", [{"train": 3}, [["a"]], 3, {"train": [1]}, {"train": [["a"]]}, {"train": "08"}, {}, None]
)
def test_a_broken_list_of_splits_is_told_by_its_file(root, content):
    (root / "splits.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"splits\.json") as caught:
        SemanticKitti(root)
    assert "\n" not in str(caught.value)


def test_a_pose_that_no_vehicle_reaches_is_named(root):
    path = root / "sequences" / "08" / "poses.txt"
    path.write_text(path.read_text().replace("1 4.0\n", "1 2004.0\n"))
    assert len(open_val(root)) == 3
    with pytest.raises(
        ValueError, match=r"poses\.txt: the vehicle at cloud 000002 is 2002 m .* 100 ms before"
    ):
        open_val(root, sweeps=2)
