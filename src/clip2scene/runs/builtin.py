"""The student in the package: trained on toytown, and named ``builtin`` wherever a trained run is used."""

import logging
from pathlib import Path

BUILTIN = "builtin"
"""Its name, in place of a run's folder."""
ASSET = Path(__file__).parents[1] / "assets" / "toytown-general"
"""Where it lies; nothing is ever written there."""

_log = logging.getLogger(__name__)


def has_builtin() -> bool:
    """Tell whether this copy of the package was made with a student."""
    return (ASSET / "recipe.json").exists()


def builtin_run() -> Path:
    """Say where the student in the package lies.

    Raises:
        ValueError: If this copy of the package was made without it.
    """
    if not has_builtin():
        raise ValueError(
            f"{BUILTIN!r} is the student that comes with clip2scene, but {ASSET} is not there; install a "
            "released version, or name a run of your own (clip2scene pretrain toytown makes one)"
        )
    return ASSET


def run_folder(named: Path | str) -> Path:
    """Find the folder of a run that is to be used.

    Where ``builtin`` is also a folder here, it is said which of the two is taken: a run goes before the
    student in the package, any other folder does not.

    Args:
        named: A folder, or ``builtin``.

    Raises:
        ValueError: If it is ``builtin``, and there is no such student.
    """
    folder = Path(named)
    if folder != Path(BUILTIN):
        return folder
    if (folder / "recipe.json").exists():
        _log.warning("note: %s is the run in the folder of that name, not the student in the package", folder)
        return folder
    if folder.exists():
        _log.warning("note: %s is the student in the package; what is here by that name is no run", folder)
    return builtin_run()
