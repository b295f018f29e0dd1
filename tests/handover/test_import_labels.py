import json
import shutil

import numpy as np
import pytest
import torch

from clip2scene.datasets.label_layer import UNLABELLED, find_layers, read_layer
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.pandaset.loader import PandaSet
from clip2scene.handover.export import export_split
from clip2scene.handover.frames import open_labelled
from clip2scene.handover.import_labels import import_labels
from clip2scene.types import IGNORE_LABEL

TOOLS = ("segments", "supervisely", "labelcloud", "point-labeler", "las")


@pytest.fixture(scope="module")
def exported(tiny_toytown, tmp_path_factory):
    """The true labels of toytown's val split in the form of every tool; copy it, never write to it."""
    folder = tmp_path_factory.mktemp("handover")
    for tool in TOOLS:
        export_split(open_labelled(None, data_root=tiny_toytown, split="val"), tool, folder / tool)
    return folder


def labels_of(out):
    return {token: read_layer(path).labels for token, path in find_layers(out).items()}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_labels_of_every_point_come_back_from_every_tool(exported, tiny_toytown, tmp_path, tool):
    done = import_labels(exported / tool, form=tool, data_root=tiny_toytown, out=tmp_path / "layer")
    dataset = NuScenes(tiny_toytown, split="val", labels=True)
    found = labels_of(tmp_path / "layer")
    assert set(found) == set(dataset.tokens) and len(done.met) == 2 and not done.by_place
    for number, token in enumerate(dataset.tokens):
        truth = dataset[number].labels
        assert (found[token] == torch.where(truth == IGNORE_LABEL, UNLABELLED, truth)).all()
        assert (truth >= 0).any()
    assert done.points == sum(map(len, found.values())) and 0 < done.labelled <= done.points


def test_corrections_crops_and_other_orders_of_cloud_compare_come_back(exported, tiny_toytown, tmp_path):
    laspy = pytest.importorskip("laspy")
    folder = shutil.copytree(exported / "las", tmp_path / "las")
    first, second = sorted(folder.glob("*/*.las"))
    second.unlink()
    las = laspy.read(first)
    chosen = np.random.default_rng(0).permutation(len(las.points))[: len(las.points) // 3]
    las.points = las.points[chosen]
    las.classification[:10] = 64  # barrier, nuScenes' first class
    las.write(first)
    done = import_labels(folder, form="las", data_root=tiny_toytown, out=tmp_path / "layer")
    (token,) = labels_of(tmp_path / "layer")
    found = labels_of(tmp_path / "layer")[token]
    dataset = NuScenes(tiny_toytown, split="val", labels=True)
    truth = dataset[list(dataset.tokens).index(token)].labels
    expected = torch.full_like(truth, UNLABELLED)
    expected[chosen] = torch.where(truth[chosen] == IGNORE_LABEL, UNLABELLED, truth[chosen])
    expected[chosen[:10]] = 0
    assert (found == expected).double().mean() > 0.999  # points at one place share a label
    assert done.by_place == [token] and done.missing >= len(truth) - len(chosen) - 5 and done.foreign == 0
    said = done.sentence(tmp_path / "layer")
    assert "matched by coordinates" in said and f"{done.missing:,} points are not in these files" in said


@pytest.mark.real_data
@pytest.mark.parametrize("tool", ["supervisely", "las"])
def test_the_labels_of_a_real_drive_come_back(real_data, tmp_path, tool):
    root = real_data / "pandaset-002"
    if not root.is_dir():
        pytest.skip(f"no drive of PandaSet's in {real_data}")
    export_split(open_labelled(None, data_root=root, split="val"), tool, tmp_path / "out")
    done = import_labels(tmp_path / "out", form=tool, data_root=root, out=tmp_path / "layer")
    dataset = PandaSet(root, split="val", labels=True)
    found = labels_of(tmp_path / "layer")
    assert set(found) == set(dataset.tokens) and not done.by_place
    for number in range(0, len(dataset), 4):
        truth = dataset[number].labels
        assert (found[dataset.tokens[number]] == torch.where(truth < 0, UNLABELLED, truth)).all()


def test_a_sample_without_a_label_gets_no_file_and_nothing_at_all_is_refused(
    exported, tiny_toytown, tmp_path
):
    folder = shutil.copytree(exported / "labelcloud", tmp_path / "tool")
    first, second = sorted((folder / "labels" / "segmentation").glob("*.bin"))
    first.write_bytes(bytes(first.stat().st_size))
    ask = {"form": "labelcloud", "data_root": tiny_toytown}
    done = import_labels(folder, out=tmp_path / "layer", **ask)
    assert [*find_layers(tmp_path / "layer")] == [second.stem] and done.written == 1
    said = done.sentence(tmp_path / "layer")
    assert "wrote labels of 1 samples" in said and "of 1 more the tool has no label" in said
    second.write_bytes(bytes(second.stat().st_size))
    with pytest.raises(ValueError, match="nothing is labelled in the 2 samples of"):
        import_labels(folder, out=tmp_path / "other", **ask)
    assert not (tmp_path / "other").exists()


def renamed(folder, change):
    path = folder / "labels" / "_classes.json"
    content = json.loads(path.read_text())
    for each in content["classes"]:
        each["name"] = change.get(each["name"], each["name"])
    path.write_text(json.dumps(content))


def test_classes_that_are_not_the_data_sets_are_named_all_at_once(exported, tiny_toytown, tmp_path):
    folder = shutil.copytree(exported / "labelcloud", tmp_path / "tool")
    renamed(folder, {"driveable surface": "lava", "manmade": "castle", "trailer": "unused"})
    with pytest.raises(ValueError, match="'lava' .* points.*'castle'|'castle' .* points.*'lava'") as error:
        import_labels(folder, form="labelcloud", data_root=tiny_toytown, out=tmp_path / "layer")
    assert "expected barrier, bicycle" in str(error.value) and "unused" not in str(error.value)
    assert not (tmp_path / "layer").exists()


def test_capitals_do_not_count_and_some_names_say_that_a_point_is_of_no_class(
    exported, tiny_toytown, tmp_path
):
    folder = shutil.copytree(exported / "labelcloud", tmp_path / "tool")
    renamed(folder, {"driveable surface": "Driveable Surface ", "manmade": "ignore"})
    import_labels(folder, form="labelcloud", data_root=tiny_toytown, out=tmp_path / "layer")
    dataset = NuScenes(tiny_toytown, split="val", labels=True)
    for number, token in enumerate(dataset.tokens):
        truth, found = dataset[number].labels, labels_of(tmp_path / "layer")[token]
        manmade, road = (dataset.class_set.classes.index(name) for name in ("manmade", "driveable surface"))
        assert (found[truth == manmade] == IGNORE_LABEL).all() and (found[truth == road] == road).all()


def test_labels_of_another_split_or_of_nothing_are_refused(exported, call, tiny_toytown, tmp_path):
    ask = ("--data-root", tiny_toytown, "--out", tmp_path / "layer")
    code, _, err = call(
        "import-labels", exported / "segments", "--from", "segments", "--split", "train", *ask
    )
    assert code == 1 and "holds no labels of split 'train', whose samples are called like" in err
    code, _, err = call("import-labels", tmp_path / "nowhere", "--from", "las", *ask)
    assert code == 1 and "nowhere is missing; name the folder that export wrote" in err
    code, _, err = call("import-labels", tmp_path, "--from", "las", *ask)
    assert code == 1 and "classes.json is missing" in err
    code, said, _ = call("import-labels", exported / "segments", "--from", "segments", *ask)
    assert code == 0 and said.startswith("wrote labels of 2 samples")
