import os

import pytest
import torch
from safetensors.torch import save_file

from clip2scene.io import fingerprint, load_checksummed, save_checksummed

TENSORS = {
    "b": torch.arange(6).reshape(2, 3).half(),
    "a": torch.tensor([[1.5, -2.0]]).T,  # not contiguous
    "empty": torch.zeros(0, 4),
    "small": torch.arange(5, dtype=torch.int8),
}


def same_as_written(found):
    return found.keys() == TENSORS.keys() and all(
        found[name].dtype == each.dtype and torch.equal(found[name], each) for name, each in TENSORS.items()
    )


def test_tensors_are_not_waited_for_in_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"cannot be read .*is a pipe.*delete it and run again"):
        load_checksummed(tmp_path / "a.safetensors")


def test_tensors_come_back(tmp_path):
    save_checksummed(tmp_path / "a.safetensors", TENSORS)
    assert same_as_written(load_checksummed(tmp_path / "a.safetensors"))


def test_whatever_bit_changes_nothing_wrong_is_read(tmp_path):
    """A change in the checksum's own name, or in a space, leaves the tensors what they were."""
    path = tmp_path / "a.safetensors"
    save_checksummed(path, TENSORS)
    whole, harmless = path.read_bytes(), 0
    for number in range(8 * len(whole)):
        bits = bytearray(whole)
        bits[number // 8] ^= 1 << number % 8
        path.write_bytes(bits)
        try:
            found = load_checksummed(path)
        except ValueError as error:
            assert "a.safetensors" in str(error) and "delete it and run again" in str(error)
            continue
        assert same_as_written(found)
        harmless += 1
    assert harmless < 8 * 16


def test_names_that_are_swapped_are_found_out(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checksummed(path, {"a": torch.zeros(3), "b": torch.ones(3)})
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"a"', b'"c"').replace(b'"b"', b'"a"').replace(b'"c"', b'"b"'))
    with pytest.raises(ValueError, match="is damaged: it is not what was written"):
        load_checksummed(path)


def test_files_of_earlier_versions_are_read_unchecked(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "old.safetensors")
    assert load_checksummed(tmp_path / "old.safetensors")["a"].tolist() == [1, 1]


def test_a_missing_file_of_tensors_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.safetensors cannot be read"):
        load_checksummed(tmp_path / "no.safetensors")


def test_the_fingerprint_sees_names_types_shapes_and_bits_but_not_order():
    tensors = {"a": torch.zeros(2, 2), "b": torch.ones(3)}
    first = fingerprint(tensors)
    assert fingerprint(dict(reversed(tensors.items()))) == first
    changed = [
        {"c": tensors["a"], "b": tensors["b"]},
        {**tensors, "a": torch.zeros(4)},
        {**tensors, "a": torch.zeros(2, 2, dtype=torch.int32)},
        {**tensors, "a": -torch.zeros(2, 2)},
    ]
    assert len({first, *map(fingerprint, changed)}) == 5
