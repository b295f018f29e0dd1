import numpy as np
import pytest
import torch
from tests.datasets.drive_log.conftest import write

from clip2scene.datasets.drive_log.classes import class_set_to_json, read_class_set
from clip2scene.datasets.drive_log.loader import DriveLog


def test_labels_are_read_from_either_format_and_never_without_being_asked_for(log):
    expected = DriveLog(log)[0].labels
    (log / "labels" / "a.npy").unlink()
    (np.arange(50, dtype="<u4") % 4 | 7 << 16).tofile(log / "labels" / "a.label")
    assert torch.equal(DriveLog(log)[0].labels, expected)
    (log / "labels" / "b.npy").unlink()
    with pytest.raises(ValueError, match=r"lacks b.npy, in all 1 of 3 label files"):
        DriveLog(log)
    assert DriveLog(log, labels=False)[1].labels is None


def test_classes_survive_being_written_and_read(log, tmp_path):
    mine = read_class_set(log)
    write(tmp_path / "run", "classes.json", class_set_to_json(mine))
    assert read_class_set(tmp_path / "run") == mine
