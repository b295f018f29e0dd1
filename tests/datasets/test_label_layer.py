from dataclasses import replace

import numpy as np
import pytest
import torch

from clip2scene.datasets import label_layer
from clip2scene.datasets.label_layer import (
    SUFFIX,
    UNLABELLED,
    LabelLayer,
    Relabelled,
    find_layers,
    layer_path,
    open_layers,
    read_layer,
    write_layer,
)
from clip2scene.types import IGNORE_LABEL, PointCloud, Sample

CLASSES = ("car", "tree", "road")
LABELS = torch.tensor([2, 0, UNLABELLED, IGNORE_LABEL, 1], dtype=torch.int16)


def make_sample(token="a", shift=0.0):
    cloud = PointCloud(torch.arange(15.0).reshape(5, 3) + shift, torch.ones(5, 1))
    return Sample(token, cloud, (), lambda view: None)


@pytest.fixture
def layer():
    return LabelLayer.of(make_sample(), CLASSES, LABELS)


def write_by_hand(folder, **changes):
    """Write a file as another program might."""
    layer = LabelLayer.of(make_sample(), CLASSES, LABELS)
    arrays = {
        "labels": LABELS.numpy(),
        "classes": np.array(CLASSES),
        "token": np.array("a"),
        "cloud": np.array(layer.cloud),
    }
    path = folder / f"a{SUFFIX}"
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return path


def test_labels_come_back_as_they_were_written(tmp_path, layer):
    path = write_layer(tmp_path / "layer", layer)
    back = read_layer(path)
    assert (back.token, back.cloud, back.classes) == (layer.token, layer.cloud, CLASSES)
    assert torch.equal(back.labels, LABELS) and back.labels.dtype == torch.int16
    assert find_layers(tmp_path / "layer") == {"a": path} == {"a": layer_path(tmp_path / "layer", "a")}
    assert [*path.parent.iterdir()] == [path]


def test_what_another_program_writes_with_numpy_alone_is_read(tmp_path, layer):
    assert read_layer(write_by_hand(tmp_path)).fingerprint == layer.fingerprint


def test_nothing_is_labelled_in_a_new_layer_and_of_no_class_is_a_label():
    assert not LabelLayer.of(make_sample(), CLASSES).labelled.any()
    assert LabelLayer.of(make_sample(), CLASSES, LABELS).labelled.tolist() == [True, True, False, True, True]


def test_the_fingerprint_sees_whatever_is_said(layer):
    others = [
        replace(layer, token="b"),
        replace(layer, cloud="0" * 16),
        replace(layer, classes=("car", "bush", "road")),
        replace(layer, labels=torch.tensor([2, 0, UNLABELLED, UNLABELLED, 1]).short()),
    ]
    assert len({each.fingerprint for each in (layer, *others)}) == 5


def test_classes_are_known_by_their_names(layer):
    other = ("road", "bus", "tree", "car")
    assert layer.in_classes(other).tolist() == [0, 3, UNLABELLED, IGNORE_LABEL, 2]
    few = LabelLayer.of(make_sample(), CLASSES, torch.full((5,), 2))
    assert few.in_classes(("road",)).tolist() == [0] * 5  # what no point has need not be known
    with pytest.raises(ValueError, match=r"b\.npz labels points as 'car', 'tree', expected some of road"):
        layer.in_classes(("road",), "b.npz")


def test_labels_of_another_cloud_are_refused(layer):
    layer.check(make_sample())
    fewer = make_sample()
    fewer = replace(fewer, cloud=PointCloud(fewer.cloud.positions[:3], fewer.cloud.features[:3]))
    for sample, said in (
        (make_sample("b"), "is of sample a, expected b"),
        (fewer, "has 5 labels, but the cloud of a has 3 points"),
        (make_sample(shift=0.1), "another cloud than a: as many points"),
    ):
        with pytest.raises(ValueError, match=said):
            layer.check(sample)
    with pytest.raises(ValueError, match="has 3 labels"):
        LabelLayer.of(make_sample(), CLASSES, LABELS[:3])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "lacks an array"),
        ({"labels": np.zeros((5, 1), dtype=int)}, "no label layer: expected a whole number for each point"),
        ({"labels": np.zeros(5)}, "no label layer"),
        ({"labels": np.array([0, 1, 3, 0, 0])}, "labels from 0 to 3"),
        ({"labels": np.array([0, -3, 0, 0, 0])}, "labels from -3 to 0"),
        ({"labels": np.array([2**63, 0], dtype=np.uint64)}, "holds labels from 0 to 9223372036854775808"),
        ({"labels": np.array([{}, {}])}, "cannot be read"),
        ({"classes": np.array("car")}, "no label layer"),
        ({"classes": np.array(["car", "car", "road"])}, "all different"),
        ({"classes": np.array(["car", " ", "road"])}, "a class called ' '"),
        ({"classes": np.array(["car", "tr\u202eee", "road"])}, "words that can be read"),
        ({"classes": np.zeros(0, dtype=str), "labels": np.full(5, -2)}, "needs 1 to 32767 classes"),
        ({"classes": np.array([b"car"], dtype=object)}, "cannot be read"),
        ({"token": np.array("b")}, f"holds the labels of b; rename it to b{SUFFIX}"),
        ({"cloud": np.array(3)}, "should hold texts"),
    ],
)
def test_a_strangers_file_that_is_no_layer_is_one_sentence(tmp_path, changes, said):
    path = write_by_hand(tmp_path, **changes)
    with pytest.raises(ValueError, match=said) as caught:
        read_layer(path)
    assert str(path) in str(caught.value)


def test_a_damaged_or_missing_file_is_named(tmp_path, layer):
    path = write_layer(tmp_path, layer)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read"):
        read_layer(path)
    with pytest.raises(ValueError, match="is missing"):
        read_layer(tmp_path / f"b{SUFFIX}")
    with pytest.raises(ValueError, match="is no folder of labels"):
        find_layers(tmp_path / "nowhere")


@pytest.mark.parametrize("token", ["", "../a", ".hidden", "a/b", "a\\b", "a\0", "a\n", "x" * 201])
def test_no_file_is_written_outside_of_the_folder(tmp_path, token, layer):
    with pytest.raises(ValueError, match="no name for a file of labels"):
        write_layer(tmp_path, replace(layer, token=token))
    assert not [*tmp_path.iterdir()]


def test_a_layer_that_makes_no_sense_is_not_written(tmp_path, layer):
    with pytest.raises(ValueError, match="labels from -2 to 2, expected -2"):
        write_layer(tmp_path, replace(layer, classes=("car", "tree")))
    assert not [*tmp_path.iterdir()]


def test_a_fault_while_writing_leaves_what_was_there(tmp_path, layer, monkeypatch):
    path = write_layer(tmp_path, layer)

    def fail(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(label_layer.np, "savez_compressed", fail)
    with pytest.raises(ValueError, match="the disk is full"):
        write_layer(tmp_path, replace(layer, labels=torch.zeros(5).short()))
    assert torch.equal(read_layer(path).labels, LABELS)


class Samples:
    tokens = ("a", "b")

    def __getitem__(self, index):
        return make_sample(self.tokens[index])


def keep_all(token, labels):
    return labels


@pytest.fixture
def folder(tmp_path):
    for token in "ab":
        write_layer(tmp_path, LabelLayer.of(make_sample(token), CLASSES, LABELS))
    return tmp_path


def test_a_sample_without_a_label_has_no_file(tmp_path, layer):
    path = write_layer(tmp_path, layer)
    assert path.exists()
    nothing = LabelLayer.of(make_sample(), CLASSES)
    write_layer(tmp_path, nothing)
    assert find_layers(tmp_path) == {}
    write_layer(tmp_path / "other", nothing)
    assert not (tmp_path / "other").exists()


def test_layers_are_found_where_something_is_labelled(folder, tmp_path):
    write_by_hand(tmp_path, labels=np.full(5, UNLABELLED))  # of a, as another program may write it
    layers = open_layers(folder, ("c", "a", "b"))
    assert [*layers.paths] == ["b"] == [*layers.fingerprints]
    assert layers.of(make_sample("b"), CLASSES).tolist() == LABELS.tolist()
    before = layers.fingerprint
    write_layer(folder, LabelLayer.of(make_sample("b"), CLASSES, torch.zeros(5).long()))
    assert open_layers(folder, ("b",)).fingerprint != before
    with pytest.raises(ValueError, match=rf"b{SUFFIX} was changed meanwhile; stop labelling"):
        layers.of(make_sample("b"), CLASSES)
    with pytest.raises(ValueError, match="holds no label of the 2 samples of the split; it holds those of a"):
        open_layers(folder, ("a", "c"))


def test_samples_get_a_layers_labels_and_nobody_trains_on_points_without(folder):
    relabelled = Relabelled(Samples(), open_layers(folder, "ab"), ("road", "car", "tree"), keep_all)
    assert relabelled.tokens == ("a", "b")
    assert relabelled[1].labels.tolist() == [0, 1, IGNORE_LABEL, IGNORE_LABEL, 2]
    write_layer(folder, LabelLayer.of(make_sample("a", shift=1.0), CLASSES, LABELS))
    with pytest.raises(ValueError, match=rf"a{SUFFIX} belongs to another cloud"):
        Relabelled(Samples(), open_layers(folder, "ab"), CLASSES, keep_all)[0]


def test_the_rest_is_labelled_where_nobody_did_and_not_where_labels_are_left_out(folder):
    def keep_trees(token, labels):
        return torch.where(labels == 1, labels, IGNORE_LABEL)

    def roads(sample):
        return torch.full((len(sample.cloud),), 2)

    relabelled = Relabelled(Samples(), open_layers(folder, "ab"), CLASSES, keep_trees, roads)
    assert relabelled[0].labels.tolist() == [IGNORE_LABEL, IGNORE_LABEL, 2, IGNORE_LABEL, 1]
