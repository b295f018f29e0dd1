import numpy as np
import pytest
import torch
from PIL import Image
from tests.damages import a_picture, save, try_damages

from clip2scene.datasets.checks import read_image
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


@pytest.mark.parametrize("mode", ["I;16", "I", "F", "CMYK", "RGB", "RGBA", "L", "P", "1"])
def test_images_of_more_than_8_bits_are_refused_and_never_cut_to_white(tmp_path, mode):
    picture = Image.fromarray(a_picture()).convert(mode.removesuffix(";16"))
    if mode == "I;16":
        picture = Image.fromarray(np.full((30, 40), 4000, np.uint16))
    path = tmp_path / f"a{'.tiff' if mode in ('I', 'F', 'CMYK') else '.png'}"
    picture.save(path)
    if mode in ("RGB", "RGBA", "L", "P", "1"):
        assert read_image(path, 40, 30).float().std() > 1
    else:
        with pytest.raises(ValueError, match=rf"a\.\w+ has {mode} pixels, expected 8 bits of colour or grey"):
            read_image(path, 40, 30)
