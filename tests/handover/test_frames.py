import shutil

import numpy as np
import pytest
import torch

from clip2scene.classes.tables import SEMANTIC_KITTI
from clip2scene.datasets.label_layer import LabelLayer, write_layer
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.geometry.projection import transform_points
from clip2scene.handover.frames import open_labelled
from clip2scene.inference.export_kitti import predictions
from clip2scene.inference.predict import open_split
from clip2scene.runs.run import open_run
from clip2scene.types import IGNORE_LABEL


def all_frames(labelled):
    return [frame for scene in labelled.scenes for frame in labelled.frames(scene)]


def test_without_a_run_the_data_sets_own_labels_are_handed_over(tiny_toytown):
    dataset = NuScenes(tiny_toytown, split="val", labels=True)
    some = all_frames(open_labelled(None, data_root=tiny_toytown, split="val"))
    assert [frame.name for frame in some] == list(dataset.tokens)
    assert [frame.number for frame in some] == [0, 1] and all(frame.confidence is None for frame in some)
    for number, frame in enumerate(some):
        assert (frame.labels == dataset[number].labels.numpy()).all()
        assert len(frame.sample.cameras) == 6 and frame.intensity is not None and frame.colours is None


def test_a_runs_predictions_are_those_of_the_export_for_benchmarks_with_their_scores(tiny_run, tiny_toytown):
    run = open_run(tiny_run)
    expected = dict(predictions(run, open_split(run, tiny_toytown, "val")))
    some = all_frames(open_labelled(tiny_run, data_root=tiny_toytown, split="val", images=False))
    sure = np.concatenate([frame.confidence for frame in some])
    assert all((frame.labels == expected[frame.name].numpy()).all() for frame in some)
    assert 0 < sure.min() < sure.max() <= 1 and not any(frame.sample.cameras for frame in some)
    bound = float(np.median(sure))
    unsure = all_frames(open_labelled(tiny_run, data_root=tiny_toytown, split="val", abstain=bound))
    for frame, other in zip(some, unsure, strict=True):
        assert (other.labels == np.where(frame.confidence >= bound, frame.labels, IGNORE_LABEL)).all()


def test_poses_are_those_of_the_world_from_the_first_cloud_on(tiny_toytown):
    dataset = NuScenes(tiny_toytown, split="val")
    first, second = all_frames(open_labelled(None, data_root=tiny_toytown, split="val"))
    assert first.pose[:3, 3].tolist() == [0, 0, 0] and np.abs(second.pose[:3, 3]).max() > 0.1
    world = [dataset.timestamps(number).world_from_cloud for number in (0, 1)]
    for frame, world_from_cloud in zip((first, second), world, strict=True):
        places = transform_points(world_from_cloud, frame.sample.cloud.positions.double()).numpy()
        here = frame.positions @ frame.pose[:3, :3].T + frame.pose[:3, 3]
        assert np.abs(here - (places - world[0][:3, 3].numpy())).max() < 1e-4


def test_a_room_has_colours_in_the_place_of_an_intensity(tiny_rooms):
    (frame,) = all_frames(open_labelled(None, data_root=tiny_rooms, split="val"))
    assert frame.intensity is None and frame.pose is None and frame.time_us is None
    assert frame.colours.dtype == np.uint8 and frame.colours.max() > 100


def test_a_run_labels_data_in_another_layout_in_the_classes_of_these(tiny_run, tiny_kitti, tiny_rooms):
    labelled = open_labelled(tiny_run, data_root=tiny_kitti, split="val", unlike="accept")
    assert labelled.class_set is SEMANTIC_KITTI
    (frame, *_) = all_frames(labelled)
    assert frame.labels.min() >= 0 and len(frame.labels) == len(frame.positions)
    with pytest.raises(ValueError, match="holds rooms, but .* was trained on streets; name data of the kind"):
        open_labelled(tiny_run, data_root=tiny_rooms, split="val")


def test_a_layers_labels_are_handed_over_where_it_has_some(tiny_run, tiny_toytown, tmp_path):
    ask = {"data_root": tiny_toytown, "split": "val", "layer": tmp_path}
    sample = NuScenes(tiny_toytown, split="val")[1]
    labels = torch.arange(len(sample.cloud)).remainder(5) - 2  # nobody, no class, and three classes
    write_layer(tmp_path, LabelLayer.of(sample, ("car", "bus", "truck"), labels))
    labelled = open_labelled(None, **ask)
    (frame,) = all_frames(labelled)
    places = [labelled.class_set.classes.index(name) for name in ("car", "bus", "truck")]
    assert frame.name == sample.token and frame.labels[:5].tolist() == [-1, -1, *places]
    with pytest.raises(ValueError, match="both have labels to hand over; name one of them"):
        open_labelled(tiny_run, **ask)
    with pytest.raises(ValueError, match="holds no label of the 2 samples of the split; it holds those of"):
        open_labelled(None, **{**ask, "split": "train"})
    other = NuScenes(tiny_toytown, split="val")[0]
    nothing = LabelLayer.of(other, ("car",), torch.zeros(len(other.cloud)).long())
    path = write_layer(tmp_path, nothing)
    np.savez(path, **{**np.load(path), "labels": np.full(len(other.cloud), -2)})  # as others may write it
    assert len(all_frames(open_labelled(None, **ask))) == 1
    path.unlink()
    write_layer(tmp_path, LabelLayer.of(sample, ("lava",), labels.clamp(max=0)))
    with pytest.raises(ValueError, match="labels points as 'lava', expected some of barrier"):
        all_frames(open_labelled(None, **ask))


def test_data_without_labels_need_a_run(tiny_kitti, tmp_path):
    bare = shutil.copytree(tiny_kitti, tmp_path / "kitti", ignore=shutil.ignore_patterns("labels"))
    with pytest.raises(ValueError, match="no labels to hand over: .*; name a run to hand over what it says"):
        open_labelled(None, data_root=bare, split="val")


def test_what_cannot_be_handed_over_is_refused_before_anything_is_read(tiny_run, tiny_toytown, tmp_path):
    ask = {"data_root": tiny_toytown, "split": "val"}
    with pytest.raises(ValueError, match="the split has no scene nowhere; it has 1, such as"):
        open_labelled(None, **ask, scenes=["nowhere"])
    with pytest.raises(ValueError, match="--abstain 0.5 is about scores, which labels have not"):
        open_labelled(None, **ask, abstain=0.5)
    with pytest.raises(ValueError, match="is no data set in a known layout"):
        open_labelled(None, data_root=tmp_path, split="val")
