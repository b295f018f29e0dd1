import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled.codes import plain_codes
from clip2scene.datasets.clouds.labelled.ply import can_label_ply, write_labelled_ply
from clip2scene.datasets.clouds.ply import read_ply

trimesh = pytest.importorskip("trimesh")

NAMES = ("car", "zebra", "tree")
FORMS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def make(path, form, *, coloured):
    """Seven vertices after an element of their own, and two faces behind them."""
    names = ("red", "green", "blue") if coloured else ()
    more = "".join(f"property uchar {name}\n" for name in names)
    head = (
        f"ply\nformat {form} 1.0\ncomment by hand\nelement station 1\nproperty float height\n"
        "element vertex 7\nproperty double x\nproperty double y\nproperty float z\n"
        f"property int label\n{more}"
        "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    )
    order, rng = FORMS[form], np.random.default_rng(0)
    kinds = [("x", "f8"), ("y", "f8"), ("z", "f4"), ("label", "i4")]
    kinds += [(name, "u1") for name in ("red", "green", "blue")] * coloured
    points = np.zeros(7, [(name, order + kind) for name, kind in kinds])
    for name in points.dtype.names:
        points[name] = rng.integers(0, 200, 7)
    points["y"] += 5.4e6 + 1 / 1024
    faces = [(3, 0, 1, 2), (3, 4, 5, 6)]
    if form == "ascii":
        rows = ["1.5", *(" ".join(map(str, row)) for row in points.tolist())]
        rows += [" ".join(map(str, face)) for face in faces]
        body = "\n".join([*rows, ""]).encode()
    else:
        body = np.array([1.5], order + "f4").tobytes() + points.tobytes()
        for count, *corners in faces:
            body += bytes([count]) + np.array(corners, order + "i4").tobytes()
    path.write_bytes(head.encode() + body)


@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_vertices_keep_their_properties_and_get_labels_and_faces_stay(
    labels, colours, tmp_path, form, coloured
):
    path, out = tmp_path / "a.ply", tmp_path / "out.ply"
    make(path, form, coloured=coloured)
    codes = plain_codes(NAMES, colours)
    assert can_label_ply(path)
    write_labelled_ply(path, out, labels, codes)
    before, after = read_ply(path), read_ply(out)
    for name, column in before.items():
        found = after["label_before" if name == "label" else name]
        assert found.dtype == column.dtype and np.array_equal(found, column), name
    assert after["label"].tolist() == codes.of(labels.labels).tolist()
    assert after["label_raw"].tolist() == codes.of(labels.raw).tolist()
    np.testing.assert_allclose(after["confidence"], labels.confidence, atol=5e-5)
    if not coloured:
        painted = np.stack([after[name] for name in ("red", "green", "blue")], 1)
        assert np.array_equal(painted, colours[labels.labels])
    head = out.read_bytes().split(b"end_header")[0].decode()
    assert "comment by hand" in head and "comment label 1 is zebra" in head
    mesh, given = (trimesh.load(file, process=False) for file in (out, path))
    assert np.array_equal(mesh.faces, given.faces) and len(given.faces) == 2
    assert np.array_equal(mesh.vertices, given.vertices)


def test_vertices_with_lists_have_no_room_in_a_binary_file(tmp_path):
    head = (
        "ply\nformat {} 1.0\nelement vertex 1\nproperty float x\nproperty list uchar int seen\nend_header\n"
    )
    for form, room in (("ascii", True), ("binary_little_endian", False)):
        path = tmp_path / f"{form}.ply"
        path.write_bytes(head.format(form).encode() + b"1 2 3 4\n")
        assert can_label_ply(path) == room
