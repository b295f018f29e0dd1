"""Which labelled file of a folder belongs to which of another."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from clip2scene.datasets.clouds.labelled import CODES_SUFFIX

_LIDARSEG = "_lidarseg"
_BEST = (".label", ".bin", ".npz", ".las", ".laz", ".pcd", ".ply", ".npy", ".feather")
_TEXT = (".txt", ".csv", ".xyz", ".pts")
"""In the order in which files of one name are preferred; text only where there is nothing else."""

_OF_LAYOUTS = {
    *("labels", "label", "predictions", "prediction", "pred", "preds", "truth", "gt", "sequences"),
    *("velodyne", "lidar", "points", "lidarseg", "segmentation"),
}
"""Folders that only say what lies in them, which differs between predictions and the truth."""


def match_files(pred: Path, truth: Path) -> list[tuple[Path, Path]]:
    """Pair two files, or the files of two folders by their names.

    Of files of the same name (``NAME.label``, ``NAME.npz``, ...), the one that has labels for sure is taken.
    Names are paired with their folders, but for those that only say what lies in them (``labels``,
    ``predictions``, ...), or else without any, where that leaves no two alike.

    Raises:
        ValueError: If one is missing, one is a file and the other a folder, a folder holds no labels, or
            their names do not match.
    """
    for path in (pred, truth):
        if not path.exists():
            raise ValueError(f"{path} is missing; check its name")
    if pred.is_file() and truth.is_file():
        return [(pred, truth)]
    if pred.is_file() or truth.is_file():
        file, folder = (pred, truth) if pred.is_file() else (truth, pred)
        raise ValueError(f"{file} is a file and {folder} a folder; name two files, or two folders")
    mine, theirs = _files_by_key(pred), _files_by_key(truth)
    if mine.keys() != theirs.keys():
        plain, other = _by_name_alone(mine), _by_name_alone(theirs)
        if plain is not None and other is not None and plain.keys() & other.keys():
            mine, theirs = plain, other
    lone, lacking = sorted(mine.keys() - theirs.keys()), sorted(theirs.keys() - mine.keys())
    if lone or lacking:
        parts = [
            f"{len(some)} of {folder} without a partner, such as {files[some[0]]}"
            for some, folder, files in ((lone, pred, mine), (lacking, truth, theirs))
            if some
        ]
        raise ValueError(
            f"the label files of {pred} ({len(mine)}) and {truth} ({len(theirs)}) do not match by name: "
            f"{'; '.join(parts)}; name folders of the same clouds"
        )
    return [(mine[key], theirs[key]) for key in sorted(mine)]


def _files_by_key(folder: Path) -> dict[tuple[str, ...], Path]:
    """List the label files below a folder by their names, one for each name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name[0] != "."]
    some = [path for path in files if _is_label_file(path) and path.suffix.lower() in _BEST]
    some = some or [path for path in files if path.suffix.lower() in _TEXT]
    if not some:
        raise ValueError(
            f"{folder} holds no labelled files, expected some ending in {', '.join((*_BEST, *_TEXT))}; check "
            "its name"
        )
    order = (*_BEST, *_TEXT)
    some.sort(
        key=lambda path: order.index(path.suffix.lower()), reverse=True
    )  # the best of a name comes last
    return {_key(path.relative_to(folder)): path for path in some}


def _is_label_file(path: Path) -> bool:
    """Tell whether a file may hold labels; of raw ``.bin`` files, only those of lidarseg."""
    return path.suffix != ".bin" or path.stem.endswith(_LIDARSEG)


def _key(path: Path) -> tuple[str, ...]:
    """Give the name of a file below its folder, without what only says what it is."""
    folders = [part for part in path.parts[:-1] if part.lower() not in _OF_LAYOUTS]
    stem = path.name.removesuffix(CODES_SUFFIX).removesuffix(path.suffix).removesuffix(_LIDARSEG)
    return *folders, stem


def _by_name_alone(files: Mapping[tuple[str, ...], Path]) -> dict[tuple[str, ...], Path] | None:
    """Leave folders out of names; None where two are alike then."""
    counts = Counter(key[-1] for key in files)
    return {key[-1:]: path for key, path in files.items()} if max(counts.values()) == 1 else None
