"""Where the index of nuScenes' tables is kept, and when it may stand in for them."""

import hashlib
import json
import logging
import os
import time
from pathlib import Path

import numpy as np

from clip2scene.datasets.nuscenes.index import Index, index_from_arrays, index_to_arrays
from clip2scene.datasets.nuscenes.tables import TABLES, build_index
from clip2scene.io import write_atomically

FOLDER_VARIABLE = "CLIP2SCENE_CACHE"
"""Environment variable that names a folder for index files."""

BESIDE = "clip2scene-index.npz"
"""Name of the index among the tables."""

SMALLEST_BYTES = 32_000_000
"""Smaller tables are read anew each time: it takes well below a second."""

FORMAT = 2

_SETTLED_S = 2.0  # a table that has just been written may still be changing within one tick of its clock
_log = logging.getLogger(__name__)


def open_index(tables: Path, folder: Path | None = None) -> Index:
    """Take the index from its file, or read the tables and leave the file for the next time.

    The file lies in ``folder``; else in the folder that :data:`FOLDER_VARIABLE` names; else, for tables above
    :data:`SMALLEST_BYTES`, among the tables, or where that is forbidden in the user's own cache folder. It is
    used as long as no table has another size or time of change than when it was made. Where it cannot be
    written, the tables are read each time, and the log says so.

    Args:
        tables: Folder of the tables.
        folder: Where to keep the file.

    Raises:
        ValueError: If a table is missing, cut short or inconsistent.
    """
    signature = _signature(tables)
    is_large = sum(size for size, _ in signature.values()) >= SMALLEST_BYTES
    places = _places(tables, folder, is_large)
    for place in places:
        index = _read(place, signature)
        if index is not None:
            return index
    index = build_index(tables, show_progress=is_large)
    latest, newest = max((changed / 1e9, name) for name, (_, changed) in signature.items())
    age = time.time() - latest
    if places and age < -_SETTLED_S:
        _log.warning(
            "%s was changed in the future, so no index is kept; set the clock right, or touch that file",
            tables / f"{newest}.json",
        )
    if places and signature == _signature(tables) and age > _SETTLED_S:
        _write(places, index, signature)
    return index


def _signature(tables: Path) -> dict[str, tuple[int, int]]:
    """Return the size and time of change of each table."""
    signature = {}
    for name in TABLES:
        path = tables / f"{name}.json"
        try:
            status = path.stat()
        except OSError:
            raise ValueError(f"{path} is missing; check the folder you named") from None
        signature[name] = (status.st_size, status.st_mtime_ns)
    return signature


def _places(tables: Path, folder: Path | None, is_large: bool) -> list[Path]:
    """List where the file may lie, the best place first."""
    name = f"nuscenes-{hashlib.sha256(str(tables.resolve()).encode()).hexdigest()[:16]}.npz"
    chosen = folder or os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return [Path(chosen) / name]
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clip2scene"
    return [tables / BESIDE, own / name] if is_large else []


def _stamp(signature: dict[str, tuple[int, int]]) -> bytes:
    return json.dumps({"format": FORMAT, "tables": signature}, sort_keys=True).encode()


def _read(path: Path, signature: dict[str, tuple[int, int]]) -> Index | None:
    """Read an index file; None if there is none, or it is damaged or of other tables."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if arrays["signature"].tobytes() != _stamp(signature):
                return None
            return index_from_arrays({name: arrays[name] for name in arrays.files if name != "signature"})
    except FileNotFoundError:
        return None
    except Exception:  # archives and NumPy's headers break in many ways, and the answer is always the same
        _log.warning("%s is damaged; it is made anew from the tables", path)
        return None


def _write(places: list[Path], index: Index, signature: dict[str, tuple[int, int]]) -> None:
    """Write an index file in the first place that takes it."""
    arrays = {"signature": np.frombuffer(_stamp(signature), np.uint8), **index_to_arrays(index)}
    for place in places:
        try:
            with write_atomically(place) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]  # its stubs take no mapping of arrays
        except OSError as error:
            _log.warning("the index of the tables cannot be written to %s (%s)", place, error.strerror)
        else:
            return
