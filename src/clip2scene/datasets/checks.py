"""Files of a data set, read with suspicion: every fault is one ValueError that names the file."""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.clouds import FARTHEST_M
from clip2scene.datasets.clouds.arrays import other_width
from clip2scene.geometry.projection import transform_points
from clip2scene.images import SUFFIXES, read_colours
from clip2scene.io import read_json, regular_file
from clip2scene.types import PointCloud

CLOUD_FROM_SENSOR = torch.tensor(
    [[0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
    dtype=torch.float64,
)
"""Turns a frame with x right, y forward, z up (nuScenes' LIDAR_TOP, PandaSet's ego) to x forward, y left, z
up."""

_OFF_MIDDLE = 0.1
"""Share of half the image's size; a camera's principal point lies nearer to the middle along one axis."""

MAX_SWEEPS = 10
"""Most sweeps of one sample, the keyframe included."""


_log = logging.getLogger(__name__)


class MissingLabelsError(ValueError):
    """Labels were asked for where there are none; those that are there but broken are another error."""


def labelled_tokens(tokens: Sequence[str], labels: bool | Collection[str]) -> frozenset[str]:
    """Say which samples' labels are read: none, all, or those of some tokens."""
    if isinstance(labels, bool):
        return frozenset(tokens if labels else ())
    return frozenset(tokens).intersection(labels)


def find_class_set(classes: str, known: Mapping[str, ClassSet]) -> ClassSet:
    """Find the classes of a name.

    Raises:
        ValueError: If the layout has no classes of that name.
    """
    if classes not in known:
        raise ValueError(f"unknown classes {classes!r}, expected one of {', '.join(known)} in this layout")
    return known[classes]


def check_labelled(folder: Path, lacking: Sequence[str], *, of: int, chosen: bool, otherwise: str) -> None:
    """Refuse to go on without label files that are to be read.

    Args:
        folder: Where they should be.
        lacking: Those that are not there.
        of: How many are to be read.
        chosen: Whether these are of some samples that were chosen, or of a whole split.
        otherwise: What to do where they are of a whole split.

    Raises:
        MissingLabelsError: If one is lacking.
    """
    if not lacking:
        return
    whose, what_to_do = "split", otherwise
    if chosen:
        whose = "samples that are chosen to be labelled"
        what_to_do = (
            "label these too, or choose among what is labelled: fewer (--labels.count, --amounts), or an "
            "order of your own (--order)"
        )
    raise MissingLabelsError(
        f"{folder} lacks {lacking[0]}, in all {len(lacking)} of {of} label files of the {whose}; {what_to_do}"
    )


def inside(root: Path, relative: str) -> Path:
    """Join a path from a table to the data set's folder, refusing to leave that folder.

    Raises:
        ValueError: If the path is absolute or climbs with ``..``; tables come from strangers.
    """
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative or "\0" in relative:
        raise ValueError(f"a table of {root} names the file {relative!r}; expected a path inside that folder")
    return root / path


def read_image(path: Path, width: int, height: int) -> UInt8[Tensor, "height width 3"]:
    """Read an image as RGB.

    Args:
        path: JPEG or PNG.
        width: Expected width in pixels; the calibration belongs to this size.
        height: Expected height in pixels.

    Raises:
        ValueError: As :func:`clip2scene.images.read_colours` does.
    """
    return torch.from_numpy(read_colours(path, f"image {path}", (width, height)))


def list_images(folder: Path, form: str) -> dict[str, Path]:
    """Find the images of a folder, JPEG or PNG, by the names that match a pattern; others are passed over.

    Raises:
        ValueError: If two have the same name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SUFFIXES and re.fullmatch(form, path.stem):
            if path.stem in found:
                raise ValueError(
                    f"{folder} holds both {found[path.stem].name} and {path.name}; keep one of them"
                )
            found[path.stem] = path
    return found


def describe_folder(folder: Path) -> str:
    """Say what lies in a folder where images were looked for in vain, in half a sentence."""
    if not folder.is_dir():
        return f"there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return f"{folder} holds {len(names)} files{', such as ' + names[0] if names else ''}"


def check_middle(intrinsics: Float[Tensor, "3 3"], size: tuple[int, int], what: str, *, of: str) -> None:
    """Compare a calibration with the size of its images, by where the principal point lies in them.

    Far from the middle along one axis it is that of images that were cut, which is right; a note says so,
    once. Along both, to the same side, it is that of images of another size.

    Args:
        intrinsics: Of the camera.
        size: Width and height of its images in pixels.
        what: The image or the calibration, for the error.
        of: The camera or its folder, for the note: the same for all its images.

    Raises:
        ValueError: If the images must have been resized since the calibration.
    """
    middle = intrinsics[:2, 2].tolist()
    shares = _shares_of_middle(intrinsics, size)
    if min(shares) > 1 + _OFF_MIDDLE or max(shares) < 1 - _OFF_MIDDLE:
        whole = [round(2 * place + 1) for place in middle]
        raise ValueError(
            f"{what}: the principal point {middle} is that of images of about {whole[0]}x{whole[1]}, got "
            f"{size[0]}x{size[1]}; restore that size, or scale the intrinsics with the images"
        )
    if is_cut(intrinsics, size):
        _note_cut(of, (middle[0], middle[1]), size)


def is_cut(intrinsics: Float[Tensor, "3 3"], size: tuple[int, int]) -> bool:
    """Say whether images must have been cut: the principal point lies far from the middle along an axis."""
    return any(not 0.5 < share < 1.5 for share in _shares_of_middle(intrinsics, size))


def _shares_of_middle(intrinsics: Float[Tensor, "3 3"], size: tuple[int, int]) -> list[float]:
    """Say where the principal point lies along width and height: 0 at one border, 1 in the middle, 2."""
    return [(2 * place + 1) / side for place, side in zip(intrinsics[:2, 2].tolist(), size, strict=True)]


@cache
def _note_cut(of: str, middle: tuple[float, float], size: tuple[int, int]) -> None:
    _log.warning(
        "note: %s: the principal point %s lies far from the middle of %dx%d pixels; right for images that "
        "were cut, wrong for others",
        *(of, list(middle), *size),
    )


def read_records(path: Path, dtype: str, columns: int = 1) -> Shaped[np.ndarray, "rows columns"]:
    """Read a headerless binary file of fixed-size records.

    Raises:
        ValueError: If the file is missing, empty, or ends within a record.
    """
    try:
        content = regular_file(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); restore it") from None
    record = np.dtype(dtype).itemsize * columns
    if not content:
        raise ValueError(f"{path} is empty; restore it")
    if len(content) % record:
        raise ValueError(
            f"{path} is truncated: {len(content)} bytes are not a whole number of records of {record} bytes; "
            "restore it"
        )
    return np.frombuffer(content, dtype=dtype).reshape(-1, columns)


@contextmanager
def suspect_width(path: Path, width: int) -> Iterator[None]:
    """Tell a fault of a cloud's numbers as one of its records, where these look like others than expected.

    Args:
        path: A file of float32 numbers.
        width: How many of them a point should have.

    Raises:
        ValueError: As what is done within; if a point seems to have another width, that says so.
    """
    try:
        yield
    except ValueError:
        content = path.read_bytes() if path.is_file() else b""
        other = other_width(np.frombuffer(content, "<f4", len(content) // 4), width)
        if other is None:
            raise
        raise ValueError(
            f"{path} looks like {other} float32 numbers a point, expected {width} in this layout; write x, "
            f"y, z and intensity{' and ring' if width == 5 else ''} alone, or choose the layout that it is of"
        ) from None


def check_positions(positions: Float[Tensor, "points 3"], path: Path) -> None:
    """Refuse a cloud that cannot be worked with.

    Raises:
        ValueError: If there is no point, or a coordinate is NaN, infinite, or farther away than any sensor
            sees.
    """
    if not len(positions):
        raise ValueError(f"{path} holds no points; leave this sample out or restore the file")
    bad = int((~positions.isfinite()).any(dim=1).sum())
    if bad:
        raise ValueError(
            f"{path} holds {bad} points of {len(positions)} with NaN or infinite coordinates; "
            "drop those points or restore the file"
        )
    far = int((positions.abs() > FARTHEST_M).any(dim=1).sum())
    if far:
        raise ValueError(
            f"{path} holds {far} points of {len(positions)} with coordinates beyond "
            f"{FARTHEST_M / 1000:g} km; expected metres in the sensor's frame: drop those points or restore "
            "the file"
        )


def check_intensities(intensities: Shaped[Tensor, " points *_"], highest: float, path: Path) -> None:
    """Refuse intensities that the sensor cannot have measured.

    Args:
        intensities: As the file has them.
        highest: The sensor's own maximum.
        path: The file.

    Raises:
        ValueError: If one is NaN, negative or above ``highest``.
    """
    strange = int((~((intensities >= 0) & (intensities <= highest))).sum())  # NaN is strange too
    if strange:
        raise ValueError(
            f"{path} holds {strange} intensities of {len(intensities)} that are not in 0..{highest:g}; "
            "restore the file"
        )


def check_labels(raw: Int[Tensor, " points"], last: int, path: Path) -> None:
    """Refuse labels that the data set does not have.

    Args:
        raw: As the file has them.
        last: The data set's highest raw id; the lowest is 0.
        path: The file.

    Raises:
        ValueError: If one is another.
    """
    strange = raw[(raw < 0) | (raw > last)]
    if len(strange):
        raise ValueError(
            f"{path} holds the labels {strange.unique()[:5].tolist()} at {len(strange)} points of "
            f"{len(raw)}, expected raw ids in 0..{last}; restore the file"
        )


def carry_sweep(
    sweep: PointCloud,
    cloud_from_sweep: Float[Tensor, "4 4"],
    reach_m: float | tuple[float, float],
    middle: tuple[float, float] = (0.0, 0.0),
) -> PointCloud:
    """Take an earlier sweep into the frame of a later cloud, less the recording vehicle's own points.

    Args:
        sweep: The sweep in its own frame.
        cloud_from_sweep: The motion between them.
        reach_m: Points this near to the middle along x and along y, in metres, lie on the vehicle.
        middle: Where x and y are measured from.
    """
    offsets = (sweep.positions[:, :2] - sweep.positions.new_tensor(middle)).abs()
    away = (offsets >= sweep.positions.new_tensor(reach_m)).any(dim=1)
    positions = transform_points(cloud_from_sweep, sweep.positions[away].double()).float()
    return PointCloud(positions, sweep.features[away])


def check_sweeps(sweeps: int) -> None:
    """Refuse a number of sweeps that makes no sample.

    Raises:
        ValueError: If it is not in 1..10.
    """
    if not 1 <= sweeps <= MAX_SWEEPS:
        raise ValueError(
            f"sweeps must lie in 1..{MAX_SWEEPS}, got {sweeps}; 1 is the keyframe's own sweep alone"
        )


def check_enough_sweeps(asked: int, found: int, where: str) -> None:
    """Refuse to go on when no sample has as many sweeps as asked for.

    Args:
        asked: Sweeps of each sample, the keyframe included.
        found: The most that any sample has.
        where: Where they were looked for, for the message.

    Raises:
        ValueError: If ``found`` is less.
    """
    if found < asked:
        raise ValueError(
            f"more sweeps than recorded: asked for {asked}, found at most {found} (the keyframe included) in "
            f"{where}; ask for at most {found} or restore the sweeps"
        )


def check_name(name: str, source: Path) -> None:
    """Refuse a name that could lead out of the folder, or that is no file name everywhere.

    Raises:
        ValueError: If it holds anything but letters, digits, ``_``, ``-`` and inner dots.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", name):
        raise ValueError(
            f"{source} has the name {name!r}, expected a file's name without folder and suffix, made of "
            "letters, digits, _ - and dots, not beginning with a dot; rename it"
        )


def read_own_split(path: Path, split: str) -> tuple[str, ...]:
    """Read the names that a ``splits.json`` lists: ``{"train": ["a", "b"], "val": ["c"]}``.

    Raises:
        ValueError: If it is not as described, has no such split, or lists a name twice, or one that could
            lead out of the folder.
    """
    splits = read_json(path)
    if isinstance(splits, dict) and split not in splits:
        raise ValueError(
            f"unknown split {split!r}, expected one of {', '.join(splits) or 'none'} as in {path}; name "
            "one of these, or add it"
        )
    if not isinstance(splits, dict) or not isinstance(splits[split], list):
        raise ValueError(
            f"{path} has no list of names for split {split!r}; expected for instance "
            f"{{{split!r}: [names]}}: correct it"
        )
    return check_names(splits[split], path, split)


def check_names(names: Sequence[object], source: Path, split: str) -> tuple[str, ...]:
    """Refuse a list of names that could lead out of the folder, or that has one twice.

    Raises:
        ValueError: If it does.
    """
    checked = []
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{source} lists {name!r} in split {split!r}, expected a name; correct the list")
        check_name(name, source)
        checked.append(name)
    if len(set(checked)) < len(checked):
        raise ValueError(f"{source} lists a name twice in split {split!r}; correct the list")
    return tuple(checked)
