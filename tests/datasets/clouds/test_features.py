import numpy as np
import pytest
import torch

from clip2scene.datasets.clouds import CloudOptions, pieces, read_cloud_file
from clip2scene.datasets.clouds.features import FeatureReader


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.uniform([-30, -30, -2, 0], [30, 30, 4, 1], (2500, 4)).astype("<f4")


@pytest.fixture
def raw(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "CHUNK", 700)
    path = tmp_path / "map.bin"
    rows.tofile(path)
    return path


def test_what_intensities_are_is_decided_once_from_all_points(rows, raw):
    whole_numbers = rows.copy()
    whole_numbers[:, 3] = 0
    whole_numbers[700:, 3] = 200  # so the first piece tells no scale, and shares would be guessed there
    whole_numbers[2401:2410, 3] = 3000  # 0.4 % of all, 2.3 % of the last piece
    whole_numbers.tofile(raw)
    for options in (CloudOptions(), CloudOptions(intensity_max=255.0)):
        whole, large = read_cloud_file(raw, options), read_cloud_file(raw, options, most=900)
        assert whole.spread == large.spread and whole.notes == large.notes
        assert torch.equal(torch.cat([each.features for each in large.pieces()]), whole.cloud.features)
    rows[2401, 3] = np.nan
    rows.tofile(raw)
    for most in (None, 900):
        with pytest.raises(ValueError, match="1 intensities of 2500 that are NaN"):
            read_cloud_file(raw, most=most)


def test_what_colours_are_is_decided_once_from_all_points(rows, raw):
    colours = np.round(rows[:, [3, 3, 3]])
    colours[2000:] *= 255  # before, bytes look like shares of 1
    np.column_stack([rows[:, :3], colours]).astype("<f4").tofile(raw)
    options = CloudOptions(columns=("x", "y", "z", "red", "green", "blue"), colours=True)
    whole, large = read_cloud_file(raw, options), read_cloud_file(raw, options, most=900)
    assert whole.cloud.features.unique().tolist() == pytest.approx([0, 1 / 255, 1])
    assert torch.equal(torch.cat([each.features for each in large.pieces()]), whole.cloud.features)


def test_looks_at_parts_add_up_to_that_at_the_whole(rows, raw):
    rows[5:9, 3] = -1
    columns = dict(zip(("x", "y", "z", "intensity"), rows.T, strict=True))
    reader = FeatureReader(raw, CloudOptions(intensity_max=0.5), "", None)
    parts = [
        reader.look({name: each[at] for name, each in columns.items()})
        for at in (slice(900), slice(900, None))
    ]
    assert parts[0] + parts[1] == reader.look(columns)
    assert reader.look(columns).strange == 4 and reader.look(columns).above == (rows[:, 3] > 0.5).sum()
