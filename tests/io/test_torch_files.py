import pickle
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch

from clip2scene.io import read_torch


def rewritten_zip(path, out, *, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(out, "w", compression) as made:
        for name in given.namelist():
            made.writestr(name, given.read(name))


def zipped(path, content, **runs):
    """Write a zip archive of a pickle and its runs of numbers."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
        for key, run in runs.items():
            archive.writestr(f"a/data/{key}", run)
        archive.writestr("a/version", "3\n")
    return path


def in_a_row(path, content):
    """Write a pickle in the format that is no zip archive, with no numbers after it."""
    before = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    marks = b"".join(pickle.dumps(each, protocol=2) for each in before)
    path.write_bytes(marks + content + pickle.dumps([], protocol=2))
    return path


def number(value):
    return b"J" + value.to_bytes(4, "little", signed=True)


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def run(count, *, key="k", kind="FloatStorage", view=b""):
    """Pickle a reference to a run of numbers; ``view`` is what the older format has after it."""
    parts = (text("storage"), f"ctorch\n{kind}\n".encode(), text(key), text("cpu"), number(count))
    return b"(" + b"".join(parts) + view + b"tQ"


def tensor(of, size, stride=1, offset=0):
    sides = number(offset) + number(size) + b"\x85" + number(stride) + b"\x85"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + of + sides + b"\x89ccollections\nOrderedDict\n)RtR"


CONTENT = {
    "state_dict": OrderedDict(a=torch.arange(6.0).reshape(2, 3), tied=torch.ones(3)),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "brain floats": torch.ones(3, dtype=torch.bfloat16),
    "a view": torch.arange(100)[5:60:7],
    "none": torch.zeros(0, 4),
    "plain": [1, 2.5, None, True, "text", b"\xff\x00", (1, 10**30), {1, 2}, Counter("aab"), torch.Size([2])],
    "kinds": [torch.device("cpu"), torch.float16],
}
CONTENT["state_dict"]["tied too"] = CONTENT["state_dict"]["tied"]


@pytest.mark.parametrize("zip_archive", [True, False])
def test_tensors_and_plain_values_come_back_as_they_were_saved(tmp_path, zip_archive):
    torch.save(CONTENT, tmp_path / "a.pt", _use_new_zipfile_serialization=zip_archive)
    found = read_torch(tmp_path / "a.pt")
    assert found.keys() == CONTENT.keys() and found["plain"] == CONTENT["plain"]
    assert found["kinds"] == CONTENT["kinds"]
    assert all(torch.equal(each, CONTENT["state_dict"][name]) for name, each in found["state_dict"].items())
    for name in ("parameter", "brain floats", "a view", "none"):
        assert torch.equal(found[name], CONTENT[name]) and found[name].dtype == CONTENT[name].dtype
    assert isinstance(found["parameter"], torch.nn.Parameter)


@pytest.mark.parametrize("zip_archive", [True, False])
def test_a_network_and_its_optimiser_come_back(tmp_path, zip_archive):
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.randn(5, 3)).sum().backward()
    optimiser.step()
    content = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zip_archive)
    found = read_torch(tmp_path / "a.pt")
    assert found["network"]._metadata == content["network"]._metadata
    for name, each in content["network"].items():
        assert torch.equal(found["network"][name], each)
    assert torch.equal(found["optimiser"]["state"][0]["exp_avg"], content["optimiser"]["state"][0]["exp_avg"])


def test_numbers_of_the_newer_types_come_back(tmp_path):
    content = {"a": torch.ones(3, dtype=torch.uint16), "b": torch.ones(2).to(torch.float8_e4m3fn)}
    torch.save(content, tmp_path / "a.pt")
    found = read_torch(tmp_path / "a.pt")
    assert found["a"].tolist() == [1, 1, 1] and found["b"].float().tolist() == [1, 1]


def test_a_file_that_unpacks_to_more_than_it_is_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "a.pt")
    rewritten_zip(tmp_path / "a.pt", tmp_path / "small.pt")
    assert (tmp_path / "small.pt").stat().st_size < 20_000
    with pytest.raises(ValueError, match="compressed"):
        read_torch(tmp_path / "small.pt")


@pytest.mark.parametrize(
    "strange",
    [
        torch.zeros(1).expand(1 << 40),
        torch.zeros(3, device="meta"),
        torch.eye(3).to_sparse(),
        torch.zeros(2) * 1j,
    ],
    ids=["repeated", "meta", "sparse", "complex"],
)
def test_tensors_that_are_not_what_they_seem_are_refused(tmp_path, strange):
    torch.save({"deep": [{"a": strange}]}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="stand for|asks for torch"):
        read_torch(tmp_path / "a.pt")


COUNT = [b"M" + each.to_bytes(2, "little") for each in range(1000)]
NUMBERS = b"](" + b"".join(COUNT) + b"e"
PAIRS = b"](" + b"".join(each + b"N\x86" for each in COUNT) + b"e"
NAMES = b"}(" + b"".join(text(f"{each}") + b"N" for each in range(1000)) + b"u"
HOSTILE = {
    "an array of bytes": (b"c__builtin__\nbytearray\n" + number(10**9) + b"\x85R", "asks for builtins.byte"),
    "an array of bytes, by its new name": (b"cbuiltins\nbytearray\n)R", "asks for builtins.bytearray"),
    "code": (b"cbuiltins\neval\n" + text("1") + b"\x85R", "asks for builtins.eval"),
    "a name of torch's": (b"ctorch\nload\n)R", "asks for torch.load"),
    "a name with dots": (b"ctorch\nos.getcwd\n)R", "asks for torch.os.getcwd"),
    "copies of a list": (
        PAIRS + b"q\x00ccollections\nOrderedDict\nq\x01](" + 100_000 * b"h\x01h\x00\x85R" + b"e",
        "copies more than it holds",
    ),
    "copies of a set": (
        NUMBERS + b"q\x00cbuiltins\nset\nq\x01](" + 100_000 * b"h\x01h\x00\x85R" + b"e",
        "copies more than it holds",
    ),
    "copies of attributes": (
        NAMES + b"q\x00ccollections\nOrderedDict\nq\x01](" + 100_000 * b"h\x01)Rh\x00b" + b"e",
        "copies more than it holds",
    ),
    "copies of a text": (
        text(1000 * "a") + b"q\x00c_codecs\nencode\nq\x01" + text("latin1") + b"q\x02]("
        b"" + 100_000 * b"h\x01h\x00h\x02\x86R" + b"e",
        "copies more than it holds",
    ),
    "a strange encoding": (
        b"c_codecs\nencode\n" + text("a") + text("utf-32") + b"\x86R",
        "encodes something",
    ),
    "a set of a tensor's numbers": (b"cbuiltins\nset\n" + tensor(run(0), 0) + b"\x85R", "makes a set"),
    "sets by their opcode": (b"](" + 100 * b"\x8f" + b"e", "143"),
    "attributes of a list": (b"]}b", "sets attributes"),
    "a type of numbers called": (b"ctorch\nFloatStorage\n)R", "not callable"),
    "numbers that are not there": (run(10**9), "data/k is not|would take"),
    "a negative number of numbers": (run(-1), "no run of numbers"),
    "a tensor longer than its numbers": (tensor(run(0), 10**9), "wants a tensor of shape"),
    "a tensor that begins behind them": (tensor(run(0), 1, offset=10**9), "wants a tensor of shape"),
    "a tensor of what is no run": (tensor(b"N", 1), "cannot be"),
    "a run of two types": (b"(" + run(0) + run(0, kind="ByteStorage") + b"t", "or for several"),
}
READ = """
import resource, sys
from pathlib import Path
import clip2scene.io

address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (address_space + 300_000_000,) * 2)
for name in sys.argv[1:]:
    try:
        clip2scene.io.read_torch(Path(name))
        print("was read")
    except ValueError as error:
        print(error)
"""


def said_with_little_memory(paths):
    """Read files in a process that may take 300 MB more than torch itself; give what was said of each."""
    command = [sys.executable, "-W", "error", "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_hostile_pickles_are_refused_in_little_memory(tmp_path):
    expected, paths = [], []
    for place, (content, message) in enumerate(HOSTILE.values()):
        content = b"\x80\x02" + content + b"."
        paths.append(zipped(tmp_path / f"{place}.zip.pt", content, k=b""))
        paths.append(in_a_row(tmp_path / f"{place}.row.pt", content.replace(b"tQ", b"NtQ")))
        expected += [message, message]
    for path, message, said in zip(paths, expected, said_with_little_memory(paths), strict=True):
        assert str(path) in said and "fetch it anew" in said
        assert any(each in said for each in message.split("|")), (message, said)


def test_a_high_number_of_a_memo_takes_no_memory(tmp_path):
    content = b"\x80\x02Nr\xff\xff\xff\xff."
    paths = [zipped(tmp_path / "zip.pt", content), in_a_row(tmp_path / "row.pt", content)]
    assert said_with_little_memory(paths) == ["was read", "was read"]


def test_a_part_of_a_run_lies_within_it(tmp_path):
    """Older files name a part by a key of its own, where it begins and how long it is."""
    part = text("part") + number(1) + number(1) + b"\x87"
    content = b"\x80\x02" + tensor(run(3, view=part), 1) + b"."
    path = in_a_row(tmp_path / "a.pt", content)
    names = pickle.dumps(["k"], protocol=2)
    numbers = (3).to_bytes(8, "little") + torch.tensor([5.0, 6.0, 7.0]).numpy().tobytes()
    path.write_bytes(path.read_bytes().removesuffix(pickle.dumps([], protocol=2)) + names + numbers)
    assert read_torch(path).tolist() == [6.0]
    path.write_bytes(path.read_bytes().replace(part, text("part") + number(1) + number(3) + b"\x87"))
    with pytest.raises(ValueError, match="wants a part of k that is not there"):
        read_torch(path)


def test_an_archive_of_two_pickles_is_refused(tmp_path):
    for name in ("b/data.pkl", "a/DATA.PKL", "a/deep/data.pkl"):
        path = zipped(tmp_path / "a.pt", b"\x80\x02N.")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"\x80\x02N.")
        with pytest.raises(ValueError, match=r"should hold one data\.pkl"):
            read_torch(path)


def test_a_run_is_as_long_as_its_entry(tmp_path):
    path = zipped(tmp_path / "a.pt", b"\x80\x02" + tensor(run(4), 4) + b".", k=bytes(16))
    assert read_torch(path).tolist() == [0, 0, 0, 0]
    path = zipped(tmp_path / "a.pt", b"\x80\x02" + tensor(run(5), 4) + b".", k=bytes(16))
    with pytest.raises(ValueError, match="data/k is not the 20 bytes"):
        read_torch(path)


def test_truncated_files_are_refused(tmp_path):
    for zip_archive in (True, False):
        torch.save(CONTENT, tmp_path / "a.pt", _use_new_zipfile_serialization=zip_archive)
        whole = (tmp_path / "a.pt").read_bytes()
        for share in range(16):
            (tmp_path / "cut.pt").write_bytes(whole[: len(whole) * share // 16])
            with pytest.raises(ValueError, match=r"cut\.pt"):
                read_torch(tmp_path / "cut.pt")
