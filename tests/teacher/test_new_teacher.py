"""The section "A teacher" of docs/extending.md, run: a teacher of a few lines, lifted onto points."""

import torch

from clip2scene.distill.lift import LiftOptions, PairingOptions, lift_split
from clip2scene.distill.lifted import load_lifted
from clip2scene.types import Camera, PointCloud, Prompts, Sample

OPTIONS = LiftOptions(PairingOptions(occlusion_test=False))
COLOURS = Prompts(("red", "green", "blue"), ("red", "green", "blue"), torch.arange(3), torch.eye(3))


class Colours:
    """A teacher whose embedding of a pixel is its colour."""

    def __call__(self, sample):
        return PixelColours([sample.read_image(view) for view in range(len(sample.cameras))])


class PixelColours:
    """What the teacher predicts for one sample."""

    def __init__(self, images):
        self.images = images

    def logits_at(self, pairs, text):
        column, row = pairs.pixels.round().long().unbind(1)
        pixels = zip(pairs.views, row, column, strict=True)
        colours = torch.stack([self.images[view][v, u] / 255 for view, v, u in pixels])
        return colours @ text.T


class OneSweep:
    """A point to the left, one ahead and one behind of a camera that looks along x."""

    tokens = ("a",)

    def __getitem__(self, index):
        image = torch.zeros(21, 21, 3, dtype=torch.uint8)
        image[:, :8, 0], image[:, 8:, 2] = 200, 200
        intrinsics = torch.tensor([[10.0, 0, 10], [0, 10, 10], [0, 0, 1]])
        camera_from_lidar = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
        camera = Camera("front", intrinsics, camera_from_lidar, 21, 21)
        positions = torch.tensor([[5.0, 3, 0], [5.0, 0, 0], [-5.0, 0, 0]])
        return Sample("a", PointCloud(positions, torch.ones(3, 1)), (camera,), lambda view: image)


def test_a_teacher_of_a_few_lines_gives_pseudo_labels(tmp_path):
    (path,) = lift_split(OneSweep(), Colours(), COLOURS, tmp_path, options=OPTIONS)
    assert load_lifted(path).teacher_labels().tolist() == [0, 2, -1]
