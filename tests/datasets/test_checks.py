import pytest
import torch
from tests.damages import a_picture, save, try_damages

from clip2scene.datasets.checks import describe_folder, list_images, read_image
from clip2scene.datasets.kitti.files import colour_camera


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
