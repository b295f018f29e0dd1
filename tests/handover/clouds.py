"""Small labelled clouds to hand over, and what comes back of them."""

from dataclasses import replace

import numpy as np
import torch

from clip2scene.classes.class_set import ClassSet
from clip2scene.handover.frames import Frame
from clip2scene.types import Camera, PointCloud, Sample

CLASSES = ClassSet(
    "street",
    ("car", "driveable surface", "person & dog <small>"),
    (("car",), ("road",), ("person",)),
    ((255, 158, 0), (0, 207, 191), (0, 0, 230)),
    {},
)
CAMERA = Camera("front cam", torch.tensor([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]]), torch.eye(4), 64, 48)


def frames(count=2, points=40, *, scene="scene-1", rooms=False, confidence=True, placed=True, cameras=()):
    """Clouds with every class and points without a label, far from the world's origin."""
    made = []
    for number in range(count):
        draw = torch.Generator().manual_seed(number)
        positions = (torch.rand(points, 3, generator=draw) - 0.5) * 120
        features = torch.rand(points, 3 if rooms else 1, generator=draw)
        labels = torch.arange(points).sub(number).remainder(4).sub(1)
        pose = np.eye(4)
        pose[:2, :2] = [[0.6, -0.8], [0.8, 0.6]]
        pose[:3, 3] = [1.5 * number, 0.25, 0.0]
        sample = Sample(f"cloud-{number:02d}", PointCloud(positions, features), cameras, read_image)
        made.append(
            Frame(
                sample,
                scene,
                number,
                labels.numpy(),
                torch.rand(points, generator=draw).numpy() if confidence else None,
                1_700_000_000_000_000 + 100_000 * number if placed else None,
                pose if placed else None,
            )
        )
    return made


def read_image(view):
    return torch.full((48, 64, 3), 90 + view, dtype=torch.uint8)


def write(form, folder, some, classes=CLASSES):
    """Write a scene by a format's module."""
    form.write_classes(folder, classes)
    form.write_scene(folder, iter(some), classes)


def named(found, frame):
    """The class of each point as a file says; None without a label."""
    return [None if number in found.none else found.names[number] for number in found.ids.tolist()]


def truth(frame, classes=CLASSES):
    return [None if label < 0 else classes.classes[label] for label in frame.labels.tolist()]


def comes_back(form, folder, some, source=None):
    """Check that names, order and places of all points come back; give what was read."""
    read = list(form.read_labels(folder if source is None else source, [each.name for each in some]))
    by_name = {each.name: each for each in some}
    assert sorted(each.token for each in read) == sorted(by_name)
    for each in read:
        frame = by_name[each.token]
        assert named(each, frame) == truth(frame)
        if each.positions is not None:
            assert np.abs(each.positions - frame.positions).max() <= 6e-5
    return read


def without_pose(frame):
    return replace(frame, pose=None, time_us=None)
