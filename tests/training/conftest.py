"""A run that was trained on toytown without labels, and what goes on from it with labels."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clip2scene.build import open_dataset
from clip2scene.config import LabelsConfig
from clip2scene.datasets.label_layer import UNLABELLED, LabelLayer, write_layer
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.io import read_json
from clip2scene.recipes import fine_tuned
from clip2scene.runs.init_weights import init_weights_of
from clip2scene.runs.run import open_run
from clip2scene.training.train import finetune


def log_steps(run, first, last):
    """Write lines into a run's log, as training does."""
    for step in range(first, last + 1):
        run.log(step=step, loss=1 / step, scr=0.5, seconds=0.1)


@pytest.fixture
def run(tmp_path):
    """An old run, whose log is gone."""
    golden = Path(__file__).parents[1] / "golden" / "run"
    shutil.copytree(golden, tmp_path / "run", ignore=shutil.ignore_patterns("log.jsonl"))
    return open_run(tmp_path / "run")


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    labels = LabelsConfig(by="keyframe", absent="allow")
    return replace(fine_tuned(tiny_recipe), labels=labels, steps=4)


@pytest.fixture(scope="module")
def start(tiny_run):
    return init_weights_of(tiny_run)


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    return tmp_path_factory.mktemp("carried")


@pytest.fixture
def tune(recipe, start, tiny_toytown, tmp_path, lifted):
    def run(
        name="run",
        begin=start,
        tuning=None,
        labels=None,
        rate=None,
        save_every=500,
        root=tiny_toytown,
        into=lifted,
        corrections=None,
        **changes,
    ):
        optimiser = recipe.optimiser if rate is None else replace(recipe.optimiser, learning_rate=rate)
        changed = replace(
            recipe,
            optimiser=optimiser,
            tuning=replace(recipe.tuning, **(tuning or {})),
            labels=replace(recipe.labels, **(labels or {})),
            **changes,
        )
        options = {"data_root": root, "lifted": into, "save_every": save_every}
        finetune(changed, out=tmp_path / name, start=begin, corrections=corrections, **options)
        return open_run(tmp_path / name)

    return run


@pytest.fixture(scope="module")
def label_files():
    """Find the label file of each keyframe of a train split."""

    def find(root):
        tokens = NuScenes(root, split="train", labels=False).tokens
        tables = root / "v1.0-trainval"
        sample_of = {row["token"]: row["sample_token"] for row in read_json(tables / "sample_data.json")}
        rows = read_json(tables / "lidarseg.json")
        files = {sample_of[row["sample_data_token"]]: root / row["filename"] for row in rows}
        return {token: files[token] for token in tokens}

    return find


@pytest.fixture
def by_hand(tiny_toytown, tmp_path, recipe):
    """Give points of training keyframes labels by hand: numbers of points by class name, by sample."""
    dataset = open_dataset(recipe.data, tiny_toytown, split="train", sweeps=1)

    def give(folder, *labels, classes=dataset.class_set.classes):
        for number, mine in enumerate(labels):
            sample = dataset[number]
            found = torch.full((len(sample.cloud),), UNLABELLED)
            for name, points in mine.items():
                found[points] = classes.index(name)
            write_layer(tmp_path / folder, LabelLayer.of(sample, classes, found))
        return tmp_path / folder

    give.tokens = dataset.tokens
    return give
