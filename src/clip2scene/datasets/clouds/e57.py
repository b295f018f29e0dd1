"""E57 files: scans with their poses, read by ``pye57`` in a process of its own."""

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from clip2scene.datasets.clouds.table import Columns, Table

_CHILD = Path(__file__).with_name("e57_child.py")
_MEMORY = 2_000_000_000  # bytes of addresses that the process may have, and for each byte of the file:
_MEMORY_A_BYTE = 100
_LONGEST_S = 600
_NAMES = {"colorRed": "red", "colorGreen": "green", "colorBlue": "blue", "intensity": "intensity"}


def read_e57(path: Path) -> Table:
    """Read the scans of an E57 file and bring them to one frame by their poses.

    Points that the file marks as invalid are left out.

    Raises:
        ValueError: If pye57 is not installed, the file is broken, or a scan has no positions.
    """
    if find_spec("pye57") is None:
        raise ValueError(
            f"{path} needs the library pye57; install clip2scene[e57], or write the cloud as .ply or .las"
        )
    size = path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scans.npz"
        limits = [str(size), str(_MEMORY + _MEMORY_A_BYTE * size)]
        command = [sys.executable, "-I", str(_CHILD), str(path.absolute()), str(out), *limits]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_LONGEST_S
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"{path} takes more than {_LONGEST_S} s to read as E57; restore it") from None
        if done.returncode or not out.exists():
            said = (done.stderr.strip().splitlines() or ["its reader crashed"])[-1]
            raise ValueError(f"{path} cannot be read as E57 ({said[:300]}); restore it")
        with np.load(out, allow_pickle=False) as found:
            arrays = dict(found)
    count = sum(name.endswith(".pose") for name in arrays)
    if not count:
        raise ValueError(f"{path} holds no scan; restore it")
    scans = [_scan(path, number, arrays) for number in range(count)]
    shared = [name for name in scans[0][0] if all(name in columns for columns, _ in scans)]
    notes = [f"{count} scans are brought to one frame by their poses"] if count > 1 else []
    invalid = sum(left_out for _, left_out in scans)
    if invalid:
        notes.append(f"{invalid} points that the file marks as invalid are left out")
    return Table(
        {name: np.concatenate([columns[name] for columns, _ in scans]) for name in shared}, tuple(notes)
    )


def _scan(path: Path, number: int, arrays: dict[str, np.ndarray]) -> tuple[Columns, int]:
    """Give the columns of a scan in the frame of the file, and how many points were left out."""
    mine = {name.split(".", 1)[1]: each for name, each in arrays.items() if name.startswith(f"{number}.")}
    if all(f"cartesian{axis}" in mine for axis in "XYZ"):
        xyz = np.stack([mine[f"cartesian{axis}"] for axis in "XYZ"], axis=1).astype(np.float64)
    elif all(f"spherical{part}" in mine for part in ("Range", "Azimuth", "Elevation")):
        away, turn, rise = (mine[f"spherical{part}"] for part in ("Range", "Azimuth", "Elevation"))
        level = away * np.cos(rise)
        xyz = np.stack([level * np.cos(turn), level * np.sin(turn), away * np.sin(rise)], axis=1)
    else:
        raise ValueError(f"{path}: scan {number} has no positions, only {', '.join(mine)}; restore it")
    kept = np.ones(len(xyz), dtype=bool)
    for name in ("cartesianInvalidState", "sphericalInvalidState"):
        kept &= mine.get(name, np.zeros(len(xyz))) == 0
    xyz = xyz @ mine["pose"][:3, :3].T + mine["pose"][:3, 3]
    columns = {axis: xyz[kept, place] for place, axis in enumerate("xyz")}
    columns |= {ours: mine[theirs][kept] for theirs, ours in _NAMES.items() if theirs in mine}
    return columns, int((~kept).sum())
