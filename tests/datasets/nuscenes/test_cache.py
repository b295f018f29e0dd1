import os

import numpy as np
import pytest
from tests.datasets.nuscenes.conftest import VERSION, age, assert_same, edit, link_town

from clip2scene.datasets.nuscenes import cache as nuscenes_cache
from clip2scene.datasets.nuscenes.cache import open_index
from clip2scene.datasets.nuscenes.index import index_to_arrays
from clip2scene.datasets.nuscenes.loader import NuScenes


def test_an_index_of_changed_tables_is_made_anew(town, tmp_path):
    def open_towns():
        return NuScenes(town, split=None, index_folder=tmp_path / "cache")

    before = open_towns().tokens
    path = town / VERSION / "sample.json"
    changed = path.read_text().replace(before[0][:8], "feedbeef")
    assert len(changed) == path.stat().st_size  # the same size, another time
    path.write_text(changed)
    data = town / VERSION / "sample_data.json"
    data.write_text(data.read_text().replace(before[0][:8], "feedbeef"))
    age(town / VERSION)
    assert open_towns().tokens == (f"feedbeef{before[0][8:]}", *before[1:])
    path.unlink()
    with pytest.raises(ValueError, match=r"sample\.json is missing"):
        open_towns()


@pytest.mark.parametrize(
    "damage", ["cut", "flip", "empty", "nonsense", "array", "pickle", "positions", "missing column"]
)
def test_a_damaged_index_is_made_anew(town, tmp_path, damage, caplog):
    cache = tmp_path / "cache"
    expected = NuScenes(town, split=None, index_folder=cache)
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    with np.load(path) as loaded:
        arrays = dict(loaded)
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[content.index(b"samples/LIDAR_TOP") + 3] ^= 4
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "nonsense":
        path.write_bytes(b"nonsense")
    elif damage == "array":
        with path.open("wb") as file:
            np.save(file, arrays["pose"])
    elif damage == "pickle":
        np.savez(path, **arrays | {"pose": np.array([{}], dtype=object)})
    elif damage == "positions":
        np.savez(path, **arrays | {"file_sample": arrays["file_sample"] + 1})
    else:
        np.savez(path, **{name: array for name, array in arrays.items() if name != "file_size"})
    again = NuScenes(town, split=None, index_folder=cache)
    assert "is damaged; it is made anew" in caplog.text
    for number in range(4):
        assert_same(again[number], expected[number])
    caplog.clear()
    open_index(town / VERSION, cache)
    assert not caplog.text, "the new file is whole"


def test_whatever_bits_of_an_index_file_flip_it_is_as_it_was_or_made_anew(town, tmp_path):
    tables, cache = town / VERSION, tmp_path / "cache"
    expected = index_to_arrays(open_index(tables, cache))
    (path,) = cache.iterdir()
    content = path.read_bytes()
    signature = nuscenes_cache._signature(tables)
    generator, damaged = np.random.default_rng(0), 0
    headers = [at for at in range(len(content)) if content[at : at + 4] in (b"PK\x03\x04", b"PK\x01\x02")]
    near_headers = [at + offset for at in headers for offset in generator.integers(0, 120, 12)]
    anywhere = generator.integers(0, len(content), 100)
    encrypted = [headers[-1] + 8]  # a flag that makes the archive ask for a password
    for place in [*encrypted, *near_headers, *anywhere]:
        changed = bytearray(content)
        changed[min(place, len(content) - 1)] ^= 1 if place in encrypted else 1 << generator.integers(8)
        path.write_bytes(changed)
        found = nuscenes_cache._read(path, signature)
        if found is None:
            damaged += 1
        else:
            for name, array in index_to_arrays(found).items():
                assert np.array_equal(array, expected[name])
    assert damaged > 200


def test_a_table_from_the_future_is_told_as_it_keeps_the_index_from_being_written(town, tmp_path, caplog):
    path = town / VERSION / "scene.json"
    later = path.stat().st_mtime_ns + 2 * 3600 * 10**9
    os.utime(path, ns=(later, later))
    assert len(open_index(town / VERSION, tmp_path / "cache").scenes) == 2
    assert "scene.json was changed in the future" in caplog.text and not (tmp_path / "cache").exists()


def test_small_tables_leave_no_file_and_large_ones_one_beside_them(town, monkeypatch, forbid_tables):
    monkeypatch.delenv(nuscenes_cache.FOLDER_VARIABLE, raising=False)
    before = sorted((town / VERSION).iterdir())
    NuScenes(town)
    assert sorted((town / VERSION).iterdir()) == before
    monkeypatch.setattr(nuscenes_cache, "SMALLEST_BYTES", 0)
    NuScenes(town)
    beside = town / VERSION / nuscenes_cache.BESIDE
    assert sorted((town / VERSION).iterdir()) == sorted([*before, beside])
    forbid_tables()
    assert len(NuScenes(town)) == 2


def test_tables_that_have_just_been_written_are_not_trusted_to_stay(town, tmp_path):
    (town / VERSION / "scene.json").touch()
    NuScenes(town, index_folder=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_index_goes_where_one_says_or_where_one_may_write(town, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(nuscenes_cache, "SMALLEST_BYTES", 0)
    monkeypatch.setattr(nuscenes_cache, "BESIDE", "scene.json/index.npz")  # no folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(nuscenes_cache.FOLDER_VARIABLE, raising=False)
    NuScenes(town)
    assert "cannot be written" in caplog.text
    assert len(list((tmp_path / "home" / "clip2scene").iterdir())) == 1
    monkeypatch.setenv(nuscenes_cache.FOLDER_VARIABLE, str(tmp_path / "named"))
    NuScenes(town)
    assert len(list((tmp_path / "named").iterdir())) == 1
    monkeypatch.setenv(nuscenes_cache.FOLDER_VARIABLE, str(town / VERSION / "scene.json"))
    caplog.clear()
    assert len(NuScenes(town)) == 2
    assert "cannot be written" in caplog.text


def test_another_data_set_has_an_index_of_its_own(town, tiny_toytown, tmp_path):
    other = link_town(tiny_toytown, tmp_path / "other")
    edit(other, "scene", lambda rows: rows[0].update(name="scene-7777"))
    age(other / VERSION)
    for root, scene in ((town, "scene-0001"), (other, "scene-7777")) * 2:
        assert NuScenes(root, split=None, index_folder=tmp_path / "cache").scenes[0] == scene
    assert len(list((tmp_path / "cache").iterdir())) == 2
