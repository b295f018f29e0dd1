import tracemalloc

import numpy as np
import pytest
import torch

from clip2scene.datasets.clouds import CloudOptions, arrays, las, pieces, read_cloud_file
from clip2scene.datasets.clouds.pieces import count_points


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.uniform([-30, -30, -2, 0], [30, 30, 4, 1], (2500, 4)).astype("<f4")


@pytest.fixture
def raw(rows, tmp_path):
    path = tmp_path / "map.bin"
    rows.tofile(path)
    return path


@pytest.fixture
def map_of_las(rows, tmp_path):
    laspy = pytest.importorskip("laspy")
    data = laspy.create(point_format=6, file_version="1.4")
    data.header.scales = [1e-4] * 3
    data.xyz, data.intensity = rows[:, :3].astype(np.float64), (rows[:, 3] * 65535).round()
    data.write(tmp_path / "map.las")
    return tmp_path / "map.las"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    for module in (las, pieces):
        monkeypatch.setattr(module, "CHUNK", 700)


@pytest.mark.parametrize("kind", ["raw", "map_of_las"])
def test_the_pieces_of_a_large_file_are_the_whole_and_some_of_it_is_looked_at_first(kind, request):
    path = request.getfixturevalue(kind)
    options = CloudOptions(intensity_max=1.0 if kind == "raw" else 65535.0)
    whole, large = read_cloud_file(path, options), read_cloud_file(path, options, most=900)
    assert whole.pieces is None and count_points(path, None) == len(whole.cloud) == 2500
    found = list(large.pieces())
    assert [len(each) for each in found] == [700, 700, 700, 400]
    assert torch.equal(torch.cat([each.positions for each in found]), whole.cloud.positions)
    assert torch.equal(torch.cat([each.features for each in found]), whole.cloud.features)
    assert torch.equal(large.cloud.positions, whole.cloud.positions[::3])


def test_named_columns_are_those_of_pieces_too(rows, tmp_path):
    path = tmp_path / "map.bin"
    rows = rows[:-1]  # so that records of four numbers do not fit
    np.column_stack([rows, rows[:, :1]]).astype("<f4").tofile(path)
    options = CloudOptions(columns=("x", "y", "z", "intensity", "_"))
    found = list(read_cloud_file(path, options, most=1000).pieces())
    assert np.array_equal(torch.cat([each.positions for each in found]).numpy(), rows[:, :3])
    with pytest.raises(ValueError, match="another width"):
        read_cloud_file(path, most=1000)


def test_a_bad_point_is_found_before_anything_is_labelled(rows, raw):
    rows[2401, 1] = np.nan  # which is none of those that are looked at
    rows.tofile(raw)
    with pytest.raises(ValueError, match="NaN or infinite"):
        read_cloud_file(raw, most=900)


def test_files_of_other_formats_are_read_as_a_whole(tmp_path):
    assert count_points(tmp_path / "cloud.ply", None) is None


def test_points_that_are_far_are_found_though_others_are_looked_at(rows, raw):
    whole = read_cloud_file(raw, CloudOptions(axes="RFU"))
    large = read_cloud_file(raw, CloudOptions(axes="RFU"), most=900)
    assert torch.equal(large.box, whole.box)
    assert torch.equal(
        whole.box, torch.stack([each(whole.cloud.positions, 0)[0] for each in (torch.min, torch.max)])
    )
    rows[2401, 1] = 3e5
    rows.tofile(raw)
    with pytest.raises(ValueError, match="km apart"):
        read_cloud_file(raw, most=900)


def test_a_sample_does_not_keep_the_file_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "CHUNK", 5000)
    monkeypatch.setattr(arrays, "_MOST_LOOKED_AT", 4096)
    path = tmp_path / "map.bin"
    np.random.default_rng(0).uniform(0, 1, (100_000, 4)).astype("<f4").tofile(path)
    tracemalloc.start()
    try:
        read_cloud_file(path, most=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.8 * path.stat().st_size
