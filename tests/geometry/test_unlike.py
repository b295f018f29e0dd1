import math

import pytest
import torch
from tests.geometry.test_cloud_statistics import cloud_of
from tests.geometry.test_ground import street

from clip2scene.geometry.cloud_statistics import CloudSpread, describe_cloud
from clip2scene.geometry.unlike import find_unlike
from clip2scene.types import PointCloud

TRAINED = [cloud_of(street(0.002 * number, height=-1.8 + 0.01 * number)) for number in range(4)]
SPREAD = CloudSpread.of([describe_cloud(each) for each in TRAINED], indoors=False)


def turned(rows):
    return lambda cloud: PointCloud(cloud.positions @ torch.tensor(rows).float().T, cloud.features)


def scaled(factor):
    return lambda cloud: PointCloud(cloud.positions * factor, cloud.features)


def moved(*by):
    return lambda cloud: PointCloud(cloud.positions + torch.tensor(by).float(), cloud.features)


def pitched(degrees):
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return turned([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def lit(factor):
    return lambda cloud: PointCloud(cloud.positions, cloud.features * factor)


def test_clouds_like_the_others_get_no_remark():
    for cloud in (*TRAINED, cloud_of(street(0.008, -0.006, -1.82))):
        assert find_unlike(SPREAD, cloud) == []


@pytest.mark.parametrize(
    "change, kind, named, severe",
    [
        (scaled(100), "unit", "--unit cm", True),
        (scaled(1000), "unit", "--unit mm", True),
        (scaled(1 / 0.3048), "unit", "--unit ft", True),
        (scaled(0.03), "unit", "--unit", True),
        (turned([[1, 0, 0], [0, 0, 1], [0, -1, 0]]), "axes", "--axes FUR", True),
        (turned([[0, -1, 0], [0, 0, -1], [1, 0, 0]]), "axes", "--axes RDF", True),
        (turned([[1, 0, 0], [0, -1, 0], [0, 0, -1]]), "axes", "--axes FRD", True),
        (moved(400, 300, 0), "frame", "origin", True),
        (moved(2000, -1000, 0), "frame", "origin", True),
        (moved(60, 0, 0), "frame", "origin", False),
        (moved(0, 0, 12), "ground", "to z", True),
        (moved(0, 0, 0.3), "ground", "add -0.3", False),
        (moved(0, 0, -0.2), "ground", "add 0.2", False),
        (pitched(2), "tilt", "level", False),
        (pitched(-5), "tilt", "level", False),
        (lit(0), "intensity", "--intensity FIELD", False),
        (lit(1 / 255), "intensity", "--intensity-max", False),
        (lit(255), "intensity", "--intensity-max", False),
    ],
)
def test_what_is_unlike_is_named_with_its_likely_cause(change, kind, named, severe):
    first = find_unlike(SPREAD, change(TRAINED[1]))[0]
    assert (first.kind, first.severe) == (kind, severe)
    assert named in first.remedy


def test_the_sentence_has_both_numbers():
    (remark,) = find_unlike(SPREAD, moved(0, 0, 0.3)(TRAINED[0]))
    assert "z = -1.50 m, theirs -1.80 to -1.77 m" in remark.sentence


def test_a_merged_map_and_a_cloud_without_ground_are_told():
    many = PointCloud(TRAINED[0].positions.repeat(9, 1), TRAINED[0].features.repeat(9, 1))
    assert [each.kind for each in find_unlike(SPREAD, many)] == ["points"]
    hanging = cloud_of(torch.rand(17_000, 3, generator=torch.Generator().manual_seed(0)) * 60 - 30)
    assert "no ground" in find_unlike(SPREAD, hanging)[0].sentence


def test_intensities_that_no_training_cloud_had_are_told():
    dark = CloudSpread.of([describe_cloud(lit(0)(each)) for each in TRAINED], indoors=False)
    assert find_unlike(dark, lit(0)(TRAINED[0])) == []
    (remark,) = find_unlike(dark, TRAINED[0])
    assert "they have none" in remark.sentence


def test_mostly_zero_intensities_are_told():
    features = TRAINED[0].features.clone()
    features[torch.arange(len(features)) % 3 > 0] = 0
    (remark,) = find_unlike(SPREAD, PointCloud(TRAINED[0].positions, features))
    assert "67 % of its intensities are 0" in remark.sentence
