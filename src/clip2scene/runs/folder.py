"""A run's folder before it is opened: what a call that was cut short leaves, and whose run it holds."""

from pathlib import Path

from clip2scene.config import Recipe
from clip2scene.io import PARTIAL, write_json
from clip2scene.runs.run_files import read_recipe, read_run_json
from clip2scene.runs.sources import Sources

WORDS, LABELS, START = "words.safetensors", "labels.json", "start.safetensors"
CONFIDENCE, TEACHERS = "confidence.json", "teachers.json"
LABELS_USED = "seen_by_hash"
"""Part of ``labels.json``: samples whose labels were trained on, the name of each under its points' hash."""
CORRECTIONS = "corrections"
"""Part of ``labels.json``: the hash of the labels by hand that it is trained on, if these are what it is."""
LIFTED = "carried"
"""Subfolder of the run's pseudo-labels: kept by how they were made, so any run may begin beside them."""
LOCK = "lock"
"""Who trains in the folder holds this file (:func:`clip2scene.parallel.file_lock`)."""

_UNFINISHED = "unfinished.json"
"""Lists what a call is about to write, so that no file of anybody else is ever taken for a run's."""
_TRAINED = ("checkpoint.safetensors", "checkpoint.previous.safetensors", "log.jsonl")


def announce(folder: Path, names: list[str]) -> None:
    """Write down which files are about to be made, before the first of them."""
    write_json(folder / _UNFINISHED, {"files": names})


def finish(folder: Path) -> None:
    """Say that all files are there: the run can be opened."""
    (folder / _UNFINISHED).unlink(missing_ok=True)


def clear_half_started(folder: Path) -> bool:
    """Remove what a call has written that was cut short before ``recipe.json``; nothing else is touched.

    Pseudo-labels stay, for the next call to use.

    Returns:
        Whether a run can begin there; False if it holds anything else, which is then left as it is.
    """
    left = {path.name: path for path in folder.iterdir()} if folder.exists() else {}
    ours = {LOCK, _UNFINISHED} | ({LIFTED} if (folder / LIFTED).is_dir() else set())
    written = set(read_run_json(folder / _UNFINISHED)["files"]) if _UNFINISHED in left else set()
    partial = {name for name in left if name.startswith(PARTIAL)}
    if set(left) - ours - written - partial:
        return False
    for name in (written | partial) & set(left):
        left[name].unlink()
    finish(folder)
    return True


def has_trained(folder: Path) -> bool:
    """Tell whether a step was taken in a run's folder."""
    return any((folder / name).exists() for name in _TRAINED)


def release_folder(folder: Path) -> None:
    """Leave a folder to other settings, if nothing was trained in it; a run that has begun stays as it is."""
    if has_trained(folder) or not (folder / "recipe.json").exists():
        return
    names = [path.name for path in folder.iterdir() if path.is_file() and path.name != LOCK]
    announce(folder, names)
    (folder / "recipe.json").unlink()


def check_folder(folder: Path, recipe: Recipe, *, data_root: Path, teacher_weights: str | None) -> bool:
    """Refuse a folder that holds another run, or anything else; clear what a call left before it had begun.

    Returns:
        Whether it holds this run.

    Raises:
        ValueError: If it has another recipe, teacher or data set, or files that are no run's.
    """
    if not (folder / "recipe.json").exists():
        if not clear_half_started(folder):
            raise ValueError(f"{folder} is not empty and holds no run; give an empty or new folder as --out")
        return False
    own, sources = read_recipe(folder), Sources.read(folder)
    if own != recipe:
        raise ValueError(
            f"{folder} holds a run of another recipe ({own.name}, seed {own.seed}); give another --out, or "
            "delete that folder"
        )
    before, now = (resolve_weights(each) for each in (sources.teacher_weights, teacher_weights))
    if before != now:
        raise ValueError(
            f"{folder} holds a run of another teacher ({before or 'the small model'}, not "
            f"{now or 'the small model'}); name the same teacher, or give another --out"
        )
    root = str(Path(data_root).resolve())
    if sources.data_root != root:
        raise ValueError(
            f"{folder} holds a run of another data set ({sources.data_root}, not {root}); name the same "
            "data, or give another --out; if they were moved, correct data_root in its sources.json"
        )
    return True


def resolve_weights(weights: str | None) -> str | None:
    """Name a model's files by their whole path, wherever the caller stands; a hub id stays as it is."""
    if weights is None or not Path(weights).exists():
        return weights
    return str(Path(weights).resolve())
