"""Files of recordings with a colour and a depth camera: depth images, poses, intrinsics."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.tables import SCANNET, SCANNET_200
from clip2scene.datasets.checks import check_middle, find_class_set, read_image
from clip2scene.datasets.kitti.files import colour_camera
from clip2scene.geometry.projection import check_intrinsics, check_rigid, invert_rigid
from clip2scene.images import read_values
from clip2scene.io import read_text
from clip2scene.types import Camera, DepthImage, PointCloud, Sample

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a recording are used.

    Attributes:
        step: Every so many of the recorded frames is asked for.
        most: At most so many of these are taken, spread evenly.
        most_skipped: Share of the frames asked for that may be unusable, in 0..1; above it the recording is
            refused.
    """

    step: int = 20
    most: int = 16
    most_skipped: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what chooses nothing."""
        if self.step < 1 or self.most < 1 or not 0 <= self.most_skipped <= 1:
            raise ValueError(
                "expected a step of frames and a number of views of 1 or more, and a share in 0..1 of frames "
                f"that may be skipped, got {self.step}, {self.most} and {self.most_skipped}"
            )


@dataclass(frozen=True)
class Frame:
    """One colour image and one depth image of a recording, taken together.

    Attributes:
        name: Of the moment, unique in its recording.
        image: The colour image's file.
        depth: The depth image's file.
        camera_from_world: Where the colour camera stood.
        depth_from_world: Where the depth camera stood, at its own moment.
    """

    name: str
    image: Path
    depth: Path
    camera_from_world: Float[Tensor, "4 4"]
    depth_from_world: Float[Tensor, "4 4"]


@dataclass(frozen=True)
class Chosen:
    """The frames of a recording that are used, and what became of the others.

    Attributes:
        frames: In order of time.
        asked: How many frames the step over the recording led to.
        lost: How many of these have no pose because tracking was lost.
        missing: How many of these lack a file.
    """

    frames: tuple[Frame, ...]
    asked: int
    lost: int = 0
    missing: int = 0


def choose(usable: Sequence[Frame], choice: FrameChoice, *, lost: int, missing: int, where: str) -> Chosen:
    """Take at most so many frames, spread evenly from the first to the last, and report the others.

    Args:
        usable: The frames asked for that have all they need.
        choice: How many to take, and how many may be unusable.
        lost: Frames asked for that have no pose.
        missing: Frames asked for that lack a file.
        where: The recording, for messages.

    Raises:
        ValueError: If too many are unusable, or none is usable.
    """
    asked = len(usable) + lost + missing
    if lost or missing or not usable:
        unusable = f"of {asked} frames, {lost} have lost their pose and {missing} lack a file"
        if lost + missing > choice.most_skipped * asked or not usable:
            raise ValueError(
                f"{where}: {unusable}; a share of {choice.most_skipped:g} may be left out: restore them, or "
                "leave the recording out of the split"
            )
        _log.warning("%s: %s; left out", where, unusable)
    taken = np.linspace(0, len(usable) - 1, min(choice.most, len(usable))).round().astype(int)
    return Chosen(tuple(usable[number] for number in taken), asked, lost, missing)


def read_numbers(path: Path) -> Float[np.ndarray, "..."]:
    """Read a text file of numbers, a row a line; a number may be infinite or NaN.

    Raises:
        ValueError: If the file is missing or holds anything else, or rows of different length.
    """
    text = read_text(path)
    try:
        rows = [line.split() for line in text.splitlines() if line.strip()]
        return np.array([[float(word) for word in row] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as rows of numbers ({error}); restore it") from None


def read_pose(path: Path) -> Float[Tensor, "4 4"] | None:
    """Read a camera's pose (world_from_camera) and turn it round.

    Returns:
        ``camera_from_world``, or None where a number is not finite: tracking was lost.

    Raises:
        ValueError: If the file is missing or broken, or holds no rigid motion.
    """
    pose = read_numbers(path)
    if pose.shape != (4, 4):
        raise ValueError(f"{path}: expected a pose of 4 rows of 4 numbers, got {pose.shape}; restore it")
    if not np.isfinite(pose).all():
        return None
    world_from_camera = torch.from_numpy(pose)
    check_rigid(world_from_camera, str(path))
    return invert_rigid(world_from_camera)


def read_intrinsics(path: Path) -> Float[Tensor, "3 3"]:
    """Read intrinsics, 3x3 or padded to 4x4.

    Raises:
        ValueError: If the file is missing or broken, or the matrix is that of no pinhole camera.
    """
    matrix = read_numbers(path)
    if matrix.shape not in ((3, 3), (4, 4)):
        raise ValueError(f"{path}: expected 3x3 or 4x4 numbers, got {matrix.shape}; restore it")
    corner = torch.from_numpy(matrix[:3, :3].copy())
    check_intrinsics(corner, str(path))
    return corner


def check_no_extrinsics(path: Path) -> None:
    """Refuse a camera that stands elsewhere than the poses say; a file that is absent says nothing.

    Raises:
        ValueError: If the matrix is not the identity.
    """
    if path.exists():
        matrix = read_numbers(path)
        if matrix.shape != (4, 4) or not np.abs(matrix - np.eye(4)).max() < 1e-4:
            raise ValueError(
                f"{path} is not the identity: depth was not brought to the colour camera, so poses are not "
                "those of both; use the calibrated .sens files (the official ones are)"
            )


def frame_files(chosen: Chosen) -> list[Path]:
    """List the images and depth images of the frames that are used."""
    return [path for frame in chosen.frames for path in (frame.image, frame.depth)]


def room_classes(classes: str) -> ClassSet:
    """Give ScanNet's 20 classes, or its 200; all rooms have these."""
    return find_class_set(classes, {"own": SCANNET, SCANNET_200.name: SCANNET_200})


def refuse_sweeps(sweeps: int) -> None:
    """Refuse several sweeps of a room.

    Raises:
        ValueError: If more than one is asked for.
    """
    if sweeps > 1:
        raise ValueError(f"rooms have no sweeps, got {sweeps}; use 1")


@dataclass(frozen=True)
class Optics:
    """The intrinsics of the two cameras of a recording, and the unit of its depth images.

    Attributes:
        colour: Intrinsics of the colour camera.
        depth: Intrinsics of the depth camera.
        units_per_m: How many units of a depth image make a metre.
        invalid: Values of a depth image besides 0 that mean that nothing was measured.
    """

    colour: Float[Tensor, "3 3"]
    depth: Float[Tensor, "3 3"]
    units_per_m: float
    invalid: tuple[int, ...] = ()


def make_sample(token: str, cloud: PointCloud, frames: Sequence[Frame], optics: Optics) -> Sample:
    """Make a sample of a cloud and the frames that show it; of images no more than headers are read.

    Raises:
        ValueError: If an image's header cannot be read, or it has another size than the intrinsics.
    """
    frames = tuple(frames)
    cameras = tuple(
        colour_camera(frame.image, frame.name, optics.colour, frame.camera_from_world) for frame in frames
    )
    read_colour = partial(_read_colour, frames, cameras)
    return Sample(token, cloud, cameras, read_colour, read_depth=partial(read_depth_image, frames, optics))


def _read_colour(
    frames: tuple[Frame, ...], cameras: tuple[Camera, ...], view: int
) -> UInt8[Tensor, "height width 3"]:
    return read_image(frames[view].image, cameras[view].width, cameras[view].height)


def read_depth_image(frames: Sequence[Frame], optics: Optics, view: int) -> DepthImage:
    """Read a frame's depth image, whole numbers of 16 bits; its size is the depth camera's.

    Raises:
        ValueError: If the file is missing or broken, has not 16 bits, or is clearly of another size than the
            intrinsics.
    """
    path = frames[view].depth
    raw = read_values(path, f"depth image {path}")
    if raw.ndim != 2 or raw.dtype.kind not in "iu" or raw.dtype.itemsize == 1:
        raise ValueError(
            f"depth image {path} has pixels of {raw.dtype} and the shape {raw.shape}, expected one channel "
            "of 16 bits; write it as it was measured"
        )
    height, width = raw.shape
    check_middle(optics.depth, (width, height), f"depth image {path}", of=f"depth images in {path.parent}")
    depths = raw.astype(np.float32) / np.float32(optics.units_per_m)
    depths[np.isin(raw, optics.invalid)] = 0.0
    motion = frames[view].depth_from_world.float()
    camera = Camera(frames[view].name, optics.depth.float(), motion, width, height)
    return DepthImage(camera, torch.from_numpy(depths))
