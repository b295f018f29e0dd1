import base64
import gzip
import pickle
import subprocess
import sys

import numpy as np
import pytest
from tests.datasets.conftest import LIDAR_PICKLE

from clip2scene.datasets.convert.pandaset_pickles import convert_pandaset
from clip2scene.datasets.pandaset.tables import read_numbered_table


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_layout_of_pandas_before_1_3_is_read(tmp_path, old_table, protocol):
    floats, whole = np.arange(8.0).reshape(2, 4), np.arange(4)[None]
    blocks = [{"values": floats, "mgr_locs": slice(0, 4, 2)}, {"values": whole, "mgr_locs": np.array([1])}]
    path = old_table(tmp_path / "00.pkl.gz", ["x", "d", "y"], blocks, np.arange(4), protocol)
    table, _ = read_numbered_table(path)
    assert {name: column.tolist() for name, column in table.items()} == {
        "x": [0, 1, 2, 3],
        "y": [4, 5, 6, 7],
        "d": [0, 1, 2, 3],
    }


def test_bytes_are_decoded_by_the_one_codec_that_old_pickles_need(tmp_path):
    path = tmp_path / "00.pkl.gz"
    path.write_bytes(gzip.compress(b"c_codecs\nencode\n(Vabc\nVzlib\ntR."))
    with pytest.raises(ValueError, match="asks for the codec zlib"):
        read_numbered_table(path)


class Malicious:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [print, eval, __import__, open])
def test_a_malicious_pickle_never_runs(official, tmp_path, capsys, function):
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w').write('ran')"
    arguments = {eval: (code,), open: (str(canary), "w"), __import__: ("antigravity",)}.get(
        function, ("ran",)
    )
    content = gzip.compress(pickle.dumps(Malicious(function, *arguments)))
    (official / "lidar" / "00.pkl.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"00.pkl.gz .*asks for .*\w+, which no table of numbers needs"):
        convert_pandaset(official, tmp_path / "converted")
    assert not canary.exists() and "ran" not in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["007", "download"], "nothing half-written"


def plain(value):
    """Give the steps of a pickle that leave a plain value on its stack."""
    return pickle.dumps(value, protocol=3)[2:-1]


def name_of(module, name):
    return f"c{module}\n{name}\n".encode()


def called(module, name, *arguments):
    return name_of(module, name) + b"(" + b"".join(arguments) + b"tR"


def mapping(**values):
    return b"}" + b"".join(plain(key) + value + b"s" for key, value in values.items())


def table_named_by(names):
    """Give a pickle of whitelisted names alone: a table without rows whose columns are named by an array."""
    index = name_of("pandas.core.indexes.base", "Index")
    columns = called("pandas.core.indexes.base", "_new_Index", index, mapping(data=names))
    rows = called("pandas.core.indexes.base", "_new_Index", index, mapping(start=plain(0)))
    manager = called(
        "pandas.core.internals.managers", "BlockManager", plain(()), b"(" + columns + rows + b"t"
    )
    return b"\x80\x03" + called("pandas", "DataFrame") + mapping(_mgr=manager) + b"b."


def forged_pickles():
    """Give pickles that would crash the program, or change it, if they were believed."""
    of_objects = called("numpy", "dtype", plain("O8"), plain(False), plain(True))
    fields = b"}" + plain("a") + b"(" + of_objects + plain(0) + b"ts"
    state = (
        b"(" + b"".join(map(plain, (3, "|", None, ("a",)))) + fields + plain(8) + plain(1) + plain(0) + b"t"
    )
    pointers = called("numpy", "dtype", plain("V8"), plain(False), plain(True)) + state + b"b"
    content = plain(b"A" * 8), pointers, plain((1,)), plain("C")
    yield table_named_by(called("numpy.core.numeric", "_frombuffer", *content))
    array = called(
        "numpy.core.multiarray", "_reconstruct", name_of("numpy", "ndarray"), plain((0,)), plain(b"b")
    )
    state = b"(" + plain(1) + plain((1,)) + pointers + plain(False) + plain(b"A" * 8) + b"t"
    yield table_named_by(array + state + b"b")
    yield table_named_by(plain([1]))
    yield b"\x80\x03}" + b")" + b"\x85" * 1_000_000 + plain(0) + b"s."  # a key nested a million times
    yield b"\x80\x03Nr" + (2**32 - 1).to_bytes(4, "little") + b"."  # kept as the object of the highest number
    for module, name in (("pandas._libs.internals", "_unpickle_block"), ("_codecs", "encode")):
        yield b"\x80\x03" + name_of(module, name) + b"(N" + mapping(changed=plain(1)) + b"tb."


def test_forged_pickles_of_known_names_alone_neither_crash_nor_change_the_program(tmp_path):
    paths = [tmp_path / f"{number}.pkl.gz" for number in range(len(list(forged_pickles())))]
    for path, content in zip(paths, forged_pickles(), strict=True):
        path.write_bytes(gzip.compress(content))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from clip2scene.datasets.pandaset import tables\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "for path in sys.argv[1:]:\n"
        "    try: tables.read_numbered_table(Path(path))\n"
        "    except ValueError as error: print(error)\n"
        "assert not any(hasattr(each, 'changed') for each in tables._KNOWN.values())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths) == 7, done.stdout
    for path, line in zip(paths, lines, strict=True):
        assert str(path) in line
    assert "it has values of type 'V8', not numbers" in lines[0] and "'V8'" in lines[1]
    assert all("more than 10000 steps" in line for line in lines[3:5])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "cannot be read|is not a pandas table"),
        (b"no gzip", "cannot be read"),
        (gzip.compress(b""), "cannot be read|is not a pandas table"),
        (gzip.compress(pickle.dumps([1, 2])), "holds no DataFrame"),
        (base64.b85decode(LIDAR_PICKLE)[:200], "cannot be read"),
    ],
    ids=["no bytes", "no gzip", "no pickle", "a list", "truncated"],
)
def test_a_broken_pickle_is_named(tmp_path, content, fault):
    path = tmp_path / "00.pkl.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=fault) as caught:
        read_numbered_table(path)
    assert "00.pkl.gz" in str(caught.value)
