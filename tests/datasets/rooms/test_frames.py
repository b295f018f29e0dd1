import numpy as np
import pytest
import torch
from PIL import Image
from tests.damages import save, try_damages
from tests.datasets.rooms.conftest import EVERY, SCENE, STILL, write_scene

from clip2scene.datasets.rooms.frames import Frame, FrameChoice, Optics, read_depth_image
from clip2scene.datasets.rooms.scannet import ScanNet

LOST = "-inf -inf -inf -inf\n" * 4


@pytest.mark.parametrize(
    ("step", "most", "frames"),
    [
        (1, 99, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (5, 99, [0, 5, 10]),
        (1, 4, [0, 4, 7, 11]),
        (3, 1, [0]),
    ],
)
def test_every_so_many_frames_are_taken_at_most_so_many_in_order_of_their_numbers(
    tmp_path, step, most, frames
):
    write_scene(tmp_path, frames=12)  # as text, 10 would come before 2
    sample = ScanNet(tmp_path, choice=FrameChoice(step, most))[0]
    assert [camera.name for camera in sample.cameras] == [f"frame-{number}" for number in frames]


def test_lost_poses_and_missing_files_are_counted_and_reported(scene, tmp_path, caplog):
    (scene / "pose" / "1.txt").write_text(LOST)
    (scene / "depth" / "2.png").unlink()
    dataset = ScanNet(tmp_path, choice=EVERY)
    assert [camera.name for camera in dataset[0].cameras] == ["frame-0", "frame-3"]
    chosen = dataset.frames(SCENE)
    assert (chosen.asked, chosen.lost, chosen.missing) == (4, 1, 1)
    assert "of 4 frames, 1 have lost their pose and 1 lack a file; left out" in caplog.text
    dataset[0]
    assert caplog.text.count("left out") == 1
    (scene / "pose" / "0.txt").write_text(STILL.replace("1 0 0 0", "nan 0 0 0"))
    with pytest.raises(ValueError, match="2 have lost their pose.*share of 0.5"):
        ScanNet(tmp_path, choice=EVERY)[0]
    assert len(ScanNet(tmp_path, choice=FrameChoice(1, 16, 0.75))[0].cameras) == 1
    (scene / "pose" / "3.txt").write_text(LOST)
    with pytest.raises(ValueError, match="3 have lost their pose"):
        ScanNet(tmp_path, choice=FrameChoice(1, 16, 1.0))[0]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((30, 40), np.uint8), "one channel of 16 bits"),
        (np.zeros((30, 40, 3), np.uint8), "one channel of 16 bits"),
        (np.zeros((240, 320), np.uint16), "depth image .* is that of images of about"),
    ],
)
def test_a_depth_image_of_another_kind_is_refused(scene, tmp_path, pixels, message):
    Image.fromarray(pixels).save(scene / "depth" / "0.png")
    sample = ScanNet(tmp_path, choice=EVERY)[0]
    with pytest.raises(ValueError, match=message):
        sample.read_depth(0)


def test_depth_images_are_read_as_finite_metres_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = save(tmp_path / "a.png", rng.integers(0, 5000, (30, 40)).astype(np.uint16))
    intrinsics = torch.tensor([[40.0, 0, 19.5], [0, 40, 14.5], [0, 0, 1]])
    frame = Frame("a", path, path, torch.eye(4), torch.eye(4))

    def check(image):
        assert image.depths.isfinite().all() and 0 <= image.depths.min() <= image.depths.max() < 66

    def read():
        return read_depth_image([frame], Optics(intrinsics, intrinsics, 1000.0), 0)

    assert try_damages(path, read, check, number=120) > 50
