"""The files of one ScanNet scene: the vertices of its mesh, and what they are."""

import csv
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from clip2scene.classes.class_set import ClassSet, train_ids
from clip2scene.datasets.checks import check_positions
from clip2scene.datasets.clouds import CloudFile, CloudOptions, Columns, read_cloud_file, read_ply
from clip2scene.io import read_json
from clip2scene.types import PointCloud

WORDS = "scannetv2-labels.combined.tsv"
"""The table of ScanNet's words, beside ``scans/``."""

_LAST_NYU40 = 40
_MOST_FOREIGN = 0.01  # share of the vertices; a few official files hold ids like 50 or 149 here and there

_log = logging.getLogger(__name__)


def cloud_path(scene: Path) -> Path:
    """Say where the mesh of a scene lies."""
    return scene / f"{scene.name}_vh_clean_2.ply"


def labels_path(scene: Path) -> Path:
    """Say where the labels of its vertices lie."""
    return scene / f"{scene.name}_vh_clean_2.labels.ply"


def segments_path(scene: Path) -> Path:
    """Say where the segments lie that things are put together from."""
    return scene / f"{scene.name}_vh_clean_2.0.010000.segs.json"


def things_path(scene: Path) -> Path:
    """Say where the things of a scene are listed."""
    return scene / f"{scene.name}.aggregation.json"


def read_vertices(path: Path) -> PointCloud:
    """Read the vertices of a mesh: positions in metres, and red, green and blue in 0..1.

    Raises:
        ValueError: If the file is missing or broken, has no vertex or colours, or a position is not finite.
    """
    columns = _read(path)
    positions = _positions(columns, path)
    names = ("red", "green", "blue")
    if any(name not in columns or not _is_whole(columns[name], 255) for name in names):
        raise ValueError(
            f"{path}: expected red, green and blue in 0..255 at each vertex, got {', '.join(columns)}; use "
            "ScanNet's own _vh_clean_2.ply"
        )
    colours = np.stack([columns[name] for name in names], 1).astype(np.float32) / 255
    return PointCloud(positions, torch.from_numpy(colours))


def any_cloud_or_mesh(folder: Path) -> Callable[..., CloudFile]:
    """Read single clouds of rooms: with colours, in any format."""
    return partial(read_cloud_file, usual=CloudOptions(colours=True, ground=0.0))


def read_labels(
    path: Path, positions: Float[Tensor, "points 3"], class_set: ClassSet
) -> Int[Tensor, " points"]:
    """Read the train id of every vertex from the mesh that has NYU40's ids.

    A few official files hold other ids here and there. Their vertices are neither evaluated nor trained on;
    how many there are is logged.

    Args:
        path: The file.
        positions: The vertices, in their order.
        class_set: What to translate the ids to.

    Raises:
        ValueError: If the file is missing or broken, its vertices are others, or 1 % of them or more have an
            id that is none of NYU40's.
    """
    columns = _read(path)
    _check_same(positions, _positions(columns, path), path)
    if "label" not in columns or not _is_whole(columns["label"], 65_535):
        raise ValueError(
            f"{path}: expected NYU40's ids, whole numbers in 0..{_LAST_NYU40}, as label at each vertex, got "
            f"{', '.join(columns)}; use ScanNet's own _vh_clean_2.labels.ply"
        )
    raw = torch.from_numpy(columns["label"].astype(np.int64))
    foreign = raw > _LAST_NYU40
    if foreign.any():
        told = f"{int(foreign.sum())} of {len(raw)} vertices have labels like {int(raw[foreign][0])}"
        if foreign.float().mean() >= _MOST_FOREIGN:
            raise ValueError(
                f"{path}: {told}, expected NYU40's ids, whole numbers in 0..{_LAST_NYU40}, in all but a few; "
                "use ScanNet's own _vh_clean_2.labels.ply"
            )
        _log.warning("%s: %s, which is none of NYU40's ids; not evaluated", path.name, told)
    return train_ids(raw, class_set)


def read_categories(
    scene: Path, num_points: int, id_of_word: Mapping[str, int], class_set: ClassSet
) -> tuple[Int[Tensor, " points"], int]:
    """Read the train id of every vertex from the things that a scene's segments make up.

    Where two things share a segment, the later one has it.

    Args:
        scene: The scene's folder.
        num_points: How many vertices it has.
        id_of_word: ScanNet's id of each raw word, see :func:`read_words`.
        class_set: What to translate the ids to.

    Returns:
        The train ids, and the number of things whose word is in no table, which are left without a label.

    Raises:
        ValueError: If a file is missing or broken, or does not fit the scene.
    """
    path = segments_path(scene)
    segments = _whole_numbers(_get(read_json(path), "segIndices", path), path)
    if len(segments) != num_points:
        raise ValueError(
            f"{path} has {len(segments)} vertices, but the mesh {num_points}; restore one of them"
        )
    path, unknown = things_path(scene), 0
    groups = _get(read_json(path), "segGroups", path)
    if not isinstance(groups, list):
        raise ValueError(f"{path}: expected a list segGroups; restore the file")
    known, of_vertex = np.unique(segments, return_inverse=True)
    raw_of_segment = np.zeros(len(known), np.int64)
    for group in groups:
        word, parts = _get(group, "label", path), _whole_numbers(_get(group, "segments", path), path)
        place = np.searchsorted(known, parts).clip(max=len(known) - 1)
        if not isinstance(word, str) or not (known[place] == parts).all():
            raise ValueError(
                f"{path}: the thing {word!r} has no word, or a segment that {segments_path(scene)} lacks; "
                "restore both files"
            )
        unknown += word not in id_of_word
        raw_of_segment[place] = id_of_word.get(word, 0)
    return train_ids(torch.from_numpy(raw_of_segment[of_vertex.ravel()]), class_set), unknown


def read_words(path: Path) -> dict[str, int]:
    """Read ScanNet's id of each raw word.

    Raises:
        ValueError: If the table is missing or broken.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
        if rows:
            return {row["raw_category"]: int(row["id"]) for row in rows}
        raise ValueError("no rows")
    except FileNotFoundError:
        raise ValueError(f"{path} is missing, which 200 classes need; download it with ScanNet") from None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(
            f"{path}: expected a table with the columns id and raw_category, separated by tabs ({error!r}); "
            "restore it"
        ) from None


def _read(path: Path) -> Columns:
    try:
        return read_ply(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); restore it") from None


def _is_whole(column: Shaped[np.ndarray, " points"], highest: int) -> bool:
    """Tell whether a column holds nothing but whole numbers in 0..highest; text files have them as floats."""
    return bool(((column >= 0) & (column <= highest) & (column == np.floor(column))).all())


def _positions(columns: Columns, path: Path) -> Float[Tensor, "points 3"]:
    if any(axis not in columns for axis in "xyz"):
        raise ValueError(f"{path}: expected x, y and z at each vertex, got {', '.join(columns)}; restore it")
    positions = torch.from_numpy(np.stack([columns[axis] for axis in "xyz"], 1).astype(np.float32))
    check_positions(positions, path)
    return positions


def _check_same(mine: Float[Tensor, "_ 3"], other: Float[Tensor, "_ 3"], path: Path) -> None:
    """Refuse labels of other vertices, or of the same in another order."""
    if len(mine) != len(other) or (mine - other).abs().max() > 1e-3:
        raise ValueError(
            f"{path} has {len(other)} vertices that are not the {len(mine)} of the mesh in their order; "
            "restore both files"
        )


def _get(entry: object, name: str, path: Path) -> object:
    if not isinstance(entry, dict) or name not in entry:
        raise ValueError(f"{path}: expected an entry called {name}; restore the file")
    return entry[name]


def _whole_numbers(content: object, path: Path) -> Int[np.ndarray, " numbers"]:
    """Make an array of a list of whole numbers."""
    try:
        numbers = np.array(content)
        if (
            isinstance(content, list)
            and numbers.ndim == 1
            and (not len(numbers) or numbers.dtype.kind in "iu")
        ):
            return numbers.astype(np.int64)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{path}: expected a list of whole numbers of segments; restore the file")
