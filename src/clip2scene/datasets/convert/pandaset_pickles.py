"""Official PandaSet downloads, whose tables are pickles, into a folder that :class:`PandaSet` reads."""

import shutil
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from clip2scene.datasets.pandaset.loader import CAMERAS, PandaSet
from clip2scene.datasets.pandaset.tables import Columns, read_numbered_table
from clip2scene.io import new_folder
from clip2scene.parallel import progress_bar

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
        ValueError: If ``out`` is in use, or a file of the sequence is missing, broken, or not a plain table:
            each sweep needs its image of every camera, and labels if another sweep has them.
    """
    sequence = Path(sequence)
    sweeps = sorted((sequence / "lidar").glob("*.pkl.gz"))
    if not sweeps:
        raise ValueError(f"{sequence} holds no lidar/NN.pkl.gz; expected one official PandaSet sequence")
    labels = {path.name: path for path in (sequence / "annotations" / "semseg").glob("*.pkl.gz")}
    lacking = [path.name for path in sweeps if path.name not in labels]
    if labels and lacking:
        raise ValueError(
            f"{sequence / 'annotations' / 'semseg'} lacks {lacking[0]}, in all {len(lacking)} of "
            f"{len(sweeps)} files; restore them, or remove the folder to convert without labels"
        )
    with new_folder(out) as folder:
        try:
            for name in ("lidar", *(f"camera/{name}" for name in CAMERAS)):
                _copy_calibration(sequence / name, folder / name)
            _check(folder, [path.name.removesuffix(".pkl.gz") for path in sweeps])
            for path in progress_bar(sweeps, desc=f"PandaSet {sequence.name}", unit="sweep"):
                arrays = _sweep_arrays(path, labels.get(path.name))
                target = folder / "lidar" / path.name.replace(".pkl.gz", ".npz")
                np.savez_compressed(target, allow_pickle=False, **arrays)
            PandaSet(folder)
        except OSError as error:
            raise ValueError(f"{sequence} cannot be converted: {error}") from None
        except ValueError as error:
            raise ValueError(f"{error}".replace(f"{folder}", f"{sequence}")) from None


def _check(folder: Path, frames: list[str]) -> None:
    """Refuse a sequence that lacks an image."""
    images = [folder / "camera" / name / f"{frame}.jpg" for name in CAMERAS for frame in frames]
    lacking = [image for image in images if not image.exists()]
    if lacking:
        raise ValueError(
            f"{lacking[0]} is missing, in all {len(lacking)} of {len(images)} images; restore them"
        )


def _sweep_arrays(path: Path, labels: Path | None) -> Columns:
    """Read a sweep, and its labels if it has any."""
    table, rows = read_numbered_table(path)
    lacking = [name for name in "xyzitd" if name not in table]
    if lacking:
        raise ValueError(f"{path} lacks the columns {' '.join(lacking)}, it has {' '.join(table)}")
    arrays = {
        "xyz": np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float32),
        "intensity": _bytes(table["i"], 255, f"i of {path}"),
        "t": (table["t"] - table["t"].min(initial=np.inf)).astype(np.float32),
        "sensor": _bytes(table["d"], 1, f"d of {path}"),
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
        arrays["label"] = _bytes(raw, 255, f"class of {labels}")
    return arrays


def _bytes(values: Shaped[np.ndarray, " points"], highest: int, what: str) -> UInt8[np.ndarray, " points"]:
    """Round numbers of 0 to ``highest``, refusing others: as bytes, they would become something else."""
    strange = ~((values >= 0) & (values <= highest))  # NaN is strange too
    if strange.any():
        raise ValueError(
            f"the column {what} holds {values[strange][0]}, in all {int(strange.sum())} values that are not "
            f"in 0..{highest}; restore the file"
        )
    return np.round(values).astype(np.uint8)


def _copy_calibration(source: Path, target: Path) -> None:
    """Copy a sensor's JSON files and images."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name in _COPIED or path.suffix == ".jpg":
            shutil.copyfile(path, target / path.name)
