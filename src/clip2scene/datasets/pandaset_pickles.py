"""Official PandaSet downloads, whose tables are pickles, into a folder that :class:`PandaSet` reads."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from clip2scene.datasets.pandaset import CAMERAS
from clip2scene.datasets.pandaset_tables import Columns, read_numbered_table

_COPIED = ("poses.json", "timestamps.json", "intrinsics.json")


def convert_pandaset(sequence: Path, out: Path) -> None:
    """Turn one sequence of an official PandaSet download into the folder that the loader reads.

    Copies images and calibration, and writes ``lidar/NN.npz`` with ``xyz`` (world frame), ``intensity``,
    ``t``, ``sensor`` and, where the sequence is annotated, ``label``. Cuboids are left behind. Nothing is
    left of a conversion that fails.

    Args:
        sequence: Folder of one sequence, for instance ``pandaset/002``.
        out: Folder to make.

    Raises:
        ValueError: If ``out`` is in use, or a file of the sequence is missing, broken, or not a plain table.
    """
    sequence, out = Path(sequence), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; remove it or name another folder")
    sweeps = sorted((sequence / "lidar").glob("*.pkl.gz"))
    if not sweeps:
        raise ValueError(f"{sequence} holds no lidar/NN.pkl.gz; expected one official PandaSet sequence")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".partial-{out.name}-"))
    try:
        temporary.chmod(0o755)
        for folder in ("lidar", *(f"camera/{name}" for name in CAMERAS)):
            _copy_calibration(sequence / folder, temporary / folder)
        for path in tqdm(sweeps, desc=f"PandaSet {sequence.name}", unit="sweep"):
            labels = sequence / "annotations" / "semseg" / path.name
            arrays = _sweep_arrays(path, labels if labels.exists() else None)
            target = temporary / "lidar" / path.name.replace(".pkl.gz", ".npz")
            np.savez_compressed(target, allow_pickle=False, **arrays)
        temporary.replace(out)
    except OSError as error:
        raise ValueError(f"{sequence} cannot be converted: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep_arrays(path: Path, labels: Path | None) -> Columns:
    """Read a sweep, and its labels if it has any."""
    table, rows = read_numbered_table(path)
    lacking = [name for name in "xyzitd" if name not in table]
    if lacking:
        raise ValueError(f"{path} lacks the columns {' '.join(lacking)}, it has {' '.join(table)}")
    arrays = {
        "xyz": np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float32),
        "intensity": np.clip(np.round(table["i"]), 0, 255).astype(np.uint8),
        "t": (table["t"] - table["t"].min(initial=np.inf)).astype(np.float32),
        "sensor": table["d"].astype(np.uint8),
    }
    if labels is not None:
        found, called = read_numbered_table(labels)
        raw = found.get("class")
        if raw is None or len(raw) != len(arrays["xyz"]):
            raise ValueError(f"{labels} should hold a column class with one label for each point of {path}")
        if not np.array_equal(called, rows):  # labels belong to points by the numbers of rows, not by order
            order = np.argsort(called)
            place = np.searchsorted(called[order], rows).clip(max=len(rows) - 1)
            if len(np.unique(rows)) < len(rows) or not np.array_equal(called[order][place], rows):
                raise ValueError(
                    f"{labels} numbers its rows otherwise than {path}; they are not of one sweep"
                )
            raw = raw[order][place]
        arrays["label"] = raw.astype(np.uint8)
    return arrays


def _copy_calibration(source: Path, target: Path) -> None:
    """Copy a sensor's JSON files and images."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name in _COPIED or path.suffix == ".jpg":
            shutil.copyfile(path, target / path.name)
