"""From a cloud file of any format to a point cloud in the student's frame, and back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from clip2scene.datasets.clouds.arrays import read_bin, read_feather, read_npy, read_npz
from clip2scene.datasets.clouds.e57 import read_e57
from clip2scene.datasets.clouds.features import FeatureReader, Tally
from clip2scene.datasets.clouds.intensity import Spread
from clip2scene.datasets.clouds.las import read_las
from clip2scene.datasets.clouds.options import METRES, CloudOptions, Unit, turn_from
from clip2scene.datasets.clouds.pcd import read_pcd
from clip2scene.datasets.clouds.pieces import count_points, iterate_cloud, read_some
from clip2scene.datasets.clouds.ply import read_ply
from clip2scene.datasets.clouds.table import Columns, Table, find_axes, positions_of
from clip2scene.datasets.clouds.text import read_ptx, read_text
from clip2scene.types import PointCloud

FARTHEST_M = 1e5
"""No sensor sees this far; beyond it, float32 no longer holds centimetres."""

OFF_ORIGIN_M = 100.0
"""A cloud whose box is farther than this from its origin lies in a map's frame: sensors see things nearby."""

_FARTHEST_MAP_M = 1e12  # beyond it, float64 no longer holds millimetres

USUAL_GROUND_M = -1.8
"""Height of the ground in the frame of a lidar on a car."""

_KEPT_HEIGHT_M = 10.0  # heights of a map this near to a sensor's may be left as they are

_UNNAMED: dict[str, Callable[[Path, tuple[str, ...] | None], Table]] = {
    **{".bin": read_bin, ".npy": read_npy},
    **{suffix: read_text for suffix in (".txt", ".xyz", ".csv", ".pts")},
}
_NAMED: dict[str, Callable[[Path], Table]] = {
    **{
        ".e57": read_e57,
        ".npz": read_npz,
        ".ptx": read_ptx,
        ".las": read_las,
        ".laz": read_las,
        ".feather": read_feather,
    },
    ".ply": lambda path: Table(read_ply(path)),
    ".pcd": lambda path: Table(read_pcd(path)),
}

SUFFIXES = (*_UNNAMED, *_NAMED)

_OF_NUSCENES = CloudOptions(axes="RFU", intensity_max=255.0)


@dataclass(frozen=True)
class CloudFile:
    """A cloud as a student takes it, and as its file has it.

    Attributes:
        cloud: Metres, x forward, y left, z up; one channel of intensity in 0..1, or three of colour.
        positions: In the axes, the unit and the frame of the file; float64 unless it has float32.
        origin: Where the origin of ``cloud`` lies in the file's frame, turned and in metres; zeros unless
            that is a map's.
        spread: Of the intensities as the file has them; None where their scale is known, or there are none.
        notes: What a user should know of how the file was read.
        box: Lowest and highest x, y and z of all points, as ``cloud`` has them.
        pieces: Goes through all points as ``cloud`` has them, a million at a time, where ``cloud`` and
            ``positions`` are only some of them; what intensities and colours mean follows from all.
    """

    cloud: PointCloud
    positions: Float[Tensor, "points 3"]
    box: Float32[Tensor, "2 3"]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spread: Spread | None = None
    notes: tuple[str, ...] = ()
    pieces: Callable[[], Iterator[PointCloud]] | None = None


def read_cloud(
    path: Path | str,
    *,
    axes: str | None = None,
    unit: Unit | None = None,
    intensity: str | None = None,
    intensity_max: float | None = None,
    columns: tuple[str, ...] | None = None,
) -> PointCloud:
    """Read a point cloud with one channel of intensity in 0..1, in metres.

    Fields are found under their usual names, in any case. The intensity is divided by the least of 1, 255,
    1023, 4095 and 65535 that all but one in a thousand keep to (whole numbers above 1 are counts); nuScenes'
    own files are always divided by 255. A file without intensity gets zeros. nuScenes' clouds are turned so
    that x points forward; all others are left in their frame, unless that is a map's: such a cloud is moved
    to its own origin. :func:`read_cloud_file` tells what was guessed.

    Args:
        path: The file; its suffix tells the format (see :mod:`clip2scene.datasets.clouds`).
        axes: Where x, y and z of the file point, three of F B L R U D.
        unit: The unit of its coordinates.
        intensity: The field that is the intensity, or ``none``.
        intensity_max: The intensity that becomes 1; few may be higher.
        columns: Names of the numbers of a point, in files without names.

    Returns:
        The cloud, in the file's order.

    Raises:
        ValueError: If the file is missing, of an unknown format, truncated or empty, or holds NaN or infinite
            coordinates, an intensity that is NaN, infinite, negative or higher, or if what its format needs
            is not installed.
    """
    options = CloudOptions(
        axes=axes, unit=unit, intensity=intensity, intensity_max=intensity_max, columns=columns
    )
    return read_cloud_file(Path(path), options).cloud


def read_cloud_file(
    path: Path,
    asked: CloudOptions = CloudOptions(),  # noqa: B008 - frozen
    usual: CloudOptions = CloudOptions(),  # noqa: B008 - frozen
    *,
    scale: float | None = None,
    most: int | None = None,
) -> CloudFile:
    """Read a cloud, and keep what leads back to its file's frame.

    Args:
        path: The file.
        asked: What the user said; goes before all else.
        usual: What holds for the clouds that a run was trained on; nuScenes' own files have their own.
        scale: The intensity that becomes 1 where a guess would be needed; it lets several files be read in
            one unit (:attr:`CloudFile.spread`).
        most: Points of a LAS or ``.bin`` file that are read at once, evenly chosen of a larger one
            (:attr:`CloudFile.pieces`); None reads all.

    Raises:
        ValueError: As :func:`read_cloud`.
    """
    path = Path(path)
    own = path.name.lower().endswith(".pcd.bin")
    options = asked.over(_OF_NUSCENES if own else usual)
    _check_file(path)
    reader, looks = FeatureReader(path, options, _told_by(asked, own), scale), list[_Look]()

    def look(columns: Columns) -> None:
        positions = positions_of(path, columns)
        looks.append(_Look(reader.look(columns), positions.min(axis=0), positions.max(axis=0)))

    step = 1 if most is None else -(-(count_points(path, asked.columns) or 1) // most)
    if step == 1:
        table = _read_table(path, asked.columns)
        look(table.columns)
    else:
        table = read_some(path, asked.columns, step, look)
    tallies, low, high = zip(*looks, strict=True)
    box, positions = np.stack([np.min(low, axis=0), np.max(high, axis=0)]), positions_of(path, table.columns)
    placement, notes = _place(path, positions, box, options)
    unit, spread, told = reader.decide(sum(tallies[1:], tallies[0]), table.columns)
    return CloudFile(
        _cloud_of(path, table.columns, placement, reader, unit),
        torch.from_numpy(positions),
        torch.from_numpy(np.sort(placement(box), axis=0)),
        placement.origin,
        spread,
        (*table.notes, *notes, *told),
        None if step == 1 else partial(_pieces, path, asked.columns, placement, reader, unit),
    )


class _Look(NamedTuple):
    """What is learnt of some points of a file."""

    tally: Tally
    low: Shaped[np.ndarray, "3"]
    high: Shaped[np.ndarray, "3"]


def _pieces(
    path: Path,
    named: tuple[str, ...] | None,
    placement: "_Placement",
    reader: FeatureReader,
    unit: float,
) -> Iterator[PointCloud]:
    """Read a file a million points at a time."""
    for columns in iterate_cloud(path, named):
        yield _cloud_of(path, columns, placement, reader, unit)


def _cloud_of(
    path: Path, columns: Columns, placement: "_Placement", reader: FeatureReader, unit: float
) -> PointCloud:
    """Make some points of a file what a student takes."""
    positions, features = placement(positions_of(path, columns)), reader.read(columns, unit)
    return PointCloud(torch.from_numpy(positions), torch.from_numpy(features))


def _told_by(asked: CloudOptions, of_nuscenes: bool) -> str:
    """Say who tells what intensity is 1, and what to do where it cannot be right."""
    if asked.intensity_max is not None:
        return "of --intensity-max; name a higher one"
    if of_nuscenes:
        return "of nuScenes' own files; name --intensity-max, or rename the file if it is none of these"
    return (
        "that the calibration.json of the drive log tells as intensity_max; correct it there, or, to label "
        "clouds of other intensities, name --intensity-max"
    )


def _check_file(path: Path) -> None:
    """Refuse what is no cloud file by its name, or holds nothing."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} has an unknown suffix, expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path} is missing or no file; check its name")
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty; restore it")


def _read_table(path: Path, columns: tuple[str, ...] | None) -> Table:
    """Read the columns of a file, at least one point."""
    suffix = path.suffix.lower()
    if suffix in _UNNAMED:
        table = _UNNAMED[suffix](path, columns)
    elif columns is None:
        table = _NAMED[suffix](path)
    else:
        raise ValueError(
            f"{path} names its own numbers, so --columns is not for it; --intensity names the one that is "
            "the intensity"
        )
    lacking = [axis for axis in "xyz" if axis not in find_axes(table.columns)]
    if lacking:
        raise ValueError(
            f"{path} has no {' '.join(lacking)}, only {', '.join(table.columns)}; expected x, y and z"
        )
    if not len(next(iter(table.columns.values()))):
        raise ValueError(f"{path} holds no points; restore it")
    return table


@dataclass(frozen=True)
class _Placement:
    """How positions of a file become metres: forward, left and up, from an origin.

    Attributes:
        options: Unit and axes.
        origin: In metres, turned.
    """

    options: CloudOptions
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def turned(self, positions: Shaped[np.ndarray, "points 3"]) -> Shaped[np.ndarray, "points 3"]:
        """Bring positions to metres, and to forward, left and up, as precise as they are."""
        options = self.options
        metres = positions * METRES[options.unit] if options.unit not in (None, "m") else positions
        if options.axes is not None and options.axes.upper() != "FLU":
            metres = metres @ turn_from(options.axes, "axes").T.astype(metres.dtype)
        return metres

    def __call__(self, positions: Shaped[np.ndarray, "points 3"]) -> Float32[np.ndarray, "points 3"]:
        metres = self.turned(positions)
        if not any(self.origin):
            return metres.astype(np.float32)
        return (metres.astype(np.float64) - np.array(self.origin)).astype(np.float32)


def _place(
    path: Path,
    positions: Shaped[np.ndarray, "points 3"],
    box: Shaped[np.ndarray, "2 3"],
    options: CloudOptions,
) -> tuple[_Placement, list[str]]:
    """Find how positions are brought to metres, and, from a map's frame, to their own origin.

    Args:
        path: For messages.
        positions: Some of the file's, evenly chosen.
        box: The lowest and highest numbers of all of them.
        options: Unit and axes.
    """
    low, high = np.sort(_Placement(options).turned(box).astype(np.float64), axis=0)
    apart, farthest = float((high - low).max()), float(max(-low.min(), high.max()))
    if apart > FARTHEST_M or farthest > _FARTHEST_MAP_M:
        raise ValueError(
            f"{path} has points {apart / 1000:.6g} km apart, up to {farthest / 1000:.6g} km off; beyond "
            f"{FARTHEST_M / 1000:g} km, coordinates are broken or in another unit: expected metres, or "
            "name the --unit"
        )
    away = np.maximum(np.maximum(low, -high), 0)  # from the origin to the box
    if np.linalg.norm(away) <= OFF_ORIGIN_M:
        return _Placement(options), []
    metres = _Placement(options).turned(positions)
    origin = np.array([*np.median(metres[:, :2], axis=0), 0.0])
    lowest = float(np.quantile(metres[:, 2], 0.02))
    ground = USUAL_GROUND_M if options.ground is None else options.ground
    if options.ground is not None or abs(lowest) > _KEPT_HEIGHT_M:
        origin[2] = lowest - ground
    note = (
        f"its coordinates are a map's, {np.linalg.norm(away) / 1000:.3g} km off their origin; it is labelled "
        f"as seen from {', '.join(f'{number:.2f}' for number in origin)}"
    )
    return _Placement(options, (float(origin[0]), float(origin[1]), float(origin[2]))), [note]
