"""What all layouts offer, and what a new one must."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from clip2scene.build import open_dataset
from clip2scene.classes.tables import CITYSCAPES, NUSCENES
from clip2scene.config import DataConfig, Layout
from clip2scene.datasets import LOADERS
from clip2scene.datasets.dataset import Dataset, count_images, stamp_files
from clip2scene.datasets.drive_log.loader import INPUTS as LOG_INPUTS
from clip2scene.doctor.examine import examine


def class_of_the_page():
    """Run the example of ``docs/extending.md``."""
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    names = {}
    exec(page.split("## A data set")[1].split("```python\n")[1].split("```")[0], names)
    return names["Pictures"]


def asked_for():
    """Settings that name the layout; the list in ``config/data.py`` is what the command line goes by."""
    data = DataConfig()
    object.__setattr__(data, "layout", "pictures")
    return data


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Two samples in the layout ``pictures``, which the package knows for the time of a test."""
    rng = np.random.default_rng(0)
    for name in "ab":
        points = np.c_[rng.uniform((5, -3, -2), (15, 3, 2), (500, 3)), rng.random(500)]
        np.save(tmp_path / f"{name}.npy", points.astype(np.float32))
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.setitem(LOADERS, "pictures", class_of_the_page())
    return tmp_path


def test_every_layout_that_can_be_asked_for_has_a_loader():
    assert set(LOADERS) == set(get_args(Layout))


@pytest.mark.parametrize("layout", sorted(set(LOADERS) - {"pandaset", "mix"}))
def test_every_layout_says_which_classes_it_is_evaluated_in(layout, tmp_path):
    loader = LOADERS[layout]
    assert len(loader.class_set_of("own", tmp_path)) > 10
    with pytest.raises(ValueError, match="unknown classes 'birds', expected one of own"):
        loader.class_set_of("birds", tmp_path)


def test_a_new_layout_is_opened_through_the_door_of_all_others(pictures):
    dataset = open_dataset(asked_for(), pictures, split="train")
    assert isinstance(dataset, Dataset) and count_images(dataset) == 2
    assert (dataset.tokens, count_images(dataset), dataset[1].read_image(0).shape) == (
        ("a", "b"),
        2,
        (60, 80, 3),
    )


def test_a_new_layout_is_examined_like_all_others(pictures):
    lines = examine(asked_for(), pictures, calibration=False)
    assert not [line.text for line in lines if line.mark == "fault"]
    assert any("front: sees" in line.text for line in lines) and any(line.about == "costs" for line in lines)


def test_the_classes_of_the_prompts_evaluate_a_log_that_has_none_of_its_own(tmp_path):
    log = LOADERS["drive-log"]
    assert log.class_set_of("own", tmp_path, "cityscapes") is CITYSCAPES
    assert log.class_set_of("own", tmp_path) is NUSCENES is log.class_set_of("own")


def test_class_maps_and_labels_count_only_where_they_are_read(tmp_path):
    files = {"poses.csv": "always", "labels/a.npy": "labels", "semantic_maps/front/a.png": "class_maps"}
    files |= {"semantic_maps/front/b.npz": "class_maps", "semantic_maps/front/c.safetensors": "class_maps"}
    files["lidar/a.bin"] = "always"
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")

    def stamps():
        asked = {"always": (False, False), "labels": (True, False), "class_maps": (False, True)}
        return {
            which: stamp_files(tmp_path, LOG_INPUTS.find(tmp_path, labels=labels, class_maps=class_maps))
            for which, (labels, class_maps) in asked.items()
        }

    before = stamps()
    for name, when in files.items():
        (tmp_path / name).write_text("22")
        after = stamps()
        changed = {each for each in after if after[each] != before[each]}
        assert changed == (set(after) if when == "always" else {when})
        before = after
