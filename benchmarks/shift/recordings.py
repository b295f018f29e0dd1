"""Real clouds, which no run has seen: what a student says of them, where somebody has labelled something.

PandaSet has a class for each point. It is translated to the run's evaluation classes by the table of
:mod:`clip2scene.classes.mapping`; points of classes that the run does not have are left out. nuScenes'
keyframe and KITTI's frames have boxes: points in a box and more than 15 cm above its floor are the thing's;
ground is what lies within 15 cm of the plane of :func:`clip2scene.geometry.ground.estimate_ground`, within
25 m along x and y, outside of all boxes.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.mapping import map_classes
from clip2scene.classes.tables import PANDASET
from clip2scene.datasets.checks import CLOUD_FROM_SENSOR, read_records
from clip2scene.datasets.kitti.files import read_matrices, read_velodyne, rigid
from clip2scene.datasets.pandaset.loader import PandaSet
from clip2scene.geometry.ground import estimate_ground
from clip2scene.geometry.projection import invert_rigid, transform_points
from clip2scene.types import IGNORE_LABEL, PointCloud

FRAMES = range(30, 40)
"""PandaSet's frames that are judged; others may be trained on."""

NEAR_GROUND_M, REACH_M = 0.15, 25.0

GROUPS: dict[str, tuple[str, ...]] = {
    "vehicle": ("car", "truck", "trailer", "bus", "construction vehicle", "other vehicle"),
    "person": ("pedestrian", "person"),
    "cyclist": ("bicycle", "motorcycle", "bicyclist", "motorcyclist", "rider", "pedestrian", "person"),
    "ground": (
        *("driveable surface", "road", "parking", "other flat", "other ground", "sidewalk", "terrain"),
    ),
}
"""Evaluation classes that are right for the points of a group."""

_NUSCENES_KINDS = {
    **dict.fromkeys(("car", "truck", "trailer", "bus", "construction_vehicle"), "vehicle"),
    "pedestrian": "person",
}
_KITTI_KINDS = {
    **dict.fromkeys(("Car", "Van", "Truck", "Tram"), "vehicle"),
    **dict.fromkeys(("Pedestrian", "Person_sitting"), "person"),
    "Cyclist": "cyclist",
}


@dataclass(frozen=True)
class Box:
    """An upright box around a thing.

    Attributes:
        kind: As its data set names it.
        centre: Of the whole box, in the cloud's frame, metres.
        size: Length, width, height.
        yaw: Of its length, from x towards y, radians.
    """

    kind: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float

    def holds(self, positions: Float[Tensor, "points 3"]) -> Bool[Tensor, " points"]:
        """Say which points lie inside."""
        x, y, z = (positions - torch.tensor(self.centre)).unbind(1)
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        along, across = cos * x + sin * y, cos * y - sin * x
        length, width, height = self.size
        return (along.abs() <= length / 2) & (across.abs() <= width / 2) & (z.abs() <= height / 2)

    def thing(self, positions: Float[Tensor, "points 3"]) -> Bool[Tensor, " points"]:
        """Say which points lie inside, but not on the ground below the thing."""
        floor = self.centre[2] - self.size[2] / 2
        return self.holds(positions) & (positions[:, 2] > floor + NEAR_GROUND_M)


@dataclass(frozen=True)
class Labelled:
    """A real cloud with a class for each point.

    Attributes:
        name: Of the cloud, fit for a file name.
        kind: What its scores are added up under.
        cloud: The sensor at the origin.
        truth: Train id in the evaluation classes, ``IGNORE_LABEL`` where they have none.
    """

    name: str
    kind: str
    cloud: PointCloud
    truth: Int[Tensor, " points"]


@dataclass(frozen=True)
class Boxed:
    """A real cloud with groups of points that are known: by group, which points."""

    name: str
    kind: str
    cloud: PointCloud
    groups: dict[str, Bool[Tensor, " points"]]


Recording: TypeAlias = Labelled | Boxed


def read_recordings(root: Path, evaluated: ClassSet) -> Iterator[Recording]:
    """Read what there is of PandaSet's sequence 002, nuScenes' keyframe and KITTI's frames.

    Args:
        root: Folder with ``pandaset-002``, ``nuscenes-keyframe`` and ``kitti-object``, or some of them.
        evaluated: The run's evaluation classes.
    """
    if (root / "pandaset-002").is_dir():
        yield from read_pandaset(root / "pandaset-002", evaluated)
    if (root / "nuscenes-keyframe").is_dir():
        yield read_keyframe(root / "nuscenes-keyframe")
    if (root / "kitti-object").is_dir():
        yield from read_kitti(root / "kitti-object" / "training")


def read_pandaset(root: Path, evaluated: ClassSet, frames: Sequence[int] = FRAMES) -> Iterator[Labelled]:
    """Read frames of both lidars together, and of each alone."""
    train_ids = torch.cat([map_classes(PANDASET, evaluated), torch.tensor([IGNORE_LABEL])])
    origin = torch.tensor(PandaSet.viewpoint)
    for sensor, kind in (
        ("all", "both lidars"),
        ("spinning", "spinning lidar"),
        ("forward", "forward lidar"),
    ):
        dataset = PandaSet(root, frames=frames, sensor=sensor)
        for number, token in enumerate(dataset.tokens):
            sample = dataset[number]
            assert sample.labels is not None
            cloud = PointCloud(sample.cloud.positions - origin, sample.cloud.features)
            yield Labelled(f"{token}-{sensor}", f"PandaSet, {kind}", cloud, train_ids[sample.labels])


def read_keyframe(root: Path) -> Boxed:
    """Read the keyframe of nuScenes; its file has the lidar's own axes, x right and y forward."""
    (path,) = root.glob("*LIDAR_TOP*.pcd.bin")
    records = torch.from_numpy(read_records(path, "<f4", columns=5).copy())
    cloud = PointCloud(transform_points(CLOUD_FROM_SENSOR, records[:, :3]), records[:, 3:4] / 255)
    info = json.loads((root / "info.json").read_text(encoding="utf-8"))
    kind_of = {number: kind for kind, number in info["metainfo"]["categories"].items()}
    boxes = []
    for each in info["sample"]["instances"]:
        x, y, z, length, width, height, yaw = each["bbox_3d"]
        kind = kind_of.get(each["bbox_label_3d"], "another")
        boxes.append(Box(kind, (y, -x, z), (length, width, height), yaw - np.pi / 2))
    return Boxed("nuscenes-keyframe", "nuScenes keyframe", cloud, find_groups(cloud, boxes, _NUSCENES_KINDS))


def read_kitti(root: Path) -> Iterator[Boxed]:
    """Read KITTI's frames; boxes are upright in the camera's frame, and are taken to be in the lidar's."""
    for path in sorted((root / "velodyne").glob("*.bin")):
        shapes = {"R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
        matrices = read_matrices(root / "calib" / f"{path.stem}.txt", shapes)
        rectified, camera = (rigid(matrices[name], name) for name in shapes)
        lidar_from_rectified = invert_rigid(rectified @ camera)
        boxes = []
        for line in (root / "label_2" / f"{path.stem}.txt").read_text(encoding="ascii").splitlines():
            kind, *numbers = line.split()
            height, width, length, x, y, z, turn = map(float, numbers[7:14])
            middle = torch.tensor([[x, y - height / 2, z]], dtype=torch.float64)
            centre = transform_points(lidar_from_rectified, middle)[0].tolist()
            boxes.append(
                Box(kind, (centre[0], centre[1], centre[2]), (length, width, height), -turn - np.pi / 2)
            )
        cloud = read_velodyne(path)
        boxes = [box for box in boxes if box.kind != "DontCare"]
        yield Boxed(f"kitti-{path.stem}", "KITTI object", cloud, find_groups(cloud, boxes, _KITTI_KINDS))


def find_groups(
    cloud: PointCloud, boxes: Sequence[Box], group_of_kind: dict[str, str]
) -> dict[str, Bool[Tensor, " points"]]:
    """Find the points of things in boxes by group, and those of the ground outside of all boxes.

    Raises:
        ValueError: If there is no ground.
    """
    positions = cloud.positions
    groups = {group: torch.zeros(len(cloud), dtype=torch.bool) for group in GROUPS}
    boxed = torch.zeros(len(cloud), dtype=torch.bool)
    for box in boxes:
        boxed |= box.holds(positions)
        if box.kind in group_of_kind:
            groups[group_of_kind[box.kind]] |= box.thing(positions)
    ground = estimate_ground(positions, reach=REACH_M)
    if ground is None:
        raise ValueError("no ground was found in the cloud; expected a street, z up, in metres")
    near = (positions[:, :2].abs() < REACH_M).all(1)
    groups["ground"] = near & (ground.height_above(positions).abs() < NEAR_GROUND_M) & ~boxed
    return groups
