"""Your own recordings: a "drive log", a folder of clouds, images and one calibration file.

``docs/own_recordings.md`` describes every file, with an example.
"""

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.tables import CLASS_SETS, NUSCENES, TOYTOWN
from clip2scene.datasets.checks import (
    MissingLabelsError,
    carry_sweep,
    check_enough_sweeps,
    check_labelled,
    check_name,
    check_sweeps,
    describe_folder,
    find_class_set,
    labelled_tokens,
    read_image,
)
from clip2scene.datasets.clouds import CloudFile, CloudOptions, read_cloud_file
from clip2scene.datasets.dataset import CloudReader, InputPatterns, OpenOptions
from clip2scene.datasets.drive_log.classes import read_class_set, read_labels
from clip2scene.datasets.drive_log.files import (
    Calibration,
    check_drive,
    choose_names,
    read_calibration,
    read_image_times,
    read_poses,
)
from clip2scene.datasets.moments import clock_fault
from clip2scene.geometry.projection import invert_rigid, transform_points
from clip2scene.geometry.trajectory import MOST_GAP_US, Trajectory
from clip2scene.images import SUFFIXES as IMAGE_SUFFIXES
from clip2scene.types import Camera, PointCloud, Sample, Timestamps

CLOUD_SUFFIXES = (".bin", ".npy", ".npz", ".ply", ".pcd", ".las", ".laz")
LABEL_SUFFIXES = (".npy", ".label")

CALIBRATION, CLASSES = "calibration.json", "classes.json"
"""What says how clouds are read and what labels mean."""

INPUTS = InputPatterns(("*.json", "*.csv"), sensors=("lidar/*", "images/*/*"), labels=("labels/*",))
"""What pseudo-labels depend on."""


def log_cloud_reader(folder: Path) -> Callable[..., CloudFile]:
    """Read clouds with the axes and the intensity of a log; nuScenes' own ``.pcd.bin`` has others.

    Args:
        folder: The log, or a run with a copy of its calibration.

    Raises:
        ValueError: If there is none: runs of old versions did not keep it.
    """
    if not (folder / CALIBRATION).exists():
        raise ValueError(
            f"{folder} does not tell the axes and intensity of the drive log that it learnt from; copy the "
            f"log's {CALIBRATION} into it"
        )
    calibration = read_calibration(folder / CALIBRATION)
    usual = CloudOptions(axes=calibration.axes, intensity_max=calibration.intensity_max)
    return partial(read_cloud_file, usual=usual)


class DriveLog:
    """Clouds of own recordings, in the order of time, or of their names where there are no poses.

    A cloud is turned so that x points forward, y left and z up; the one feature channel is the intensity,
    0..1. A sample has a camera for each image of its name; distorted images are undistorted when they are
    read, and their cameras are the pinhole cameras of that. Where ``images.csv`` tells when images were
    taken, the way the vehicle drove between cloud and image is in the camera's extrinsics.

    Attributes:
        class_set: What the labels mean, or which classes are prompted.
        tokens: Names of the clouds.
        viewpoint: Where the lidar stands in the clouds' frame.
    """

    indoors: ClassVar[bool] = False
    own_files: ClassVar[tuple[str, ...]] = (CALIBRATION, CLASSES)
    cloud_reader: ClassVar[CloudReader] = staticmethod(log_cloud_reader)
    viewpoint = (0.0, 0.0, 0.0)

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = "train",
        labels: bool | Collection[str] = True,
        class_set: ClassSet | None = None,
        sweeps: int = 1,
        need_images: bool = False,
    ) -> None:
        """Open a drive log: the small files are read and names are listed, but no cloud and no image is read.

        Args:
            root: The folder that holds ``calibration.json`` and ``lidar/``.
            split: A name in ``splits.json``; without that file, ``train`` is everything. None takes all.
            labels: Whether to read labels, or the tokens of the samples whose labels are read; the others may
                have none. Without, ``labels/`` is never touched.
            class_set: Classes to translate labels to; None takes those of ``classes.json``.
            sweeps: Sweeps of each sample, 1 to 10, the keyframe included. The earlier ones are the clouds
                just before, of any split, moved by ``poses.csv``; where a drive begins there are fewer. A
                gap of more than 1 s is taken for the end of a drive.
            need_images: Whether to leave out the samples that have no image.

        Raises:
            ValueError: If a file is missing, broken or names something that is not there, sweeps or image
                times need poses that are absent, images are needed and there is none, or no sample has as
                many sweeps.
        """
        check_sweeps(sweeps)
        self.root = Path(root)
        self._sweeps = sweeps
        self._calibration = read_calibration(self.root / CALIBRATION)
        self._clouds = _list_clouds(self.root / "lidar")
        self._images = _list_images(self.root, self._calibration.cameras)
        self.class_set = _own_classes(self.root) if class_set is None else class_set
        self._trajectory, self._time_of = _read_times(self.root, self._clouds, sweeps)
        self._image_times = self._read_image_times()
        self._order = sorted(self._clouds, key=lambda name: (self._time_of.get(name, 0), name))
        self._place = {name: place for place, name in enumerate(self._order)}
        chosen = choose_names(self.root / "splits.json", split, self._order)
        self.tokens = self._with_image(chosen, split) if need_images else tuple(chosen)
        self._labels = {} if labels is False else self._list_labels(labels)
        longest = max((len(self._earlier_names(name)) for name in self.tokens), default=0)
        check_enough_sweeps(sweeps, 1 + longest, f"{self.root / 'lidar'}")

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "DriveLog":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        return cls(
            root,
            split=options.split,
            labels=options.labels,
            class_set=cls.class_set_of(options.classes, Path(root)) if options.labels is False else None,
            sweeps=options.sweeps,
            need_images=options.need_images,
        )

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Read ``classes.json`` of a log or a run; without it, take those of the words, or nuScenes'."""
        if folder is not None and (folder / CLASSES).exists():
            return read_class_set(folder)
        if words != "own":
            return CLASS_SETS[words]
        return find_class_set(classes, {"own": NUSCENES, "toytown": TOYTOWN})

    def __len__(self) -> int:
        """Count the clouds."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Sample:
        """Read sample ``index``; its images are read when asked for.

        Raises:
            ValueError: If a file is missing, truncated or empty, a cloud holds numbers that are not finite,
                there is not one label for each point, or no pose is known for the moment of an image. The
                message names the sample.
        """
        name = self.tokens[index]
        try:
            cloud = self._read_cloud(name)
            cameras = tuple(self._camera(camera, name) for camera in self._cameras_of(name))
            earlier = tuple(self._sweep(each, name) for each in self._earlier_names(name))
            labels = self._read_labels(name, len(cloud)) if name in self._labels else None
        except ValueError as error:
            raise ValueError(f"sample {name}: {error}") from None
        return Sample(name, cloud, cameras, partial(self._read_image, name), labels, earlier)

    def timestamps(self, index: int) -> Timestamps:
        """Tell when and where sample ``index`` was recorded, as far as poses and image times are told."""
        name = self.tokens[index]
        return Timestamps(
            drive=self._drive_of(name),
            cloud_us=self._time_of.get(name),
            image_us={
                camera.name: self._image_times.get((camera.name, name)) for camera in self._cameras_of(name)
            },
            sweeps_us=tuple(self._time_of[each] for each in self._earlier_names(name))
            if self._time_of
            else (),
            world_from_cloud=None if self._trajectory is None else self._world_from_cloud(name),
        )

    def scene_of(self, token: str) -> str:
        """Give all samples one scene: a log is one recording."""
        return "drive-log"

    def has_image(self, token: str) -> bool:
        """Say whether a cloud has an image of its name."""
        return any(token in files for files in self._images.values())

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that :data:`INPUTS` names."""
        return INPUTS.find(self.root, labels=labels, class_maps=class_maps)

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where a 2D segmenter's class map of one image is looked for.

        Returns:
            ``semantic_maps/CAMERA/NAME.png`` below the root.

        Raises:
            ValueError: If the images of that camera are distorted: a map of one is distorted too, or made of
                an image that is not on the disk.
        """
        camera = self._camera_at(token, view).name
        if camera in self._calibration.views:
            raise ValueError(
                f"the images of {camera} in {self.root} are distorted, and class maps with them; expected "
                "undistorted images for this teacher: undistort images and maps, and write the new intrinsics"
            )
        return self.root / "semantic_maps" / camera / f"{token}.png"

    def _with_image(self, names: Sequence[str], split: str | None) -> tuple[str, ...]:
        """Leave out the clouds that have no image."""
        found = tuple(name for name in names if self.has_image(name))
        if not found:
            folders = [self.root / "images" / camera for camera in self._images] or [self.root / "images"]
            raise ValueError(
                f"none of the {len(names)} clouds of split {split!r} has an image of its name, .png or .jpg: "
                f"{describe_folder(folders[0])}; an image is called like its cloud"
            )
        return found

    def _cameras_of(self, name: str) -> list[Camera]:
        """List the cameras that have an image of a cloud."""
        return [camera for camera in self._calibration.cameras if name in self._images[camera.name]]

    def _camera_at(self, token: str, view: int) -> Camera:
        cameras = self._cameras_of(token)
        if token not in self._clouds or not 0 <= view < len(cameras):
            raise ValueError(f"no camera {view} of sample {token!r} here; expected one of this data set")
        return cameras[view]

    def _camera(self, camera: Camera, name: str) -> Camera:
        """Let the vehicle drive from where the cloud was taken to where the image was."""
        motion = camera.camera_from_lidar
        if self._image_times:
            assert self._trajectory is not None
            taken = self._trajectory.world_from_ego(self._image_times[camera.name, name])
            cloud_then_from_world = invert_rigid(taken @ self._calibration.ego_from_cloud)
            motion = motion @ cloud_then_from_world @ self._world_from_cloud(name)
        return Camera(camera.name, camera.intrinsics.float(), motion.float(), camera.width, camera.height)

    def _world_from_cloud(self, name: str) -> Float[Tensor, "4 4"]:
        assert self._trajectory is not None
        return self._trajectory.world_from_ego(self._time_of[name]) @ self._calibration.ego_from_cloud

    def _drive_of(self, name: str) -> str:
        """Name the drive of a cloud; without poses, nothing tells drives apart."""
        return "log" if self._trajectory is None else f"log-{self._trajectory.drive(self._time_of[name])}"

    def _earlier_names(self, name: str) -> list[str]:
        """Name the clouds just before one in the same drive, newest first."""
        found, place = [], self._place[name]
        for before in range(place - 1, max(place - self._sweeps, -1), -1):
            early, late = self._order[before], self._order[before + 1]
            if self._time_of[late] - self._time_of[early] > MOST_GAP_US:
                break
            found.append(early)
        return found

    def _read_cloud(self, name: str) -> PointCloud:
        return read_log_cloud(self._clouds[name], self._calibration)

    def _sweep(self, name: str, keyframe: str) -> PointCloud:
        """Read an earlier cloud, less the vehicle's own points, in the frame of the keyframe's."""
        motion = invert_rigid(self._world_from_cloud(keyframe)) @ self._world_from_cloud(name)
        return carry_sweep(self._read_cloud(name), motion, self._calibration.vehicle_reach_m)

    def _read_labels(self, name: str, num_points: int) -> Int[Tensor, " points"]:
        return read_labels(self._labels[name], num_points, self.class_set)

    def _read_image(self, name: str, view: int) -> UInt8[Tensor, "height width 3"]:
        try:
            camera = self._camera_at(name, view)
            path, straight = self._images[camera.name][name], self._calibration.views.get(camera.name)
            if straight is None:
                return read_image(path, camera.width, camera.height)
            return straight.straighten(read_image(path, straight.raw.width, straight.raw.height))
        except ValueError as error:
            raise ValueError(f"sample {name}: {error}") from None

    def _read_image_times(self) -> dict[tuple[str, str], int]:
        """Read when images were taken, if that is told."""
        path = self.root / "images.csv"
        if not path.exists():
            return {}
        times = read_image_times(path, list(self._images))
        lacking = [
            (camera, name)
            for camera, files in self._images.items()
            for name in files
            if name in self._clouds and (camera, name) not in times
        ]
        if lacking:
            camera, name = lacking[0]
            raise ValueError(
                f"{path} tells no time of image {name!r} of {camera}, in all of {len(lacking)} images; add "
                "their rows, or remove the file if images and clouds are taken at the same moments"
            )
        if self._trajectory is None:
            raise ValueError(
                f"{path} tells times of images, but {self.root / 'poses.csv'} is missing, so the motion in "
                "between is unknown; add the poses, or remove the times"
            )
        for camera, files in self._images.items():
            names = [name for name in files if name in self._clouds]
            fault = clock_fault(
                [self._time_of[name] for name in names], [times[camera, name] for name in names]
            )
            if fault:
                raise ValueError(f"{path}: images of {camera} {fault} Correct their times")
        return times

    def _list_labels(self, labels: bool | Collection[str]) -> dict[str, Path]:
        """Find the label file of every sample, or of every one of some."""
        folder = self.root / "labels"
        files = _list_files(folder, LABEL_SUFFIXES)
        labelled = labelled_tokens(self.tokens, labels)
        wanted = [name for name in self.tokens if name in labelled]
        check_labelled(
            folder,
            [f"{name}.npy" for name in wanted if name not in files],
            of=len(wanted),
            chosen=labels is not True,
            otherwise="add them, list the labelled clouds in splits.json as a split of their own and name "
            "that, or use labels=False",
        )
        return {name: files[name] for name in wanted}


def _own_classes(root: Path) -> ClassSet:
    if not (root / CLASSES).exists():
        raise MissingLabelsError(f"{root / CLASSES} is missing; check the folder you named")
    return read_class_set(root)


def read_log_cloud(path: Path, calibration: Calibration) -> PointCloud:
    """Read a cloud file of a drive log and turn it.

    Raises:
        ValueError: As :func:`clip2scene.datasets.clouds.read_cloud` does; or if the cloud lies in a map's
            frame, where the cameras of the log do not stand.
    """
    found = read_cloud_file(path, usual=CloudOptions(intensity_max=calibration.intensity_max))
    if any(found.origin):
        raise ValueError(
            f"{path} lies far from its origin, so its coordinates are a map's or broken; expected a cloud in "
            "its sensor's frame, which the cameras of a drive log are calibrated to: bring it there first"
        )
    turn = calibration.cloud_from_lidar
    if torch.equal(turn, torch.eye(4, dtype=torch.float64)):
        return found.cloud
    return PointCloud(transform_points(turn, found.cloud.positions), found.cloud.features)


def _list_clouds(folder: Path) -> dict[str, Path]:
    clouds = _list_files(folder, CLOUD_SUFFIXES)
    if not clouds:
        raise ValueError(f"{folder} holds no cloud; expected files {', '.join(CLOUD_SUFFIXES)}")
    return clouds


def _list_files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """List a folder's files of some suffixes by name; others and hidden ones are passed over."""
    try:
        with os.scandir(folder) as entries:
            paths = sorted(Path(entry.path) for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[str, Path] = {}
    for path in paths:
        if path.suffix.lower() not in suffixes:
            continue
        if path.name.lower().endswith(".pcd.bin"):
            raise ValueError(
                f"{path} is in nuScenes' own format, whose frame and intensities differ; write it as .npy"
            )
        check_name(path.stem, folder)
        if path.stem in found:
            raise ValueError(f"{folder} holds both {found[path.stem].name} and {path.name}; keep one of them")
        found[path.stem] = path
    return found


def _list_images(root: Path, cameras: tuple[Camera, ...]) -> dict[str, dict[str, Path]]:
    """List the images of every camera by name."""
    names = [camera.name for camera in cameras]
    folder = root / "images"
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    unknown = [name for name in folders if name not in names and not name.startswith(".")]
    if unknown:
        raise ValueError(
            f"{folder / unknown[0]} is of no camera in calibration.json, which has "
            f"{', '.join(names) or 'none'}; add the camera there, or rename or remove the folder"
        )
    return {name: _list_files(folder / name, IMAGE_SUFFIXES) for name in names}


def _read_times(root: Path, clouds: dict[str, Path], sweeps: int) -> tuple[Trajectory | None, dict[str, int]]:
    """Read the poses and the moment of every cloud; nothing where there are none and none are needed."""
    path = root / "poses.csv"
    if not path.exists():
        if sweeps > 1:
            raise ValueError(
                f"{path} is missing, which {sweeps} sweeps are moved by; add it, or set --data.sweeps 1"
            )
        return None, {}
    trajectory, time_of = read_poses(path)
    lacking = [name for name in clouds if name not in time_of]
    if lacking:
        raise ValueError(
            f"{path} has no row for cloud {lacking[0]!r}, in all for {len(lacking)} of {len(clouds)}; add "
            "them, or remove the file if there are no poses"
        )
    check_drive(path, trajectory, {name: time_of[name] for name in clouds})
    return trajectory, time_of
