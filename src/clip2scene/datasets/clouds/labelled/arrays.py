"""Records of NumPy, tables of Arrow, and labels in a file of their own."""

from pathlib import Path

import numpy as np

from clip2scene.datasets.clouds.labelled.codes import LabelCodes, LabelSource, PointLabels, name_before
from clip2scene.datasets.clouds.labelled.pcd import fields_of
from clip2scene.datasets.clouds.las import CHUNK
from clip2scene.io import read_array, write_atomically


def write_label_file(path: Path, labels: LabelSource, codes: LabelCodes, points: int) -> None:
    """Write a uint32 a point, as SemanticKITTI's ``.label`` files have it: raw ids, no instances."""
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        for start in range(0, points, CHUNK):
            part = labels.part(start, min(start + CHUNK, points))
            stream.write(codes.of(part.labels).astype("<u4").tobytes())


def has_records(cloud: Path) -> bool:
    """Tell whether a ``.npy`` file holds records with named fields."""
    return read_array(cloud, records=True).dtype.names is not None


def write_records(cloud: Path, path: Path, labels: PointLabels, codes: LabelCodes) -> None:
    """Write records with fields ``label`` (uint32) and ``confidence`` (float32) behind their own."""
    records = read_array(cloud, records=True)
    added, own = fields_of(labels, codes), records.dtype.names or ()
    names = [name_before(name, own) if name in added else name for name in own]
    kinds = [(new, records.dtype[name]) for new, name in zip(names, own, strict=True)]
    table = np.empty(records.shape, [*kinds, *((name, each.dtype) for name, each in added.items())])
    for new, name in zip(names, own, strict=True):
        table[new] = records[name]
    for name, each in added.items():
        table[name] = each.reshape(records.shape)
    with write_atomically(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, table)


def write_feather(cloud: Path, path: Path, labels: PointLabels, codes: LabelCodes) -> None:
    """Write an Arrow table with columns ``label`` (uint32) and ``confidence`` (float32) behind its own."""
    import pyarrow
    from pyarrow import feather

    table = feather.read_table(cloud)
    added = fields_of(labels, codes)
    own = table.column_names
    about = table.schema.metadata
    table = table.rename_columns([name_before(name, own) if name in added else name for name in own])
    for name, each in added.items():
        table = table.append_column(name, pyarrow.array(each))
    with write_atomically(path) as temporary:
        feather.write_feather(table.replace_schema_metadata(about), str(temporary))
