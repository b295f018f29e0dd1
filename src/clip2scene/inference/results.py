"""What is written of a labelled cloud: its own format, plain numbers, and a coloured cloud."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from clip2scene.datasets.clouds import CloudFile, write_ply
from clip2scene.datasets.clouds.labelled import (
    CODES_SUFFIX,
    NO_LABEL,
    LabelCodes,
    PointLabels,
    labelled_path,
    name_before,
    write_labelled,
)
from clip2scene.inference.cloud_files import NamedCloud
from clip2scene.inference.figures import word_palette
from clip2scene.inference.segmenter import Segmentation
from clip2scene.inference.tiles import TiledLabels
from clip2scene.io import read_all_arrays, write_atomically


@dataclass(frozen=True)
class ResultPaths:
    """Where the results of a cloud lie.

    Attributes:
        numbers: Labels and scores as arrays.
        coloured: The points in the colours of their words.
        own: The cloud in its own format, which may be that of ``coloured``; None without room for labels.
        classes: Number and colour of each word.
        picture: The cloud from above.
    """

    numbers: Path
    coloured: Path
    own: Path | None
    classes: Path
    picture: Path

    @classmethod
    def of(cls, cloud: NamedCloud, out: Path) -> "ResultPaths":
        """Name those of a cloud below a folder."""
        folder, stem = out / cloud.stem.parent, cloud.stem.name
        numbers, coloured, picture = (folder / f"{stem}{kind}" for kind in (".npz", ".ply", ".png"))
        own = labelled_path(cloud.path, folder, stem)
        return cls(numbers, coloured, own, folder / f"{stem}{CODES_SUFFIX}", picture)

    def labelled(self) -> Path:
        """Give the file that the table of classes is of."""
        return self.own or self.coloured

    def written(self, *, in_tiles: bool = False) -> list[Path]:
        """List what is written of a cloud; in tiles, its own format, or coloured where that has no room."""
        own = [] if self.own is None else [self.own]
        labelled = [self.labelled()] if in_tiles else [self.numbers, self.coloured, *own]
        return list(dict.fromkeys([*labelled, self.classes]))


def write_results(
    cloud: NamedCloud, paths: ResultPaths, read: CloudFile, found: Segmentation, codes: LabelCodes
) -> None:
    """Write one cloud's labels; the table of classes is left to the caller, as it tells that all is there.

    Args:
        cloud: The file.
        paths: Where they go.
        read: What was read of it.
        found: Its labels.
        codes: Which number a class has in its format.
    """
    _write_numbers(paths.numbers, cloud.path, found)
    if paths.own != paths.coloured:
        _write_coloured(paths.coloured, read, found.names, found.labels)
    if paths.own is not None:
        raw = None if found.raw_labels is None else found.raw_labels.numpy()
        labels = PointLabels(found.labels.numpy(), found.scores.amax(1).numpy(), raw)
        write_labelled(cloud.path, paths.own, labels, codes, points=len(found.labels))


def write_tiled(
    cloud: NamedCloud, paths: ResultPaths, read: CloudFile, found: TiledLabels, codes: LabelCodes
) -> None:
    """Write the labels of a cloud that was labelled tile by tile; :func:`write_results` has the arguments."""
    if paths.own is not None:
        write_labelled(cloud.path, paths.own, found, codes, points=len(found))
    else:
        labels = torch.from_numpy(found.part(0, len(found)).labels)
        _write_coloured(paths.coloured, read, codes.names, labels)


def _write_numbers(path: Path, cloud: Path, found: Segmentation) -> None:
    """Write labels and scores as arrays, beside those of a cloud that came as arrays."""
    added = {
        "labels": found.labels.numpy(),
        "scores": found.scores.half().numpy(),
        "names": np.array(found.names),
    }
    if found.raw_labels is not None:
        added["raw_labels"] = found.raw_labels.numpy()
    given = read_all_arrays(cloud) if cloud.suffix.lower() == ".npz" else {}
    given = {name_before(name, given) if name in added else name: array for name, array in given.items()}
    with (
        write_atomically(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, array in {**given, **added}.items():  # savez takes no array of the name "file"
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _write_coloured(
    path: Path, read: CloudFile, names: Sequence[str], labels: Int[torch.Tensor, " points"]
) -> None:
    """Write the points where the file has them, in the colours of their words."""
    write_ply(
        path,
        read.positions,
        word_palette(len(names))[labels],
        labels=torch.where(labels < 0, NO_LABEL, labels),
        comments=[
            *(f"label {number} is {name}" for number, name in enumerate(names)),
            f"label {NO_LABEL} is none of these",
        ],
    )
