import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled.codes import plain_codes
from clip2scene.datasets.clouds.labelled.pcd import write_pcd
from clip2scene.datasets.clouds.pcd import read_pcd

NAMES = ("car", "zebra", "tree")
KINDS = [("x", "<f8"), ("y", "<f8"), ("z", "<f4"), ("label", "<u2"), ("_", "<u1", 3), ("normal", "<f4", 2)]
HEAD = """# .PCD v0.7
VERSION 0.7
FIELDS x y z label _ normal
SIZE 8 8 4 2 1 4
TYPE F F F U U F
COUNT 1 1 1 1 3 2
WIDTH 7
HEIGHT 1
VIEWPOINT 1 2 3 1 0 0 0
POINTS 7
"""


def make(path, form):
    rng, points = np.random.default_rng(0), np.zeros(7, KINDS)
    for name in points.dtype.names:
        points[name] = rng.integers(0, 200, points[name].shape)
    points["x"] += 4.5e5 + 1e-4
    if form == "ascii":
        rows = [
            " ".join(str(value) for part in row for value in np.atleast_1d(part)) for row in points.tolist()
        ]
        content = "\n".join([*rows, ""]).encode()
    elif form == "binary":
        content = points.tobytes()
    else:
        import lzf

        plain = b"".join(
            np.ascontiguousarray(part).tobytes()
            for name in points.dtype.names
            for part in points[name].reshape(7, -1).T
        )
        packed = lzf.compress(plain, 10_000)
        content = np.array([len(packed), len(plain)], "<u4").tobytes() + packed
    path.write_bytes(f"{HEAD}DATA {form}\n".encode() + content)


@pytest.mark.parametrize("form", ["ascii", "binary", "binary_compressed"])
def test_every_field_comes_back_and_a_label_and_a_score_are_added(labels, colours, tmp_path, form):
    path, out = tmp_path / "a.pcd", tmp_path / "out.pcd"
    make(path, form)
    codes = plain_codes(NAMES, colours)
    write_pcd(path, out, labels, codes)
    before, after = read_pcd(path), read_pcd(out)
    assert list(after) == [
        *("label_before" if name == "label" else name for name in before),
        *("label", "confidence", "label_raw"),
    ]
    for name, column in before.items():
        found = after["label_before" if name == "label" else name]
        assert found.dtype == column.dtype and np.array_equal(found, column), name
    assert after["label"].tolist() == codes.of(labels.labels).tolist()
    assert after["label_raw"].tolist() == codes.of(labels.raw).tolist()
    np.testing.assert_allclose(after["confidence"], labels.confidence, atol=0 if form != "ascii" else 5e-5)
    head = out.read_bytes().split(b"DATA")[0].decode()
    assert "VIEWPOINT 1 2 3 1 0 0 0\n" in head and "COUNT 1 1 1 1 3 2 1 1 1\n" in head
    if form == "ascii":
        rows = zip(path.read_text().splitlines()[11:], out.read_text().splitlines()[11:], strict=True)
        assert all(new.startswith(old + " ") for old, new in rows)


def test_numbers_that_do_not_compress_are_written_all_the_same(labels, colours, tmp_path):
    from clip2scene.datasets.clouds.labelled.pcd import _pack

    content = np.random.default_rng(0).bytes(10_000)
    packed = _pack(content)
    import lzf

    assert np.frombuffer(packed[:8], "<u4").tolist() == [len(packed) - 8, len(content)]
    assert lzf.decompress(packed[8:], len(content)) == content
