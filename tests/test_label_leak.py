"""Label-free runs do not know of labels: with others, or without any, they end with the same bytes."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from clip2scene.config import DataConfig, LabelsConfig, TeacherConfig
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.io import read_json
from clip2scene.recipes import fine_tuned, supervised
from clip2scene.runs.run import open_run
from clip2scene.toytown.writers.layouts import write_drive_log
from clip2scene.toytown.writers.recording import Recording
from clip2scene.training.train import finetune, pretrain


def delete(folder):
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def shuffle(folder):
    generator = np.random.default_rng(0)
    for path in folder.iterdir():
        path.write_bytes(generator.permutation(np.fromfile(path, np.uint8)).tobytes())


def poison(folder):
    for path in folder.iterdir():
        path.write_bytes(b"\xff" * path.stat().st_size)


def one_class(folder):
    for path in folder.iterdir():
        path.write_bytes(b"\x11" * path.stat().st_size)


def seal(run):
    """The hash in a checkpoint's header, over every tensor's bytes and all else it holds."""
    with safe_open(run / "checkpoint.safetensors", framework="pt") as checkpoint:
        return checkpoint.metadata()["sha256"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def untouched(tiny_toytown, tiny_recipe, tmp_path_factory, cache):
    run = tmp_path_factory.mktemp("runs") / "run"
    pretrain(tiny_recipe, data_root=tiny_toytown, out=run, teacher_cache=cache)
    return seal(run)


@pytest.mark.parametrize("spoil", [delete, shuffle, poison, one_class])
def test_a_label_free_run_ends_with_the_same_bytes_whatever_the_labels_are(
    tiny_toytown, tiny_recipe, tmp_path, cache, untouched, spoil
):
    root = tmp_path / "data"
    shutil.copytree(tiny_toytown, root)
    spoil(root / "lidarseg" / "v1.0-trainval")
    run = tmp_path / "run"
    pretrain(tiny_recipe, data_root=root, out=run, teacher_cache=cache)
    assert seal(run) == untouched


LAYOUTS = {  # where labels lie in others than nuScenes'
    "semantic-kitti": (DataConfig(layout="semantic-kitti", classes="toytown"), "sequences/*/labels/*"),
    "drive-log": (DataConfig(layout="drive-log"), "labels/*"),
    "scannet": (DataConfig(layout="scannet", min_depth=0.3, frame_step=1, views=2), "scans/*/*.labels.ply"),
}


@pytest.fixture
def source(layout, tiny_kitti, tiny_rooms, tmp_path):
    """A toytown in a layout."""
    if layout != "drive-log":
        return tiny_rooms if layout == "scannet" else tiny_kitti
    recording = Recording(
        keyframes_per_scene=1, sweeps_per_keyframe=1, width=160, height=96, azimuth_steps=180
    )
    write_drive_log(tmp_path / "log", num_scenes=1, recording=recording, workers=1)
    return tmp_path / "log"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_of_other_layouts_may_be_spoilt_or_gone_as_well(layout, source, tiny_recipe, tmp_path):
    data, labels = LAYOUTS[layout]
    teacher = TeacherConfig(kind="label-maps") if layout == "scannet" else tiny_recipe.teacher
    recipe, ends = replace(tiny_recipe, data=data, teacher=teacher, steps=2), []
    for spoil in ("nothing", "poison", "delete"):
        root = shutil.copytree(source, tmp_path / f"data-{spoil}")
        files = sorted(root.glob(labels))
        assert files
        for path in files:
            if spoil == "poison":
                path.write_bytes(b"\xff" * path.stat().st_size)
            elif spoil == "delete":
                path.unlink()
        pretrain(recipe, data_root=root, out=tmp_path / f"run-{spoil}", teacher_cache=tmp_path / "cache")
        ends.append(seal(tmp_path / f"run-{spoil}"))
    assert ends[0] == ends[1] == ends[2]


def test_a_run_that_learns_from_labels_does_not(tiny_toytown, tiny_recipe, tmp_path):
    """The audit can fail: it notices a run that reads labels."""
    ends = []
    for spoil in (lambda folder: None, one_class):
        root = tmp_path / f"data-{len(ends)}"
        shutil.copytree(tiny_toytown, root)
        spoil(root / "lidarseg" / "v1.0-trainval")
        run = tmp_path / f"run-{len(ends)}"
        pretrain(supervised(tiny_recipe), data_root=root, out=run)
        ends.append(seal(run))
    assert ends[0] != ends[1]


def test_labels_that_were_not_chosen_are_never_learnt_from(tiny_toytown, tiny_recipe, tmp_path):
    labels = LabelsConfig(by="keyframe", count=1, absent="allow")
    recipe = replace(fine_tuned(tiny_recipe, from_chance=True), labels=labels, steps=3)
    ends = []
    for spoil in (None, "unchosen", "chosen"):
        root, run = tmp_path / f"data-{spoil}", tmp_path / f"run-{spoil}"
        shutil.copytree(tiny_toytown, root)
        if spoil:
            dataset = NuScenes(root, split="train", labels=False)
            (chosen,) = open_run(tmp_path / "run-None").subset.tokens
            for row in read_json(root / "v1.0-trainval" / "lidarseg.json"):
                token = token_of(root, row["sample_data_token"])
                if token in dataset.tokens and (token == chosen) == (spoil == "chosen"):
                    path = root / row["filename"]
                    path.write_bytes(b"\x11" * path.stat().st_size)
        finetune(recipe, data_root=root, out=run)
        ends.append(seal(run))
    assert ends[0] == ends[1] != ends[2]


def token_of(root, sample_data):
    rows = read_json(root / "v1.0-trainval" / "sample_data.json")
    return next(row["sample_token"] for row in rows if row["token"] == sample_data)
