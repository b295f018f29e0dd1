"""PandaSet: one drive with six cameras, two lidars and a label on every point.

Reads a sequence's folder in which the lidar's pickles have become ``lidar/NN.npz``, because pickles run code:
:func:`clip2scene.datasets.convert.pandaset_pickles.convert_pandaset` does that to an official download.
"""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from clip2scene.classes.tables import PANDASET, ClassSet, train_ids
from clip2scene.datasets.checks import (
    CLOUD_FROM_SENSOR,
    carry_sweep,
    check_enough_sweeps,
    check_intensities,
    check_labels,
    check_middle,
    check_positions,
    check_sweeps,
    labelled_tokens,
    list_images,
    read_image,
)
from clip2scene.datasets.dataset import CloudReader, InputPatterns, OpenOptions, any_format
from clip2scene.datasets.moments import way_fault
from clip2scene.geometry.projection import invert_rigid, rigid_from_quaternion, transform_points
from clip2scene.io import read_arrays, read_json
from clip2scene.types import Camera, PointCloud, Sample, Timestamps

CAMERAS = (
    "front_camera",
    "front_right_camera",
    "right_camera",
    "back_camera",
    "left_camera",
    "front_left_camera",
)
"""The six cameras, clockwise from the front."""

SPLITS = ("train", "val")
"""The first three quarters of a sequence's frames, and the last. Both lie on one street a few metres apart:
scores on ``val`` are optimistic."""

WIDTH, HEIGHT = 1920, 1080
VEHICLE_REACH_M = (1.5, 1.0)
"""Points of an earlier frame this near the spinning lidar, along x and y, lie on the recording vehicle."""

INPUTS = InputPatterns(("lidar/*.json", "camera/*/*.json"), sensors=("lidar/*.npz", "camera/*/*.jpg"))
"""What pseudo-labels depend on; labels are in the files of clouds."""

_PERIOD_US = 100_000  # the lidars turn ten times a second
_LAST_RAW_ID = 42  # of PandaSet's classes; 0 is a point without a label
_SENSORS: dict[str, tuple[int, ...]] = {"all": (0, 1), "spinning": (0,), "forward": (1,)}


class PandaSet:
    """Samples of one PandaSet sequence.

    The files hold points in the world's frame, with the vehicle's motion during the sweep already taken out.
    Here they stand in the ego frame of their frame, turned so that x points forward, y left and z up
    (PandaSet's own ego frame has x right, y forward). The one feature channel is the intensity, scaled from
    0..255 to 0..1.

    Attributes:
        class_set: What the labels mean.
        tokens: One name per sample: folder and frame number.
        frames: The frame number of each sample.
        viewpoint: Where the spinning lidar stands in the clouds' frame, in metres, to a decimetre or two; the
            recording does not say, it follows from where its cones of beams meet.
    """

    indoors: ClassVar[bool] = False
    own_files: ClassVar[tuple[str, ...]] = ()
    cloud_reader: ClassVar[CloudReader] = staticmethod(any_format)
    class_set = PANDASET
    viewpoint = (1.0, 0.0, 1.8)

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = None,
        frames: Sequence[int] | None = None,
        sensor: str = "all",
        labels: bool | Collection[str] = True,
        sweeps: int = 1,
    ) -> None:
        """Open a sequence.

        Args:
            root: The sequence's folder, with ``lidar/`` and ``camera/`` in it.
            split: ``train``, the first three quarters of the sequence's frames, or ``val``, the others: 0-59
                and 60-79 of an official sequence's 80. Up to the last frame, none may be missing.
            frames: Frame numbers, instead of a split. With neither, every frame there is.
            sensor: ``spinning`` (Pandar64), ``forward`` (PandarGT) or ``all``.
            labels: Whether to read labels, or the tokens of the samples whose labels are read; the others may
                have none. Without, the label arrays are never touched.
            sweeps: Sweeps of each sample, 1 to 10, the keyframe included: the earlier ones are those of the
                frames just before, at 10 Hz, whatever split these belong to. So the first samples of ``val``
                borrow clouds, never labels, of frames in ``train``; and the recording's first have fewer.

        Raises:
            ValueError: If an argument is unknown, a calibration file is missing or wrong, a frame is missing,
                or no frame has as many sweeps.
        """
        check_sweeps(sweeps)
        if sensor not in _SENSORS:
            raise ValueError(f"unknown sensor {sensor!r}, expected one of {', '.join(_SENSORS)}")
        self.root, self.sensor = Path(root), sensor
        present = sorted(int(path.stem) for path in self.root.glob("lidar/*.npz") if path.stem.isdigit())
        self.frames = _choose_frames(self.root, present, split, frames)
        self.tokens = tuple(f"{self.root.name}-{frame:02d}" for frame in self.frames)
        self._labelled = labelled_tokens(self.tokens, labels)
        self._earlier = _earlier_frames(self.frames, present, sweeps, self.root)
        self._world_from_ego = _read_poses(self.root / "lidar" / "poses.json", max(self.frames))
        _check_way(self.root / "lidar" / "poses.json", self._world_from_ego)
        folders = [self.root / "camera" / name for name in CAMERAS]
        self._intrinsics = [_read_intrinsics(folder / "intrinsics.json") for folder in folders]
        self._world_from_camera = [_read_poses(folder / "poses.json", max(self.frames)) for folder in folders]

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "PandaSet":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        return cls(root, split=options.split, labels=options.labels, sweeps=options.sweeps)

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Give PandaSet's classes, whatever is asked for: it has no others."""
        return PANDASET

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        """Read sample ``index``; its images are read when asked for.

        Raises:
            ValueError: If the lidar file is missing, broken, empty, or holds NaN coordinates.
        """
        frame = self.frames[index]
        lidar_from_world = self._cloud_from_world(frame)
        with_labels = self.tokens[index] in self._labelled
        arrays, kept = self._arrays(frame, with_labels)
        return Sample(
            token=self.tokens[index],
            cloud=self._cloud(frame, arrays, kept, lidar_from_world),
            cameras=self._cameras(frame, lidar_from_world),
            read_image=partial(self._read_image, frame),
            labels=self._labels(frame, arrays, kept) if with_labels else None,
            sweeps=tuple(self._sweep(before, lidar_from_world) for before in self._earlier[frame]),
        )

    def timestamps(self, index: int) -> Timestamps:
        """Tell when and where sample ``index`` was recorded; moments are in ``timestamps.json`` files."""
        frame = self.frames[index]
        return Timestamps(
            drive=self.root.name,
            cloud_us=_read_moment(self.root / "lidar" / "timestamps.json", frame),
            image_us={
                camera: _read_moment(self.root / "camera" / camera / "timestamps.json", frame)
                for camera in CAMERAS
            },
            world_from_cloud=invert_rigid(self._cloud_from_world(frame)),
        )

    def scene_of(self, token: str) -> str:
        """Give all samples one scene: a sequence is one drive."""
        return "pandaset"

    def has_image(self, token: str) -> bool:
        """Say that every frame has images: a sequence has six cameras."""
        return True

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that :data:`INPUTS` names."""
        return INPUTS.find(self.root, labels=labels, class_maps=class_maps)

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where a 2D segmenter's class map of one image is looked for.

        Returns:
            ``semantic_maps/CAMERA/NN.png`` below the root.
        """
        if token not in self.tokens or not 0 <= view < len(CAMERAS):
            raise ValueError(f"no camera {view} of sample {token!r} here; expected one of this data set")
        frame = self.frames[self.tokens.index(token)]
        return self.root / "semantic_maps" / CAMERAS[view] / f"{frame:02d}.png"

    def _cameras(self, frame: int, lidar_from_world: Float[Tensor, "4 4"]) -> tuple[Camera, ...]:
        """Return the cameras of one frame, each at its own exposure time."""
        world_from_lidar = invert_rigid(lidar_from_world)
        return tuple(
            Camera(
                name=name,
                intrinsics=intrinsics,
                camera_from_lidar=(invert_rigid(poses[frame]) @ world_from_lidar).float(),
                width=WIDTH,
                height=HEIGHT,
            )
            for name, intrinsics, poses in zip(
                CAMERAS, self._intrinsics, self._world_from_camera, strict=True
            )
        )

    def _lidar_path(self, frame: int) -> Path:
        """Return where a frame's points lie."""
        return self.root / "lidar" / f"{frame:02d}.npz"

    def _cloud_from_world(self, frame: int) -> Float[Tensor, "4 4"]:
        """Return the motion from the world into the turned ego frame."""
        return CLOUD_FROM_SENSOR @ invert_rigid(self._world_from_ego[frame])

    def _arrays(self, frame: int, with_labels: bool) -> tuple[dict[str, np.ndarray], Bool[Tensor, " all"]]:
        """Read the arrays of a frame, and say which points are of the chosen sensor."""
        keys = ("xyz", "intensity", "sensor", *(("label",) if with_labels else ()))
        arrays = _read_arrays(self._lidar_path(frame), keys)
        return arrays, torch.from_numpy(np.isin(arrays["sensor"], _SENSORS[self.sensor]))

    def _cloud(
        self,
        frame: int,
        arrays: dict[str, np.ndarray],
        kept: Bool[Tensor, " all"],
        lidar_from_world: Float[Tensor, "4 4"],
    ) -> PointCloud:
        """Make a cloud of the kept points."""
        world = torch.from_numpy(arrays["xyz"].astype(np.float64))[kept]
        positions = transform_points(lidar_from_world, world).float()
        check_positions(positions, self._lidar_path(frame))
        intensity = torch.from_numpy(arrays["intensity"].astype(np.float32))[kept]
        check_intensities(intensity, 255.0, self._lidar_path(frame))
        return PointCloud(positions, intensity[:, None] / 255)

    def _sweep(self, frame: int, lidar_from_world: Float[Tensor, "4 4"]) -> PointCloud:
        """Read an earlier frame's cloud in a later one's frame, less the recording vehicle's points."""
        arrays, kept = self._arrays(frame, with_labels=False)
        own_from_world = self._cloud_from_world(frame)
        own = self._cloud(frame, arrays, kept, own_from_world)
        motion = lidar_from_world @ invert_rigid(own_from_world)
        return carry_sweep(own, motion, VEHICLE_REACH_M, self.viewpoint[:2])

    def _labels(
        self, frame: int, arrays: dict[str, np.ndarray], kept: Bool[Tensor, " all"]
    ) -> Int[Tensor, " points"]:
        """Translate the raw labels of the kept points."""
        raw = torch.from_numpy(arrays["label"].astype(np.int64))[kept]
        check_labels(raw, _LAST_RAW_ID, self._lidar_path(frame))
        return train_ids(raw, self.class_set)

    def _read_image(self, frame: int, view: int) -> Shaped[Tensor, "height width 3"]:
        """Read one image."""
        folder, name = self.root / "camera" / CAMERAS[view], f"{frame:02d}"
        path = list_images(folder, name).get(name, folder / f"{name}.jpg")
        return read_image(path, WIDTH, HEIGHT)


def _choose_frames(
    root: Path, present: Sequence[int], split: str | None, frames: Sequence[int] | None
) -> tuple[int, ...]:
    """Number the frames of a split, or those asked for, all of which are there."""
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    if split is not None and frames is not None:
        raise ValueError(f"got both split {split!r} and frames; name one of them")
    if not present:
        raise ValueError(
            f"{root} holds no lidar/NN.npz; expected a PandaSet sequence (convert an official one)"
        )
    wanted = present if frames is None else frames
    last = present[-1] + 1
    border = 3 * last // 4
    chosen = tuple({"train": range(border), "val": range(border, last), None: wanted}[split])
    missing = [frame for frame in chosen if frame not in set(present)]
    if missing or not chosen:
        raise ValueError(
            f"{root} has frames {present[0]}-{present[-1]}, but not {missing or 'two to split'}; "
            "restore them, or name other frames"
        )
    return chosen


def _earlier_frames(
    frames: Sequence[int], present: Sequence[int], sweeps: int, root: Path
) -> dict[int, list[int]]:
    """List the frames just before each frame, newest first, as many as there are."""
    known = set(present)
    earlier = {
        frame: [before for before in range(frame - 1, frame - sweeps, -1) if before in known]
        for frame in frames
    }
    most = max(len(numbers) for numbers in earlier.values())
    check_enough_sweeps(sweeps, most + 1, f"{root / 'lidar'} just before frames {min(frames)}-{max(frames)}")
    return earlier


def _read_arrays(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read the named arrays of an npz, all of one length."""
    arrays = read_arrays(path, keys)
    points = arrays["xyz"].shape[:1]
    for key, array in arrays.items():
        kinds = "iu" if key in ("sensor", "label") else "fiu"
        if array.shape != ((*points, 3) if key == "xyz" else points) or array.dtype.kind not in kinds:
            raise ValueError(
                f"array {key} of {path} has shape {array.shape} and type {array.dtype}, expected "
                f"{'whole ' if kinds == 'iu' else ''}numbers, one entry for each point; restore the file"
            )
    return arrays


def _read_moment(path: Path, frame: int) -> int | None:
    """Read when a frame was recorded, in microseconds; None where no file tells."""
    if not path.exists():
        return None
    try:
        return round(float(read_json(path)[frame]) * 1e6)
    except (TypeError, IndexError, KeyError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} does not hold a time for frame {frame} ({error!r}); restore it") from None


def _check_way(path: Path, world_from_ego: list[Float[Tensor, "4 4"]]) -> None:
    """Refuse poses between which the vehicle jumps, at ten frames a second."""
    places = torch.stack([pose[:3, 3] for pose in world_from_ego]).numpy()
    found = way_fault([frame * _PERIOD_US for frame in range(len(places))], places)
    if found:
        raise ValueError(f"{path}: the vehicle in frame {found[0]} {found[1]} Restore the poses")


def _read_poses(path: Path, last: int) -> list[Float[Tensor, "4 4"]]:
    """Read ``world_from_sensor`` of every frame up to ``last``."""
    poses = read_json(path)
    try:
        return [_rigid_from_pose(poses[frame]) for frame in range(last + 1)]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{path} does not hold a position and heading for each of {last + 1} frames ({error!r})"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _rigid_from_pose(pose: dict[str, Any]) -> Float[Tensor, "4 4"]:
    """Build the matrix of one entry of a ``poses.json``."""
    return rigid_from_quaternion(
        [float(pose["heading"][key]) for key in "wxyz"], [float(pose["position"][key]) for key in "xyz"]
    )


def _read_intrinsics(path: Path) -> Float[Tensor, "3 3"]:
    """Read focal lengths and principal point."""
    content = read_json(path)
    try:
        fx, fy, cx, cy = (float(content[key]) for key in ("fx", "fy", "cx", "cy"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} should hold the numbers fx, fy, cx, cy ({error!r})") from None
    intrinsics = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    if not (intrinsics.isfinite().all() and fx > 0 and fy > 0):
        raise ValueError(f"{path} should hold positive finite focal lengths, got fx {fx} and fy {fy}")
    check_middle(intrinsics, (WIDTH, HEIGHT), str(path), of=str(path))
    return intrinsics.float()
