"""Copies of a run: what of its folder a trained student needs to be used, and what must not be written in."""

import shutil
from pathlib import Path

from clip2scene.io import hash_files, new_folder
from clip2scene.runs.builtin import ASSET, BUILTIN
from clip2scene.runs.folder import CONFIDENCE, LABELS, TEACHERS, WORDS
from clip2scene.runs.run import CHOSEN, Run, open_run
from clip2scene.runs.training_clouds import CLOUDS

ABOUT = "about.json"
"""In a packed run: how it was trained, and what it scored."""

DESCRIBING = (
    *("recipe.json", "prompts.json", "prompts.safetensors", "sources.json", CLOUDS),
    *(LABELS, WORDS, CONFIDENCE, TEACHERS, "classes.json", "calibration.json", ABOUT),
)
"""All that a trained student needs beside its weights, as far as it is there."""


def files_of(run: Run) -> list[str]:
    """List what of a run's folder its student is, and is used with, as far as it is there."""
    names = (*DESCRIBING, run.checkpoint_path.name, CHOSEN)
    return [name for name in names if (run.folder / name).exists()]


def copy_run(run: Run, out: Path) -> Run:
    """Copy a trained run, to be evaluated or written in elsewhere; a copy that is there is taken as it is.

    Args:
        run: Whose weights and description are copied; not its pseudo-labels, its log, or what was drawn.
        out: New folder, or one that holds such a copy.

    Raises:
        ValueError: If the folder holds anything else, or the run has no checkpoint.
    """
    if not (run.folder / "checkpoint.safetensors").exists():
        raise ValueError(f"{run.folder} has no checkpoint to copy; train it to the end first")
    names = files_of(run)
    if (out / "recipe.json").exists():
        there = [out / name for name in names if (out / name).exists()]
        if hash_files(out, there) != hash_files(run.folder, [run.folder / name for name in names]):
            raise ValueError(f"{out} holds another run than {run.folder}; give another --out")
        return open_run(out)
    with new_folder(out) as folder:
        for name in names:
            shutil.copyfile(run.folder / name, folder / name)
    return open_run(out)


def require_own_folder(run: Run) -> None:
    """Refuse to write in the student of the package.

    Raises:
        ValueError: If it is that one.
    """
    if run.folder.resolve() == ASSET.resolve():
        raise ValueError(
            f"{BUILTIN} is a part of the package, and nothing is written there; name a folder for a copy of "
            "it and for what is found, with --out"
        )
