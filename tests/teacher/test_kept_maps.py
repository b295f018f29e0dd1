import pytest
import torch

from clip2scene.io.shards import ShardWriter
from clip2scene.teacher.kept_maps import TeacherCache, open_maps, to_content

MAPS = (torch.arange(24).reshape(2, 3, 4).half(), torch.ones(1, 2, 2).half())


def test_maps_come_back_from_a_file_of_their_own_and_from_a_shard(tmp_path):
    kept = open_maps(tmp_path)
    assert kept.read("a/b.safetensors") is None and not kept.has("a/b.safetensors")
    kept.write("a/b.safetensors", MAPS)
    writer = ShardWriter(kept.store, 1000)
    writer.add("c/d.safetensors", to_content(MAPS))
    writer.flush()
    writer.close()
    assert not kept.has("c/d.safetensors")
    kept = kept.reopened()
    for name in ("a/b.safetensors", "c/d.safetensors"):
        assert kept.has(name)
        assert all(map(torch.equal, kept.read(name), MAPS))


def test_a_cache_is_given_by_its_folder_by_an_address_or_not_at_all(tmp_path):
    assert open_maps(None) is None
    assert (
        open_maps(tmp_path).local and open_maps(str(tmp_path)).local and open_maps(f"file://{tmp_path}").local
    )
    assert not open_maps("memory://kept").local


def test_copies_of_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match="copies may take more than 0 GB, got 0; give another number"):
        TeacherCache("memory://kept", tmp_path, 0.0).open()
