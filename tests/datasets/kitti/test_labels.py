import numpy as np
import pytest
import torch

from clip2scene.classes.tables import NUSCENES, SEMANTIC_KITTI, TOYTOWN_KITTI, ClassSet
from clip2scene.datasets.kitti.labels import RAW_OF_CLASS, read_labels, write_labels
from clip2scene.types import IGNORE_LABEL


@pytest.mark.parametrize("class_set", [SEMANTIC_KITTI, TOYTOWN_KITTI], ids=lambda each: each.name)
def test_labels_come_back_as_they_were_written(tmp_path, class_set):
    labels = torch.arange(-1, len(class_set)).repeat(3)
    write_labels(tmp_path / "a" / "000000.label", labels, class_set)
    assert torch.equal(read_labels(tmp_path / "a" / "000000.label", len(labels), class_set), labels)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["000000.label"]


def test_answers_have_the_raw_ids_that_the_benchmark_counts(tmp_path):
    counted = [10, 11, 15, 18, 20, 30, 31, 32, 40, 44, 48, 49, 50, 51, 70, 71, 72, 80, 81]
    write_labels(tmp_path / "0.label", torch.tensor([*range(19), IGNORE_LABEL]))
    assert np.fromfile(tmp_path / "0.label", "<u4").tolist() == [*counted, 0]
    assert list(RAW_OF_CLASS) == list(SEMANTIC_KITTI.classes)


def test_labels_that_no_file_can_hold_are_refused_and_nothing_is_written(tmp_path):
    for labels, class_set, fault in (
        (torch.tensor([19]), SEMANTIC_KITTI, r"train ids in -1..18, got \[19\]"),
        (torch.tensor([-2]), SEMANTIC_KITTI, "train ids in -1..18"),
        (torch.tensor([0]), NUSCENES, "barrier, bus, .* of class set 'nuscenes': no such class"),
    ):
        with pytest.raises(ValueError, match=fault):
            write_labels(tmp_path / "0.label", labels, class_set)
    assert not list(tmp_path.iterdir())


def test_own_classes_are_read_by_their_own_raw_ids(tmp_path):
    moving = ClassSet("two", ("still", "moves"), (("a",), ("b",)), ((1, 1, 1), (2, 2, 2)), {10: 0, 252: 1})
    np.array([10, 252, 40, (5 << 16) | 252], "<u4").tofile(tmp_path / "0.label")
    assert read_labels(tmp_path / "0.label", 4, moving).tolist() == [0, 1, IGNORE_LABEL, 1]
