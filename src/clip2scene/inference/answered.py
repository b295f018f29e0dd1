"""Which clouds were answered by the same command before, so that an interrupted one can be given again."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from clip2scene.datasets.clouds.labelled import read_key
from clip2scene.runs.run import Run


def key_of(run: Run, files: Iterable[Path | None], *said: object) -> str:
    """Give a name to all that the answer to a cloud follows from.

    Args:
        run: Whose student labels.
        files: The cloud and what else is read; their names, sizes and times stand for what is in them.
        said: What was asked for, each as ``repr`` shows it.
    """
    stamps = [_stamp(each) for each in (run.checkpoint_path, *files) if each is not None]
    told = [repr(each) for each in (stamps, run.temperature, *said)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def _stamp(path: Path) -> tuple[str, int, int]:
    about = path.stat()
    return path.name, about.st_size, about.st_mtime_ns


def is_answered(key: str, classes: Path, results: Iterable[Path]) -> bool:
    """Tell whether a cloud's answer is whole, and that of a key.

    Args:
        key: :func:`key_of` what is asked for now.
        classes: The table of classes, which is written last of all.
        results: What else belongs to the answer.
    """
    return read_key(classes) == key and all(path.is_file() for path in results)
