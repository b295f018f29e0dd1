"""Clouds as files with a label for each point: written as the cloud came, and read back.

:func:`write_labelled` keeps a file's format, order, coordinates and fields, byte for byte where the format
lets it, and adds two numbers a point: the label and its score.

| cloud | where the label goes | and the score |
|---|---|---|
| ``.las`` ``.laz`` | ``classification`` | ExtraBytes ``confidence`` |
| ``.pcd`` ``.ply`` ``.feather``, records in ``.npy`` | a field ``label`` | a field ``confidence`` |
| ``.txt`` ``.xyz`` ``.csv`` ``.pts`` | a column ``label`` | a column ``confidence`` |
| ``.bin``, plain ``.npy`` | ``NAME.label`` beside, of SemanticKITTI's form | |

``.npz`` is answered by what ``segment`` writes in any case. ``.ptx`` and ``.e57`` have no room for labels.
"""

from clip2scene.datasets.clouds.labelled.codes import (
    CODES_SUFFIX,
    NO_LABEL,
    LabelCodes,
    PointLabels,
    name_before,
    read_key,
)
from clip2scene.datasets.clouds.labelled.read import LABEL_SUFFIXES, FileLabels, read_file_labels
from clip2scene.datasets.clouds.labelled.write import codes_for, labelled_path, write_labelled

__all__ = [
    "CODES_SUFFIX",
    "LABEL_SUFFIXES",
    "NO_LABEL",
    "FileLabels",
    "LabelCodes",
    "PointLabels",
    "codes_for",
    "labelled_path",
    "name_before",
    "read_file_labels",
    "read_key",
    "write_labelled",
]
