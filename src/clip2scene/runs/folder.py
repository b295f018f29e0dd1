"""A run's folder before it is opened: what a call that was cut short leaves, and whose run it holds."""

from pathlib import Path

from clip2scene.config import Recipe, from_dict
from clip2scene.datasets import LOADERS
from clip2scene.io import read_json

WORDS, LABELS, START = "words.safetensors", "labels.json", "start.safetensors"
SEEN = "seen_by_hash"
"""Part of ``labels.json``: which samples were learnt from, the name of each under the hash of its points."""
CARRIED = "carried"
"""What a run carried of its data: kept by how it was made, so any run may begin beside it."""
LOCK = "lock"
"""Who learns in the folder holds this file (:func:`clip2scene.parallel.file_lock`)."""

_WRITTEN_FIRST = {"prompts.json", "prompts.safetensors", "sources.json", WORDS, LABELS, START}
_WRITTEN_FIRST |= {name for loader in LOADERS.values() for name in loader.own_files}
_LEARNT = ("checkpoint.safetensors", "checkpoint.previous.safetensors", "log.jsonl")


def clear_half_started(folder: Path) -> bool:
    """Remove what a call leaves that was cut short before ``recipe.json`` was written.

    What it carried stays, for the next call to use.

    Returns:
        Whether a run can begin there; False if it holds anything else, which is then left as it is.
    """
    left = [path for path in folder.iterdir() if path.name != LOCK] if folder.exists() else []
    left = [path for path in left if path.name != CARRIED or not path.is_dir()]
    if any(path.name not in _WRITTEN_FIRST and not path.name.startswith(".partial-") for path in left):
        return False
    for path in left:
        path.unlink()
    return True


def release_folder(folder: Path) -> None:
    """Leave a folder to other settings, if nothing was learnt in it; a run that has begun stays as it is."""
    if not any((folder / name).exists() for name in _LEARNT):
        (folder / "recipe.json").unlink(missing_ok=True)


def require_same(folder: Path, recipe: Recipe, *, data_root: Path, teacher_weights: str | None) -> None:
    """Refuse to go on with another run than the one that a folder holds.

    Raises:
        ValueError: If it has another recipe, teacher or data set.
    """
    own, sources = from_dict(read_json(folder / "recipe.json")), read_json(folder / "sources.json")
    if own != recipe:
        raise ValueError(
            f"{folder} holds a run of another recipe ({own.name}, seed {own.seed}); give another --out, or "
            "delete that folder"
        )
    before, now = (resolve_weights(each) for each in (sources["teacher_weights"], teacher_weights))
    if before != now:
        raise ValueError(
            f"{folder} holds a run of another teacher ({before or 'the small model'}, not "
            f"{now or 'the small model'}); name the same teacher, or give another --out"
        )
    root = str(Path(data_root).resolve())
    if sources["data_root"] != root:
        raise ValueError(
            f"{folder} holds a run of another data set ({sources['data_root']}, not {root}); name the same "
            "data, or give another --out; if they were moved, correct data_root in its sources.json"
        )


def resolve_weights(weights: str | None) -> str | None:
    """Name a model's files by their whole path, wherever the caller stands; a hub id stays as it is."""
    if weights is None or not Path(weights).exists():
        return weights
    return str(Path(weights).resolve())
