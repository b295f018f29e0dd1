import pytest
import torch
from safetensors.torch import save_file

from clip2scene.student.published.archive import read_archive, settings, tensor_groups


def test_tensors_and_plain_values_are_read_and_safetensors_too(tmp_path):
    torch.save({"epoch": 3, "weight": torch.ones(2)}, tmp_path / "file.pt")
    assert read_archive(tmp_path / "file.pt")["epoch"] == 3
    save_file({"weight": torch.ones(2)}, tmp_path / "file.safetensors")
    assert torch.equal(read_archive(tmp_path / "file.safetensors")["weight"], torch.ones(2))


def test_files_that_are_missing_or_damaged_or_hold_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is missing"):
        read_archive(tmp_path / "nothing.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="or is damaged"):
        read_archive(tmp_path / "cut.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="cannot be read"):
        read_archive(tmp_path / "cut.safetensors")
    torch.save({"net": torch.nn.Linear(1, 1)}, tmp_path / "object.pt")
    with pytest.raises(ValueError, match="something else than tensors"):
        read_archive(tmp_path / "object.pt")
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds no state dict but a list"):
        read_archive(tmp_path / "list.pt")


def test_every_dictionary_with_tensors_is_found_at_its_place():
    one = torch.ones(1)
    content = {"a": one, "net": {"b": one, "inner": {"c": one}}, "epoch": 3, "empty": {"lr": 0.1}}
    groups = dict(tensor_groups(content))
    assert {where: list(tensors) for where, tensors in groups.items()} == {
        "": ["a"],
        "net/": ["b"],
        "net/inner/": ["c"],
    }


def test_dictionaries_that_hold_each_other_many_times_over_have_an_end():
    inner = {"a": torch.ones(1)}
    for _ in range(3):
        inner = dict.fromkeys(range(1000), inner)
    with pytest.raises(ValueError, match="more than 10000 dictionaries"):
        list(tensor_groups(inner))


def test_settings_are_those_under_config_if_they_are_a_dictionary():
    assert settings({"config": {"voxel_size": 0.1}}) == {"voxel_size": 0.1}
    assert settings({"config": "yes"}) == settings({}) == {}
