import shutil

import numpy as np
import pytest
import torch

from clip2scene.datasets.clouds import CloudOptions
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.runs.run import open_run
from clip2scene.viewer.source import open_files, open_split


@pytest.fixture
def sample(tiny_toytown):
    return NuScenes(tiny_toytown, split="val", labels=True)[0]


@pytest.fixture
def cloud_file(sample, tmp_path):
    path = tmp_path / "cloud.npy"
    np.save(path, torch.cat([sample.cloud.positions, sample.cloud.features], dim=1).numpy())
    return path


def test_a_split_is_read_with_its_labels_and_cameras(opened, tiny_toytown):
    source = open_split(opened, tiny_toytown, "val")
    read = source.read(0).sample
    assert read.labels is not None and len(read.cameras) == 6 and len(source.tokens) == 2
    assert source.class_set.classes == opened.class_mapping.classes
    assert (source.split, source.notes) == ("val", ())


def test_a_split_without_labels_is_looked_at_all_the_same_and_says_so(opened, tiny_toytown, tmp_path):
    root = shutil.copytree(tiny_toytown, tmp_path / "toytown")
    for table in root.glob("*/lidarseg.json"):
        table.unlink()
    source = open_split(opened, root, "val")
    assert source.class_set is None and source.read(0).sample.labels is None
    assert any("no true labels" in note for note in source.notes)


def test_a_data_set_in_another_layout_than_the_runs_has_its_own_classes(opened, tiny_kitti):
    source = open_split(opened, tiny_kitti, "val")
    assert source.class_set.name == "semantic-kitti"
    assert any("in the layout semantic-kitti" in note for note in source.notes)


def test_a_folder_that_is_no_data_set_is_refused(opened, tmp_path):
    with pytest.raises(ValueError):
        open_split(opened, tmp_path / "nowhere", "val")


def test_a_split_that_is_not_there_is_refused(opened, tiny_toytown):
    with pytest.raises(ValueError, match="split"):
        open_split(opened, tiny_toytown, "validation")


def test_files_are_samples_without_cameras_or_labels(opened, cloud_file, sample):
    source = open_files(opened, [cloud_file], CloudOptions())
    read = source.read(0).sample
    assert torch.equal(read.cloud.positions, sample.cloud.positions)
    assert (read.cameras, read.labels, read.token) == ((), None, "cloud.npy")
    assert (source.split, source.class_set) == ("", None)


def test_what_is_asked_of_a_files_numbers_counts_and_what_was_guessed_is_told(opened, cloud_file, sample):
    read, notes = open_files(opened, [cloud_file], CloudOptions(axes="RFU", intensity="none")).read(0)
    turned = torch.stack([sample.cloud.positions[:, 1], -sample.cloud.positions[:, 0]], 1)
    assert torch.equal(read.cloud.positions[:, :2], turned)
    assert not read.cloud.features.any()


def test_a_cloud_unlike_the_training_clouds_is_told_of_and_not_refused(opened, sample, tmp_path):
    np.save(
        tmp_path / "feet.npy", torch.cat([sample.cloud.positions * 100, sample.cloud.features], 1).numpy()
    )
    _, notes = open_files(opened, [tmp_path / "feet.npy"], CloudOptions()).read(0)
    assert any(note.startswith("unlike the training clouds") for note in notes)


def test_files_of_one_name_are_told_apart_and_a_missing_one_is_refused(opened, cloud_file, tmp_path):
    (tmp_path / "other").mkdir()
    second = shutil.copy(cloud_file, tmp_path / "other" / "cloud.npy")
    source = open_files(opened, [cloud_file, second], CloudOptions())
    assert len({*source.tokens}) == 2 and source.read(1).sample.token == source.tokens[1]
    with pytest.raises(ValueError, match="missing"):
        open_files(opened, [tmp_path / "none.npy"], CloudOptions())


def test_a_run_without_statistics_says_that_clouds_are_compared_with_nothing(tiny_run, cloud_file, tmp_path):
    folder = shutil.copytree(
        tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("carried", "clouds.json")
    )
    source = open_files(open_run(folder), [cloud_file], CloudOptions())
    assert any("no statistics" in note for note in source.notes)
