"""From a cloud file of any format to a point cloud in the student's frame, and back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from torch import Tensor

from clip2scene.datasets.clouds.arrays import read_bin, read_feather, read_npy, read_npz
from clip2scene.datasets.clouds.e57 import read_e57
from clip2scene.datasets.clouds.intensity import MOST_BEYOND, Spread, find_intensity, say_taken
from clip2scene.datasets.clouds.las import read_las
from clip2scene.datasets.clouds.options import METRES, CloudOptions, Unit, turn_from
from clip2scene.datasets.clouds.pcd import read_pcd
from clip2scene.datasets.clouds.pieces import count_points, iterate_cloud, read_some
from clip2scene.datasets.clouds.ply import read_ply
from clip2scene.datasets.clouds.table import Columns, Table, find_axes, plain_name, positions_of
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
        pieces: Goes through all points as ``cloud`` has them, a million at a time, where ``cloud`` and
            ``positions`` are only some of them.
    """

    cloud: PointCloud
    positions: Float[Tensor, "points 3"]
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
    step = 1 if most is None else -(-(count_points(path, asked.columns) or 1) // most)
    table = _read_table(path, asked.columns) if step == 1 else read_some(path, asked.columns, step)
    positions = positions_of(path, table.columns)
    placement, notes = _place(path, positions, options)
    told_by = _told_by(asked, own)
    features, spread, told = _features(path, table.columns, options, told_by, scale)
    cloud = PointCloud(torch.from_numpy(placement(positions)), torch.from_numpy(features))
    pieces = None
    if step > 1:
        known = scale if spread is None or scale is not None else spread.scale()
        pieces = partial(_pieces, path, asked.columns, options, placement, told_by, known)
    said = (*table.notes, *notes, *told)
    return CloudFile(cloud, torch.from_numpy(positions), placement.origin, spread, said, pieces)


def _pieces(
    path: Path,
    named: tuple[str, ...] | None,
    options: CloudOptions,
    placement: "_Placement",
    told_by: str,
    scale: float | None,
) -> Iterator[PointCloud]:
    """Read a file a million points at a time."""
    for columns in iterate_cloud(path, named):
        features, _, _ = _features(path, columns, options, told_by, scale)
        yield PointCloud(torch.from_numpy(placement(positions_of(path, columns))), torch.from_numpy(features))


def _features(
    path: Path, columns: Columns, options: CloudOptions, told_by: str, scale: float | None
) -> tuple[Float32[np.ndarray, "points channels"], Spread | None, list[str]]:
    """Give intensities in 0..1, or colours; the spread of the file's, and what is to be said of them."""
    if options.colours:
        return _colours(path, columns), None, []
    raw, found = _raw_intensity(path, columns, options.intensity)
    if raw is None:
        return np.zeros((len(next(iter(columns.values()))), 1), np.float32), None, found
    features, spread, told = _in_unit(path, raw, options.intensity_max, told_by, scale)
    return features, spread, [*found, *told]


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
    path: Path, positions: Shaped[np.ndarray, "points 3"], options: CloudOptions
) -> tuple[_Placement, list[str]]:
    """Find how positions are brought to metres, and, from a map's frame, to their own origin."""
    metres = _Placement(options).turned(positions)
    low, high = metres.min(axis=0).astype(np.float64), metres.max(axis=0).astype(np.float64)
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


def _raw_intensity(
    path: Path, columns: Columns, wanted: str | None
) -> tuple[Float32[np.ndarray, " points"] | None, list[str]]:
    """Find the intensity, None if there is none; and say which field was taken."""
    known = find_intensity(columns)
    if wanted is not None and wanted.lower() == "none":
        return None, []
    if wanted is not None:
        known = [name for name in columns if name == wanted]
        known += [name for name in columns if plain_name(name) == plain_name(wanted)]
        if not known:
            raise ValueError(
                f"{path} has no field {wanted!r} to take the intensity from, only {', '.join(columns)}; name "
                "one of these by --intensity"
            )
    if not known:
        return None, [
            f"it has no intensity, only {', '.join(columns)}; all points get 0 (--intensity names a field)"
        ]
    name, taken = known[0], say_taken(columns) if wanted is None else None
    told = [f"its {taken} (--intensity names another)"] if taken else []
    with np.errstate(over="ignore"):
        raw = columns[name].astype(np.float32)
    strange = int((~(np.isfinite(raw) & (raw >= 0))).sum())
    if strange:
        raise ValueError(
            f"{path} holds {strange} intensities of {len(raw)} that are NaN, infinite or negative "
            f"({name}); drop those points, name another field by --intensity, or say --intensity none"
        )
    if not raw.any():
        told.append(f"all of its intensities ({name}) are 0, as if it had none")
    return raw, told


def _in_unit(
    path: Path,
    raw: Float32[np.ndarray, " points"],
    known: float | None,
    told_by: str,
    scale: float | None,
) -> tuple[Float32[np.ndarray, "points 1"], Spread | None, list[str]]:
    """Bring intensities to 0..1, by what is known or by a guess; say which, and what it cut.

    Args:
        path: For messages.
        raw: As the file has them.
        known: What is 1, if that is known.
        told_by: Who says so, and what to do where it cannot be right.
        scale: What is 1 where it is not known; None guesses.
    """
    spread = Spread.of(raw)
    if known is None:
        try:
            own = spread.scale()
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
        known = own if scale is None else scale
        notes = [f"its intensities are taken as 0 to {known:g} (--intensity-max says otherwise)"]
        notes = notes if known != 1 else []
        guessed: Spread | None = spread
    else:
        above = int((raw > known).sum())
        if above > MOST_BEYOND * len(raw):
            raise ValueError(
                f"{path} holds intensities up to {spread.highest:g}, {above} of {len(raw)} above the "
                f"{known:g} {told_by}"
            )
        notes, guessed = [], None
    cut = int((raw > known).sum())
    if cut:
        notes.append(f"{cut} of its {len(raw)} intensities lie above {known:g} and count as that")
    return (raw / np.float32(known)).clip(max=1)[:, None], guessed, notes


def _colours(path: Path, columns: Columns) -> Float32[np.ndarray, "points 3"]:
    """Find red, green and blue, or one number that packs them, as PCD has it; bring them to 0..1."""
    by_name = {plain_name(name): column for name, column in columns.items()}
    for names in (("red", "green", "blue"), ("r", "g", "b")):
        if set(names) <= set(by_name):
            colours = np.stack([by_name[name] for name in names], axis=1).astype(np.float32)
            break
    else:
        packed = by_name.get("rgb", by_name.get("rgba"))
        if packed is None:
            raise ValueError(
                f"{path} has no colours, only {', '.join(columns)}; the run was trained on rooms, whose "
                "points have red, green and blue"
            )
        bits = packed.view(np.uint32) if packed.dtype == np.float32 else packed.astype(np.uint32)
        colours = np.stack([bits >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.float32)
    highest = float(colours.max())
    if not (np.isfinite(colours).all() and colours.min() >= 0 and highest <= 65535):
        raise ValueError(f"{path} has colours outside of 0..255, such as {highest:g}; restore it")
    return colours / np.float32(1 if highest <= 1 else 255 if highest <= 255 else 65535)
