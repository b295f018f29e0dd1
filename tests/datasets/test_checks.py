import numpy as np
import pytest
import torch
from tests.damages import a_picture, save, try_damages

from clip2scene.datasets.checks import check_middle, describe_folder, is_cut, list_images, read_image
from clip2scene.datasets.kitti.files import colour_camera, read_velodyne
from clip2scene.datasets.nuscenes.loader import _read_points


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_images_are_read_in_their_size_or_refused(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", a_picture())
    intrinsics = torch.tensor([[40.0, 0, 19.5], [0, 40, 14.5], [0, 0, 1]])

    def check(found):
        image, camera = found
        assert image.shape == (30, 40, 3) and image.dtype == torch.uint8
        assert 10 < camera.width < 79 and 10 < camera.height < 59  # others do not go with the intrinsics

    def read():
        camera = colour_camera(path, "front", intrinsics, torch.eye(4))
        return read_image(path, 40, 30), camera

    assert try_damages(path, read, check, number=120) > 50


def test_images_are_listed_by_name_whatever_their_suffix_and_two_of_a_name_refused(tmp_path):
    for name in ("000001.PNG", "000002.jpg", "000003.jpeg", "000004.webp", "._000005.png", "note.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in list_images(tmp_path, "[0-9]{6}").values()] == [
        "000001.PNG",
        "000002.jpg",
        "000003.jpeg",
    ]
    assert describe_folder(tmp_path) == f"{tmp_path} holds 5 files, such as 000001.PNG"
    (tmp_path / "000002.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds both 000002\.jpg and 000002\.png; keep one"):
        list_images(tmp_path, "[0-9]{6}")
    assert list_images(tmp_path / "none", ".*") == {}
    assert describe_folder(tmp_path / "none") == f"there is no folder {tmp_path / 'none'}"


def intrinsics(cx, cy):
    return torch.tensor([[500.0, 0, cx], [0, 500, cy], [0, 0, 1]])


@pytest.mark.parametrize(
    ("middle", "size"),
    [
        ((609.56, 172.85), (1242, 375)),  # KITTI 03, the farthest off of its drives
        ((607.19, 185.22), (1241, 376)),
        ((601.89, 183.11), (1226, 370)),
        ((829.2, 481.8), (1600, 900)),  # a nuScenes camera
        ((807.6, 501.1), (1600, 900)),
        ((970.0, 483.3), (1920, 1080)),  # PandaSet's front camera
        ((325.1, 255.3), (640, 480)),  # TUM
        ((647.8, 483.6), (1296, 968)),  # ScanNet
    ],
)
def test_images_of_their_calibrations_size_pass_and_those_resized_by_a_fifth_are_refused(
    middle, size, caplog
):
    check_middle(intrinsics(*middle), size, "it", of="images of mine")
    for factor in (0.5, 0.8, 1.25, 2.0):
        resized = (round(size[0] * factor), round(size[1] * factor))
        with pytest.raises(
            ValueError, match=f"it: the principal point .*got {resized[0]}x{resized[1]}; restore"
        ):
            check_middle(intrinsics(*middle), resized, "it", of="images of mine")
    assert not caplog.text


def test_images_that_were_cut_are_noted_once(caplog):
    for _ in range(2):
        check_middle(intrinsics(199.5, 111.5), (400, 100), "a", of="front, cut below the middle")
    assert (
        caplog.text.count("note: front, cut below the middle: the principal point [199.5, 111.5] lies far")
        == 1
    )
    assert is_cut(intrinsics(199.5, 111.5), (400, 100)) and not is_cut(intrinsics(199.5, 111.5), (400, 224))


@pytest.mark.parametrize("width", [4, 5, 6])
def test_records_of_another_width_are_told_as_that_and_not_as_strange_numbers(tmp_path, width):
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 20, 600)
    points = np.stack([20 * np.cos(angles), 20 * np.sin(angles), angles / 10 - 1.7], 1)
    rest = [rng.uniform(0, 1, 600), np.arange(600) // 60, 1e3 + angles]
    path = tmp_path / "a.bin"
    np.column_stack([points, *rest])[:, :width].astype("<f4").tofile(path)
    for read, expected in ((read_velodyne, 4), (_read_points, 5)):
        if width == expected:
            assert len(read(path)) == 600
            continue
        with pytest.raises(
            ValueError, match=f"looks like {width} float32 numbers a point, expected {expected}"
        ):
            read(path)


def test_other_faults_of_records_stay_what_they_are(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(ValueError, match="missing"):
        read_velodyne(path)
    np.full((300, 4), np.nan, "<f4").tofile(path)
    with pytest.raises(ValueError, match="NaN or infinite coordinates"):
        read_velodyne(path)
