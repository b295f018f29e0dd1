import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from clip2scene import build
from clip2scene.classes.tables import TOYTOWN
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.evaluation.evaluate import open_evaluation
from clip2scene.geometry.remarks import NOTHING, Tolerance
from clip2scene.io import read_json, write_json
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.run import open_run
from clip2scene.runs.training_clouds import (
    CLOUDS,
    CloudCheck,
    complete_statistics,
    keep_statistics,
    read_statistics,
    tolerance_of,
)
from clip2scene.types import PointCloud


@pytest.fixture(scope="module")
def trained(tiny_run):
    """A folder with a run's statistics alone."""
    assert (tiny_run / CLOUDS).exists()
    return tiny_run


@pytest.fixture(scope="module")
def cloud(tiny_toytown):
    return NuScenes(tiny_toytown, split="val", class_set=TOYTOWN)[0].cloud


def higher(cloud, by):
    return PointCloud(cloud.positions + torch.tensor([0.0, 0.0, by]), cloud.features)


def hear(folder, **options):
    """Make a check whose notes are kept in a list."""
    notes = []
    return CloudCheck(folder, note=notes.append, **options), notes


def test_a_run_keeps_the_statistics_of_its_training_clouds(trained):
    found = read_statistics(trained)
    assert (found.clouds, found.indoors) == (2, False)
    assert found.middle("ground_height") == pytest.approx(-1.84, abs=0.05)


def test_many_clouds_are_looked_at_evenly_and_few_of_them(monkeypatch, tmp_path, tiny_toytown):
    dataset = NuScenes(tiny_toytown, split="train", class_set=TOYTOWN)
    monkeypatch.setattr("clip2scene.runs.training_clouds._MOST", 1)
    keep_statistics(tmp_path, dataset)
    assert read_statistics(tmp_path).clouds == 1


def test_clouds_like_those_of_the_training_are_not_spoken_of(trained, tiny_toytown, cloud):
    check, notes = hear(trained)
    assert check.remarks(cloud) == []
    check.split(NuScenes(tiny_toytown, split="val", class_set=TOYTOWN), "val")
    assert notes == []


def test_a_cloud_whose_ground_lies_elsewhere_is_noted_with_its_name(trained, cloud):
    check, notes = hear(trained)
    (remark,) = check.remarks(higher(cloud, 0.3))
    check.tell("low.npy", remark)
    (note,) = notes
    assert note.startswith("low.npy: unlike the training clouds, the ground lies at z = -1.5")


def test_a_cloud_in_centimetres_is_refused_unless_the_user_wants_it(trained, cloud):
    check, _ = hear(trained)
    (remark,) = check.remarks(PointCloud(cloud.positions * 100, cloud.features))
    with pytest.raises(ValueError, match=r"cm\.npy: unlike .* centimetres.*--unit cm, or .*--unlike accept"):
        check.tell("cm.npy", remark)
    check, notes = hear(trained, unlike="accept")
    check.tell("cm.npy", remark)
    assert len(notes) == 1


def test_a_run_without_statistics_says_so_once_and_compares_nothing(cloud, tmp_path):
    check, notes = hear(tmp_path)
    assert check.remarks(PointCloud(cloud.positions * 100, cloud.features)) == []
    (note,) = notes
    assert "keeps no statistics of its training clouds" in note


def test_the_training_command_given_again_writes_what_an_old_run_lacks(
    tiny_recipe, tiny_run, tiny_toytown, tmp_path
):
    old = shutil.copytree(tiny_run, tmp_path / "old")
    before = (old / CLOUDS).read_bytes()
    (old / CLOUDS).unlink()
    create_or_resume(tiny_recipe, data_root=tiny_toytown, out=old)
    assert (old / CLOUDS).read_bytes() == before


def test_a_judgement_on_its_own_data_writes_what_an_old_run_lacks(tiny_run, tiny_toytown, tmp_path):
    old = shutil.copytree(tiny_run, tmp_path / "old")
    (old / CLOUDS).unlink()
    elsewhere = shutil.copytree(tiny_toytown, tmp_path / "town")
    complete_statistics(open_run(old), elsewhere)
    assert not (old / CLOUDS).exists()
    complete_statistics(open_run(old), tiny_toytown)
    assert read_statistics(old) == read_statistics(tiny_run)


@pytest.mark.parametrize("content", [[], {"clouds": 2}, {"clouds": 1, "indoors": 0, "quantiles": {"x": [1]}}])
def test_damaged_statistics_are_named(content, tmp_path):
    write_json(tmp_path / CLOUDS, content)
    with pytest.raises(ValueError, match=r"clouds\.json: .*no statistics of clouds.*delete it"):
        CloudCheck(tmp_path)


def test_a_split_in_another_unit_is_refused_and_a_lowered_one_noted(tiny_run, tiny_toytown, tmp_path, caplog):
    town = shutil.copytree(tiny_toytown, tmp_path / "town")

    def rescale(factor, up):
        for path in town.glob("s*/LIDAR_TOP/*.bin"):
            table = np.fromfile(tiny_toytown / path.relative_to(town), "<f4").reshape(-1, 5)
            (table * np.float32([factor] * 3 + [1, 1]) + np.float32([0, 0, up, 0, 0])).tofile(path)

    rescale(1, 0.4)
    open_evaluation(tiny_run, data_root=town, lifted=tmp_path / "lifted")
    assert "note: 2 of 2 clouds of split 'val': unlike the training clouds, the ground" in caplog.text
    rescale(100, 0)
    with pytest.raises(ValueError, match="centimetres, not in metres; see to the data, or .*--unlike accept"):
        open_evaluation(tiny_run, data_root=town, lifted=tmp_path / "lifted")


def test_an_unreadable_training_cloud_stops_nothing_here(tmp_path, tiny_toytown, tiny_recipe):
    town = shutil.copytree(tiny_toytown, tmp_path / "town")
    dataset = build.open_dataset(tiny_recipe.data, town, split="train", sweeps=1)
    _, path = dataset.lidar_file(dataset.tokens[0])
    path.write_bytes(b"")
    keep_statistics(tmp_path, dataset)
    assert read_json(tmp_path / CLOUDS)["clouds"] == 1


@pytest.mark.parametrize(
    ("student", "augment", "expected"),
    [
        ({}, {}, NOTHING),
        ({"height": "ground"}, {}, Tolerance(height_m=math.inf)),
        ({"level": True}, {}, Tolerance(height_m=math.inf, tilt_deg=math.inf)),
        ({"intensity": "quantile"}, {}, Tolerance(intensity_factor=math.inf)),
        ({"intensity": "none"}, {}, Tolerance(intensity_factor=math.inf, no_intensity=True)),
        ({}, {"drop_intensity": 0.2}, Tolerance(no_intensity=True)),
        ({}, {"tilt": 3.0, "height": 0.5}, Tolerance(height_m=0.5, tilt_deg=3.0)),
    ],
)
def test_a_student_is_indifferent_to_what_its_inputs_and_its_augmentation_take_away(
    tiny_recipe, student, augment, expected
):
    recipe = replace(
        tiny_recipe,
        student=replace(tiny_recipe.student, **student),
        augment=replace(tiny_recipe.augment, **augment),
    )
    assert tolerance_of(recipe) == expected


def test_what_a_student_is_indifferent_to_is_not_spoken_of(trained, tmp_path, cloud):
    shutil.copytree(trained, tmp_path / "run")
    recipe = read_json(tmp_path / "run" / "recipe.json")
    recipe["student"] |= {"level": True, "intensity": "quantile"}
    write_json(tmp_path / "run" / "recipe.json", recipe)
    check, _ = hear(tmp_path / "run")
    moved = higher(cloud, 0.3)
    assert check.remarks(PointCloud(moved.positions, moved.features / 20)) == []
    assert [each.kind for each in check.remarks(PointCloud(cloud.positions * 100, cloud.features))] == [
        "unit"
    ]


def test_a_mount_that_is_known_is_not_spoken_of(trained, cloud):
    check, _ = hear(trained, mount_known=True)
    assert check.remarks(higher(cloud, 0.3)) == []
    (remark,) = check.remarks(PointCloud(cloud.positions * 100, cloud.features))
    assert remark.kind == "unit"
