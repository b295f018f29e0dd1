import zipfile

import pytest
import torch

from clip2scene.io import read_torch


def rewritten_zip(path, out, *, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(out, "w", compression) as made:
        for name in given.namelist():
            made.writestr(name, given.read(name))


def test_tensors_come_back_as_they_were_saved(tmp_path):
    content = {"state_dict": {"a": torch.arange(6.0).reshape(2, 3), "tied": torch.ones(3)}, "epoch": 3}
    content["state_dict"]["tied too"] = content["state_dict"]["tied"]
    torch.save(content, tmp_path / "a.pt")
    found = read_torch(tmp_path / "a.pt")
    assert found["epoch"] == 3 and torch.equal(found["state_dict"]["a"], content["state_dict"]["a"])
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_torch(tmp_path / "old.pt")["state_dict"]["tied too"], torch.ones(3))


def test_a_file_that_unpacks_to_more_than_it_is_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "a.pt")
    rewritten_zip(tmp_path / "a.pt", tmp_path / "small.pt")
    assert (tmp_path / "small.pt").stat().st_size < 20_000
    with pytest.raises(ValueError, match="compressed"):
        read_torch(tmp_path / "small.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1 << 40),
        torch.zeros(3, device="meta"),
        torch.eye(3).to_sparse(),
        torch.zeros(2) * 1j,
    ],
    ids=["repeated", "meta", "sparse", "complex"],
)
def test_tensors_that_are_not_what_they_seem_are_refused(tmp_path, tensor):
    torch.save({"deep": [{"a": tensor}]}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="stand for|of the kind"):
        read_torch(tmp_path / "a.pt")
