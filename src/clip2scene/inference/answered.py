"""Which clouds were answered by the same command before, so that an interrupted one can be given again."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from clip2scene.datasets.clouds.labelled import read_key
from clip2scene.runs.copies import files_of
from clip2scene.runs.run import Run
from clip2scene.teacher.text_table import names_of


def key_of(run: Run, cloud: Path, words: Path | None, *said: object) -> str:
    """Give a name to all that the answer to a cloud follows from, the version of this package among it.

    Names, sizes and times of files stand for what is in them.

    Args:
        run: Whose student labels.
        cloud: The file.
        words: A table of words, beside which the file of its names may lie.
        said: What was asked for, each as ``repr`` shows it.
    """
    files = [*(run.folder / name for name in files_of(run)), cloud]
    if words is not None:
        files += [path for path in (words, words.with_name(names_of(words))) if path.exists()]
    told = [repr(each) for each in (version("clip2scene"), [_stamp(path) for path in files], *said)]
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
