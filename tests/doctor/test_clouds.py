import copy
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from clip2scene.config import DataConfig
from clip2scene.distill.lift import PairingOptions
from clip2scene.doctor.clouds import check_clouds, compare_with_run
from clip2scene.doctor.examine import examine
from clip2scene.doctor.samples import measure_sample
from clip2scene.geometry.cloud_statistics import describe_cloud

TOWN = DataConfig(classes="toytown", sweeps=1)


@pytest.fixture
def town(tiny_toytown, tmp_path):
    """A copy of toytown whose clouds a test may change."""
    return shutil.copytree(tiny_toytown, tmp_path / "town")


def change(town, factors, only=None):
    """Multiply the columns of the clouds."""
    for path in sorted(town.glob("samples/LIDAR_TOP/*.bin"))[:only]:
        table = np.fromfile(path, "<f4").reshape(-1, 5)
        (table * np.float32(factors)).tofile(path)


def notes(root, **options):
    lines = examine(TOWN, root, calibration=False, costs=False, **options)
    return [line.text for line in lines if line.mark != "ok" and line.about in ("clouds", "run")]


def test_nothing_is_said_of_clouds_as_they_should_be(tiny_toytown, tiny_run):
    assert notes(tiny_toytown, run=tiny_run) == []
    (ok, *_) = [
        line for line in examine(TOWN, tiny_toytown, calibration=False, costs=False) if line.about == "clouds"
    ]
    assert "the ground lies at z = -1.8" in ok.text


def test_intensities_divided_twice_are_told(town):
    change(town, [1, 1, 1, 1 / 255, 1])
    (note,) = notes(town)
    assert "90 % of the intensities lie below 0.00" in note and "intensity_max" in note


@pytest.mark.parametrize("factor, told", [(0, "no intensity"), (1000, "are 1")])
def test_intensities_that_are_all_zero_or_cut_are_told(factor, told, tiny_toytown, monkeypatch):
    def look(dataset, number, **options):
        found = measure_sample(dataset, number, **options)
        cloud = dataset[number].cloud
        lit = replace(cloud, features=(cloud.features * factor).clip(max=1))
        return replace(found, statistics=describe_cloud(lit))

    monkeypatch.setattr("clip2scene.doctor.examine.measure_sample", look)
    (note,) = notes(tiny_toytown)
    assert told in note


def test_a_room_whose_floor_is_a_wall_is_told(tiny_rooms):
    from clip2scene.build import open_dataset

    data = DataConfig(layout="scannet", frame_step=1, min_depth=0.3)
    dataset = open_dataset(data, tiny_rooms, split="train")
    found = measure_sample(dataset, 0, pairing=PairingOptions(min_depth=0.3), velocity=None)
    assert [line.mark for line in check_clouds([found], dataset, [0])] == ["ok"]
    x, y, z = found.camera_up
    assert z > 0.6
    (line,) = [
        line
        for line in check_clouds([replace(found, camera_up=(x, z, -y))], dataset, [0])
        if line.mark == "note"
    ]
    assert "the cameras stand upright along +y" in line.text


def test_a_cloud_in_another_unit_than_the_others_is_named(tiny_toytown, monkeypatch):
    from clip2scene.build import open_dataset

    dataset = open_dataset(TOWN, tiny_toytown, split="train")
    usual = measure_sample(dataset, 0, pairing=PairingOptions(), velocity=None, align=False)

    class Mixed(type(dataset)):
        tokens = property(lambda self: [f"s{number}" for number in range(10)])

        def __getitem__(self, number):
            sample = dataset[0]
            factor = 100 if number == 7 else 1
            return replace(sample, cloud=replace(sample.cloud, positions=sample.cloud.positions * factor))

    mixed = copy.copy(dataset)
    mixed.__class__ = Mixed
    measured = [replace(usual, statistics=describe_cloud(mixed[number].cloud)) for number in range(10)]
    lines = check_clouds(measured, mixed, list(range(10)))
    (line,) = [line for line in lines if line.mark == "note"]
    assert line.text.startswith("1 of 10 clouds are unlike the others, the first is s7: ")
    assert "centimetres" in line.text


def test_clouds_are_compared_with_those_of_a_run(town, tiny_run, tmp_path):
    from clip2scene.build import open_dataset

    change(town, [100, 100, 100, 1, 1])
    (line,) = compare_with_run(open_dataset(TOWN, town, split="train"), tiny_run)
    assert line.mark == "fault" and line.about == "run" and "centimetres" in line.text
    (line,) = compare_with_run(open_dataset(TOWN, town, split="train"), tmp_path)
    assert line.mark == "note" and "keeps no statistics" in line.text


def test_upright_cameras_of_a_vehicle_take_z_for_up(tiny_toytown):
    from clip2scene.build import open_dataset

    dataset = open_dataset(TOWN, tiny_toytown, split="train")
    found = measure_sample(dataset, 0, pairing=PairingOptions(), velocity=None, align=False)
    assert torch.tensor(found.camera_up).allclose(torch.tensor([0.0, 0, 1]), atol=0.1)
