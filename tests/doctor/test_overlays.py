import numpy as np
from PIL import Image
from tests.doctor.conftest import PAIRING

from clip2scene.datasets.nuscenes.loader import CAMERAS, NuScenes
from clip2scene.doctor.overlays import draw_overlays


def test_pictures_show_one_sample_as_each_camera_sees_it(tiny_toytown, tmp_path):
    dataset = NuScenes(tiny_toytown, labels=False)
    drawn = draw_overlays(dataset, PAIRING, folder=tmp_path / "pictures")
    token = dataset.tokens[1]
    assert [path.name for path in drawn] == [f"{token}-{name}.png" for name in CAMERAS]
    for path in drawn:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        bright = (pixels[..., 0] > 200) & (pixels[..., 2] < 150)  # near points, pale and red
        assert pixels.shape[1] == 1600 and bright.mean() > 0.01
