import os
import pickle
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from tests import openai_clip

from clip2scene.teacher.clip.openai import load_openai_model, read_openai_weights

PROOF = Path(tempfile.gettempdir()) / f"clip2scene-ran-code-{os.getpid()}"


class Attack:
    def __reduce__(self):
        return os.system, (f"touch {PROOF}",)


def rewrite(path, out, change):
    """Copy an archive, each entry as ``change`` gives it back; None leaves it out."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as copy:
        for name in archive.namelist():
            content = change(name.split("/", 1)[1], archive.read(name))
            if content is not None:
                copy.writestr(name, content)
    return out


def put(entry, content):
    return lambda name, old: content if name == entry else old


@pytest.mark.parametrize("kind", openai_clip.TINY)
def test_an_archives_tensors_are_those_that_torch_itself_reads(archives, kind):
    path, truth = archives[kind]
    ours = read_openai_weights(path)
    expected = openai_clip.state_dict(truth)
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert ours[name].dtype == value.dtype
        assert torch.equal(ours[name], value)
    assert ours["visual.conv1.weight"].dtype == torch.float16


def test_a_copy_that_changes_nothing_is_still_read(archives, tmp_path):
    path = archives["resnet"][0]
    whole = read_openai_weights(path)
    copied = read_openai_weights(rewrite(path, tmp_path / "copy.pt", lambda _, old: old))
    assert copied.keys() == whole.keys() and all(torch.equal(copied[name], whole[name]) for name in whole)


class Anything:
    """Pickles as a call of what it is given."""

    def __init__(self, function, *arguments, state=None):
        self.made = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.made


HOSTILE = {
    "a command": (pickle.dumps(Attack(), protocol=2), "asks for posix.system"),
    "evaluated code": (pickle.dumps(Anything(eval, "1"), protocol=2), "asks for __builtin__.eval"),
    "a getter": (pickle.dumps(Anything(getattr, "", "join"), protocol=2), "asks for __builtin__.getattr"),
    "torch's own loader": (pickle.dumps(Anything(torch.load, "x"), protocol=2), r"asks for torch\.\S*load"),
    "a name of torch's with dots": (
        b"\x80\x04\x8c\x05torch\x94\x8c\x0fos.path.lexists\x93\x8c\x01/\x85R.",
        "asks for torch.os.path",
    ),
    "a call of a type of numbers": (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage"),
    "a type of numbers changed": (
        b"\x80\x02ctorch\nFloatStorage\n}X\x01\x00\x00\x00aK\x01sb.",
        "changes torch",
    ),
    "a dictionary of somebody's making": (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "calls collections"),
    "a class of the model changed": (b"\x80\x02c__torch__\nM\n}b.", "TypeError"),
    "a model of no parts": (b"\x80\x02c__torch__\nM\n)\x81.", "visual.layer|text_projection"),
    "a number": (b"\x80\x02K\x01.", "holds no model"),
    "a model that holds itself": (
        b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb.",
        "Recursion",
    ),
    "nothing": (b"", "EOFError"),
    "noise": (bytes(range(256)), "cannot be read"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_is_refused_and_not_run(archives, tmp_path, kind):
    content, message = HOSTILE[kind]
    bad = rewrite(archives["resnet"][0], tmp_path / "bad.pt", put("data.pkl", content))
    with pytest.raises(ValueError, match=message):
        load_openai_model(bad)
    assert not PROOF.exists()


def test_a_hostile_state_dict_is_refused_and_not_run(tmp_path):
    torch.save({"visual.conv1.weight": Attack()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="something else than tensors and plain values"):
        load_openai_model(tmp_path / "bad.pt")
    (tmp_path / "worse.pt").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(ValueError, match="something else than tensors"):
        load_openai_model(tmp_path / "worse.pt")
    assert not PROOF.exists()


HUNGRY = {
    "a high number of a memo": (b"\x80\x02Nr\xff\xff\xff\x07.", "holds no model"),
    "an array of bytes": (b"\x80\x05\x96" + (10**9).to_bytes(8, "little") + b".", "150"),
}


@pytest.mark.parametrize("kind", HUNGRY)
def test_a_hungry_pickle_takes_no_memory(archives, tmp_path, kind):
    content, message = HUNGRY[kind]
    bad = rewrite(archives["resnet"][0], tmp_path / "bad.pt", put("data.pkl", content))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            read_openai_weights(bad)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 10_000_000


def doubled_parts(levels):
    """Pickle a model of a few parts, each of which holds the one before it twice."""
    part = b"c__torch__\nM\n)\x81}b"
    for _ in range(levels):
        part = b"c__torch__\nM\n)\x81}(X\x01\x00\x00\x00a" + part + b"q\x00X\x01\x00\x00\x00bh\x00ub"
    return b"\x80\x02" + part + b"."


def test_parts_without_end_are_refused_soon(archives, tmp_path):
    bad = rewrite(archives["resnet"][0], tmp_path / "bad.pt", put("data.pkl", doubled_parts(50)))
    with pytest.raises(ValueError, match="more than 100000 parts"):
        read_openai_weights(bad)


DAMAGE = {
    "numbers are missing": (put("data/3", None), "data/3"),
    "numbers are too few": (put("data/3", b"\0\0"), "data/3 holds 2 bytes for"),
    "numbers are big-endian": (put("byteorder", b"big"), "big-endian"),
}


def test_damaged_archives_are_refused(archives, tmp_path):
    path = archives["resnet"][0]
    for change, message in DAMAGE.values():
        with pytest.raises(ValueError, match=message):
            load_openai_model(rewrite(path, tmp_path / "bad.pt", change))
    with pytest.raises(ValueError, match="nowhere.pt.*check the path"):
        load_openai_model(tmp_path / "nowhere.pt")


def tensor_of(size, stride, offset=0, count=4):
    """Pickle a model of one tensor, laid out as given over numbers of the archive's entry data/0."""
    head = b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n("
    run = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK%ctQ" % count
    )
    layout = b"J" + offset.to_bytes(4, "little", signed=True)
    for sides in (size, stride):
        layout += b"(" + b"".join(b"J" + side.to_bytes(4, "little", signed=True) for side in sides) + b"t"
    return head + run + layout + b"\x89}tRsb."


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((2, 2), (3, 1), 0),
        ((4,), (1,), 1),
        ((1 << 30,), (0,), 0),
        ((-1,), (1,), 0),
        ((2,), (-1,), 1),
    ],
)
def test_a_tensor_never_reaches_beyond_its_numbers(archives, tmp_path, size, stride, offset):
    numbers = torch.arange(4.0)

    def change(name, old):
        return {"data.pkl": tensor_of(size, stride, offset), "data/0": numbers.numpy().tobytes()}.get(
            name, old
        )

    with pytest.raises(ValueError, match="wants a tensor of shape|cannot be"):
        read_openai_weights(rewrite(archives["resnet"][0], tmp_path / "bad.pt", change))


def test_a_tensor_may_be_any_view_of_its_numbers(archives, tmp_path):
    def change(name, old):
        view = {"data.pkl": tensor_of((2, 1), (2, 1), 1), "data/0": torch.arange(4.0).numpy().tobytes()}
        return view.get(name, old)

    read = read_openai_weights(rewrite(archives["resnet"][0], tmp_path / "view.pt", change))
    assert read["a"].tolist() == [[1.0], [3.0]]


def test_truncated_and_flipped_archives_are_refused_or_read_whole(archives, tmp_path):
    content = archives["resnet"][0].read_bytes()
    whole = read_openai_weights(archives["resnet"][0])
    for size in torch.linspace(0, len(content) - 1, 12).long().tolist():
        (tmp_path / "cut.pt").write_bytes(content[:size])
        with pytest.raises(ValueError, match="cut.pt"):
            read_openai_weights(tmp_path / "cut.pt")
    places = torch.randint(len(content), (60,), generator=torch.Generator().manual_seed(0)).tolist()
    refused = 0
    for at in [*places, *range(len(content) - 60, len(content), 3)]:
        flipped = bytearray(content)
        flipped[at] ^= 0x10
        (tmp_path / "flipped.pt").write_bytes(flipped)
        try:
            read = read_openai_weights(tmp_path / "flipped.pt")
        except ValueError:
            refused += 1
            continue
        assert all(torch.equal(read[name], value) for name, value in whole.items())
    assert refused > 20


def test_a_compressed_entry_is_refused(archives, tmp_path):
    with zipfile.ZipFile(archives["vit"][0]) as archive:
        with zipfile.ZipFile(tmp_path / "bad.pt", "w", zipfile.ZIP_DEFLATED) as copy:
            for name in archive.namelist():
                copy.writestr(name, archive.read(name))
    with pytest.raises(ValueError, match="is compressed"):
        read_openai_weights(tmp_path / "bad.pt")


def test_a_compressed_byte_order_is_not_unpacked(archives, tmp_path):
    bad = rewrite(
        archives["vit"][0], tmp_path / "bad.pt", lambda name, old: old if name != "byteorder" else None
    )
    with zipfile.ZipFile(bad, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{root}/byteorder", bytes(10**7), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="byteorder is compressed"):
        read_openai_weights(bad)


def test_entries_that_share_their_bytes_are_refused(archives, tmp_path):
    bad = rewrite(archives["vit"][0], tmp_path / "bad.pt", lambda _, old: old)
    with zipfile.ZipFile(bad, "a") as archive:
        archive.filelist += 2 * archive.filelist
        archive.writestr("x", "")  # so that the table of contents is written anew
    with pytest.raises(ValueError, match="its entries overlap"):
        read_openai_weights(bad)
