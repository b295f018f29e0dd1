"""Which cloud files a call names, and what their results are called."""

import glob
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip2scene.datasets.clouds import SUFFIXES

_PERHAPS = (".txt", ".csv", ".npz", ".npy")
"""In folders, files of these suffixes are often no clouds: times, poses, labels."""


@dataclass(frozen=True)
class NamedCloud:
    """A cloud file to label.

    Attributes:
        path: The file.
        stem: What its results are called, without suffix, below the folder of results: its name, behind that
            of its folders where a folder or a pattern was named.
    """

    path: Path
    stem: Path


def find_clouds(given: Sequence[Path], out: Path, note: Callable[[str], None]) -> list[NamedCloud]:
    """List the clouds that files, folders and patterns name.

    Folders are searched with all that lie in them, but for the folder of results. ``.txt``, ``.csv``,
    ``.npy`` and ``.npz`` are taken from folders where nothing else there is a cloud.

    Args:
        given: Files; folders; patterns with ``*``, ``?``, ``[`` or ``**``, where no file has that name.
        out: Folder for the results.
        note: Takes what was passed over.

    Raises:
        ValueError: If there is no cloud, a folder or pattern leads to none, or two have the same name.
    """
    found: dict[Path, NamedCloud] = {}
    for each in given:
        if each.is_dir():
            inside = _clouds_in(each, sorted(each.rglob("*")), out, note)
        elif not each.exists() and glob.has_magic(str(each)):
            base = Path(*_plain_parts(each))
            paths = sorted(map(Path, glob.glob(str(each), recursive=True)))
            inside = _clouds_in(base, paths, out, note)
        else:
            inside = [NamedCloud(each, Path(_stem(each)))]
        if not inside:
            raise ValueError(
                f"{each} leads to no cloud, expected files ending in {', '.join(SUFFIXES)}; check its name"
            )
        found |= {cloud.path: cloud for cloud in inside}
    stems = [cloud.stem for cloud in found.values()]
    if not stems or len(set(stems)) < len(stems):
        twice = [str(stem) for stem in dict.fromkeys(stems) if stems.count(stem) > 1]
        raise ValueError(
            f"expected one or more clouds of different names, got {', '.join(twice[:5]) or 'none'}"
            f"{' more than once' if twice else ''}; name a file, split the call, or name their folder, whose "
            "folders the results keep"
        )
    return list(found.values())


def named(paths: Sequence[Path]) -> str:
    """Name the first of some files, and count the others."""
    return f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}"


def refuse_overwriting(clouds: Iterable[NamedCloud], results: Iterable[Path]) -> None:
    """Refuse to write over a cloud.

    Raises:
        ValueError: If a result is one of the clouds.
    """
    inputs = {cloud.path.resolve() for cloud in clouds}
    for path in results:
        if path.resolve() in inputs:
            raise ValueError(f"the results would be written over {path}; name another folder by --out")


def _clouds_in(base: Path, paths: Sequence[Path], out: Path, note: Callable[[str], None]) -> list[NamedCloud]:
    """List the clouds among some paths below a folder."""
    beside = [path for path in paths if path.is_file() and out.resolve() not in path.resolve().parents]
    clouds = [path for path in beside if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    sure = [path for path in clouds if path.suffix.lower() not in _PERHAPS]
    kept = sure or clouds
    others = [path for path in clouds if path not in set(kept)]
    if others:
        note(f"{named(others)} passed over beside other clouds; name files of this kind if they are clouds")
    return [NamedCloud(path, path.parent.relative_to(base) / _stem(path)) for path in kept]


def _plain_parts(pattern: Path) -> list[str]:
    """Give the folders of a pattern before the first that is a pattern itself."""
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".pcd")
