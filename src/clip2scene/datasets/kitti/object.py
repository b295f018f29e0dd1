"""KITTI's object benchmark: one lidar, one colour camera, no labels of points.

What it labels are boxes around some objects in the image; they are not read here. Raw recordings of
the same vehicle are read by :mod:`clip2scene.datasets.kitti.raw`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from jaxtyping import Float, UInt8
from torch import Tensor

from clip2scene.classes.tables import SEMANTIC_KITTI, ClassSet
from clip2scene.datasets.checks import (
    MissingLabelsError,
    check_enough_sweeps,
    check_sweeps,
    describe_folder,
    list_images,
    read_image,
)
from clip2scene.datasets.dataset import CloudReader, InputPatterns, OpenOptions, any_format
from clip2scene.datasets.kitti.files import (
    CAMERA,
    VIEWPOINT,
    colour_camera,
    list_names,
    read_matrices,
    read_velodyne,
    rigid,
    split_projection,
)
from clip2scene.datasets.kitti.labels import street_classes
from clip2scene.types import Camera, PointCloud, Sample

SPLITS = {"train": "training", "test": "testing"}
"""Folder of each split."""

INPUTS = InputPatterns(
    tables=("*/calib/*.txt",),
    sensors=("*/velodyne/*.bin", "*/image_2/*.png"),
    class_maps=("*/semantic_maps/*.png",),
)
"""What pseudo-labels depend on."""


LIDAR: dict[str, tuple[int, ...]] = {"R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
"""What of a calibration file leads from the lidar to the rectified frame, and its shapes."""


@dataclass(frozen=True)
class Calibration:
    """Intrinsics of the left colour camera, and where lidar and inertial unit stand to each other."""

    intrinsics: Float[Tensor, "3 3"]
    camera_from_lidar: Float[Tensor, "4 4"]
    lidar_from_imu: Float[Tensor, "4 4"] | None = None


@dataclass(frozen=True)
class Place:
    """Where a sample's files lie; ``image`` is None where there is none."""

    token: str
    cloud: Path
    image: Path | None


class KittiObject:
    """Clouds of KITTI's object benchmark; they are of many drives, so there are no earlier sweeps.

    Attributes:
        class_set: Classes that may be prompted; there are no labels.
        tokens: ``training-NNNNNN`` or ``testing-NNNNNN``. A sample without an image has no camera.
        viewpoint: Where the lidar stands in the clouds' frame.
    """

    indoors: ClassVar[bool] = False
    own_files: ClassVar[tuple[str, ...]] = ()
    cloud_reader: ClassVar[CloudReader] = staticmethod(any_format)
    class_set = SEMANTIC_KITTI
    viewpoint = VIEWPOINT

    def __init__(
        self,
        root: Path,
        *,
        split: str = "train",
        sweeps: int = 1,
        need_images: bool = False,
    ) -> None:
        """Open a data set; names of files are listed and nothing is read.

        Args:
            root: The folder that holds ``training/`` or ``testing/``, with ``velodyne``, ``image_2``
                and ``calib``.
            split: ``train``, the folder ``training``, or ``test``, ``testing``.
            sweeps: Must be 1.
            need_images: Whether to leave out the samples that have no image.

        Raises:
            ValueError: If sweeps are asked for, the split is unknown, or no sample is there.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
        self.root = Path(root)
        folder = self.root / SPLITS[split]
        places = list_places(folder.name, folder / "velodyne", folder / "image_2", digits=6)
        self._places = choose_places(
            places, need_images, f"{folder / 'velodyne'}/NNNNNN.bin", folder / "image_2"
        )
        self.tokens = tuple(self._places)
        check_sweeps(sweeps)
        check_enough_sweeps(sweeps, 1, f"{folder}, whose clouds do not follow each other")

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "KittiObject":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        refuse_labels(options.labels, "KITTI's object benchmark")
        return cls(root, split=options.split, sweeps=options.sweeps, need_images=options.need_images)

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Give SemanticKITTI's classes, or those of them that toytown has."""
        return street_classes(classes)

    def __len__(self) -> int:
        """Count the clouds."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Sample:
        """Read sample ``index``; its image is read when asked for.

        Raises:
            ValueError: If a file is missing, truncated or broken. The message names it.
        """
        place = self._places[self.tokens[index]]
        path = place.cloud.parents[1] / "calib" / f"{place.cloud.stem}.txt"
        matrices = read_matrices(path, {"P2": (3, 4), **LIDAR})
        intrinsics, camera_from_rectified = split_projection(matrices["P2"], f"P2 of {path}")
        chain = camera_from_rectified @ rectified_from_lidar(path, matrices)
        return read_sample(place, Calibration(intrinsics, chain))

    def scene_of(self, token: str) -> str:
        """Give each sample a scene of its own: nothing tells its drive."""
        return token

    def has_image(self, token: str) -> bool:
        """Say whether a cloud has an image."""
        return self._places[token].image is not None

    def timestamps(self, index: int) -> None:
        """Tell nothing: the benchmark has no times and no poses."""
        return None

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that :data:`INPUTS` names."""
        return INPUTS.find(self.root, labels=labels, class_maps=class_maps)

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where a 2D segmenter's class map of one image is looked for.

        Returns:
            ``training/semantic_maps/NNNNNN.png`` below the root.
        """
        place = find_place(self._places, token, view)
        return place.cloud.parents[1] / "semantic_maps" / f"{place.cloud.stem}.png"


def refuse_labels(labels: bool | Collection[str], what: str, instead: str = "SemanticKITTI's") -> None:
    """Refuse to open a data set with labels that it has not; ``instead`` names a layout that has."""
    if labels is not False:
        raise MissingLabelsError(
            f"{what} has no labels of points, so nothing can be evaluated by them; use {instead} layout, "
            "or labels=False"
        )


def list_places(drive: str, clouds: Path, images: Path, *, digits: int = 10) -> list[Place]:
    """List the samples of a folder of clouds and one of images, named alike by numbers of so many digits."""
    found = list_images(images, f"[0-9]{{{digits}}}")
    return [
        Place(f"{drive}-{name}", clouds / f"{name}.bin", found.get(name))
        for name in list_names(clouds, ".bin", digits)
    ]


def choose_places(places: list[Place], need_images: bool, where: str, images: Path) -> dict[str, Place]:
    """Key the samples by token, maybe without those that have no image."""
    if not places:
        raise ValueError(f"there is no cloud {where}; expected one of KITTI's layouts")
    chosen = {place.token: place for place in places if place.image is not None or not need_images}
    if not chosen:
        raise ValueError(
            f"none of the {len(places)} clouds {where} has an image of its name, .png or .jpg: "
            f"{describe_folder(images)}; restore the colour images"
        )
    return chosen


def find_place(places: dict[str, Place], token: str, view: int) -> Place:
    """Find a sample by its token."""
    if token not in places or view != 0:
        raise ValueError(f"no camera {view} of sample {token!r} here; expected one of this data set")
    return places[token]


def rectified_from_lidar(path: Path, matrices: Mapping[str, Float[Tensor, "..."]]) -> Float[Tensor, "4 4"]:
    """Join the ways from the lidar to camera 0, and to its rectified frame.

    Args:
        path: The calibration file, for messages.
        matrices: Those of :data:`LIDAR` among them.

    Raises:
        ValueError: If a motion is not rigid.
    """
    rectified_from_camera, camera_from_lidar = (rigid(matrices[name], f"{name} of {path}") for name in LIDAR)
    return rectified_from_camera @ camera_from_lidar


def read_sample(place: Place, calibration: Calibration, sweeps: tuple[PointCloud, ...] = ()) -> Sample:
    """Read a sample's cloud and the header of its image; labels there are none."""
    cameras: tuple[Camera, ...] = ()
    if place.image is not None:
        cameras = (colour_camera(place.image, CAMERA, calibration.intrinsics, calibration.camera_from_lidar),)
    cloud = read_velodyne(place.cloud)
    return Sample(place.token, cloud, cameras, partial(_read_image, place, cameras), sweeps=sweeps)


def _read_image(place: Place, cameras: tuple[Camera, ...], view: int) -> UInt8[Tensor, "height width 3"]:
    if place.image is None or view != 0:
        raise ValueError(f"sample {place.token} has no camera {view}, as its image is missing; restore it")
    return read_image(place.image, cameras[0].width, cameras[0].height)
