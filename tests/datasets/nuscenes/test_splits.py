import json
import shutil

import pytest
from tests.datasets.nuscenes.conftest import VERSION

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.nuscenes.splits import official_scenes


def test_scenes_of_an_official_split_that_are_absent_are_counted_and_logged(caplog):
    present = tuple(f"scene-{number:04d}" for number in range(1, 1111))
    official_scenes("val", VERSION, present)
    assert not caplog.text
    assert official_scenes("mini_val", "v1.0-mini", ("scene-0916",)) == ("scene-0916",)
    assert "1 of the 2 scenes of split mini_val are not in v1.0-mini, the first is scene-0103" in caplog.text


def test_official_splits_have_their_known_sizes_and_overlap_nowhere():
    present = tuple(f"scene-{number:04d}" for number in range(1, 1111))
    val = set(official_scenes("val", VERSION, present))
    train = set(official_scenes("train", VERSION, present))
    verify = set(official_scenes("verify", VERSION, present))
    parametrize = set(official_scenes("parametrize", VERSION, present))
    test = set(official_scenes("test", "v1.0-test", present))
    assert [len(names) for names in (train, val, test)] == [700, 150, 150] and len(train | val | test) == 1000
    assert not verify & parametrize
    assert len(verify) == 100 and verify | parametrize == train
    assert {"scene-0003", "scene-0916", "scene-1073"} <= val
    assert {"scene-0001", "scene-0061", "scene-1110"} <= train
    assert official_scenes("val", "v1.0-mini", present) == ("scene-0103", "scene-0916")
    assert len(official_scenes("train", "v1.0-mini", present)) == 8
    assert official_scenes("mini_val", "v1.0-mini", present) == ("scene-0103", "scene-0916")
    assert set(official_scenes("mini_train", "v1.0-mini", present)) <= train | val
    with pytest.raises(ValueError, match="unknown split 'train' of v1.0-test, expected one of test"):
        official_scenes("train", "v1.0-test", present)
    with pytest.raises(ValueError, match="unknown split 'verify'"):
        official_scenes("verify", "v1.0-mini", present)
    with pytest.raises(ValueError, match="no official splits"):
        official_scenes("train", "v9", present)


def as_version(root, version, scenes):
    """Turn toytown into another version of nuScenes, without splits of its own."""
    (root / VERSION).rename(root / version)
    (root / version / "splits.json").unlink()
    path = root / version / "scene.json"
    rows = [row | {"name": name} for row, name in zip(json.loads(path.read_text()), scenes, strict=True)]
    path.write_text(json.dumps(rows))


def test_the_test_set_opens_without_labels_and_says_why_it_has_none(damaged):
    as_version(damaged, "v1.0-test", ["scene-0077", "scene-1043"])
    shutil.rmtree(damaged / "lidarseg")
    (damaged / "v1.0-test" / "lidarseg.json").unlink()
    data = NuScenes(damaged, split="test", labels=False, sweeps=2)
    assert len(data) == 4 and data[3].labels is None and len(data[3].sweeps) == 1
    with pytest.raises(ValueError, match="labels of nuScenes' test set are not public; .*labels=False"):
        NuScenes(damaged, split="test")
    (damaged / "v1.0-test" / "category.json").unlink()
    with pytest.raises(ValueError, match="labels of nuScenes' test set are not public"):
        NuScenes(damaged, split="test")


def test_the_mini_set_has_its_own_splits(damaged):
    as_version(damaged, "v1.0-mini", ["scene-0061", "scene-0916"])
    for split in ("mini_train", "train"):
        assert set(NuScenes(damaged, split=split).scenes) == {"scene-0061"}
    for split in ("mini_val", "val"):
        assert set(NuScenes(damaged, split=split).scenes) == {"scene-0916"}
    with pytest.raises(ValueError, match="unknown split 'verify' of v1.0-mini"):
        NuScenes(damaged, split="verify")
