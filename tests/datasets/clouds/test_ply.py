import struct

import numpy as np
import pytest
import torch

from clip2scene.datasets.clouds import read_ply, write_ply

HEAD = (
    "ply\nformat {form} 1.0\n{before}element vertex 2\nproperty float x\n{middle}property float y\n"
    "property double z\nend_header\n"
)
FACES = "element face 2\nproperty list uchar int vertex_indices\nproperty uchar flag\n"
LIST = "property list uchar ushort near\n"


def expect(columns):
    assert {name: column.tolist() for name, column in columns.items()} == {
        "x": [1, 4],
        "y": [2, 5],
        "z": [3, 6],
    }


@pytest.mark.parametrize("lengths", [(3, 3), (3, 4), (0, 2)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_elements_before_the_vertices_and_lists_in_them_are_passed_over(tmp_path, lengths, order):
    form = "binary_little_endian" if order == "<" else "binary_big_endian"
    faces = b"".join(struct.pack(f"{order}B{n}iB", n, *range(n), 7) for n in lengths)
    head = HEAD.format(form=form, before=FACES, middle=LIST)
    rows = [((1, 2, 3), lengths[0]), ((4, 5, 6), lengths[1])]
    body = faces + b"".join(struct.pack(f"{order}fB{n}Hfd", x, n, *range(n), y, z) for (x, y, z), n in rows)
    path = tmp_path / "a.ply"
    path.write_bytes(head.encode() + body)
    expect(read_ply(path))
    path.write_bytes(head.encode() + body[:-1])
    with pytest.raises(ValueError, match="truncated"):
        read_ply(path)


def test_the_same_in_text(tmp_path):
    path = tmp_path / "a.ply"
    head = HEAD.format(form="ascii", before=FACES, middle=LIST)
    path.write_text(head + "3 0 1 2 7\n4 0 1 2 3 7\n1 2 8 9 2 3\n4 0 5 6\n")
    expect(read_ply(path))
    path.write_text(head + "3 0 1 2 7\n4 0 1 2 3 7\n1 2 3\n4 0 5 6\n")
    with pytest.raises(ValueError, match="line 14: the vertex has no list 'near'"):
        read_ply(path)


@pytest.mark.parametrize(
    "head",
    [
        HEAD.format(form="binary_little_endian", before="element face 999999999999999\n", middle=""),
        HEAD.format(form="binary_little_endian", before=FACES.replace("2", "999999999999999"), middle=""),
        HEAD.format(form="ascii", before=FACES.replace("2", "999999999999999"), middle=""),
        HEAD.format(form="binary_little_endian", before="", middle="property list double int a\n"),
    ],
)
def test_headers_that_claim_more_than_the_file_holds_are_refused_at_once(tmp_path, head):
    (tmp_path / "a.ply").write_bytes(head.encode() + b"\xff" * 20)
    with pytest.raises(ValueError, match="truncated"):
        read_ply(tmp_path / "a.ply")


def test_what_is_written_keeps_double_precision_labels_and_names(tmp_path):
    positions = np.array([[665187.522077, 5648349.895035, 241.767693], [665187.40, 5648349.77, 244.85]])
    labels = torch.tensor([0, 300])
    comments = ["label 0 is Stra\u00dfe\nend_header"]
    write_ply(tmp_path / "a.ply", torch.from_numpy(positions), labels=labels, comments=comments)
    columns = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(np.stack([columns[axis] for axis in "xyz"], 1), positions)
    assert columns["label"].tolist() == [0, 300]
    assert rb"comment label 0 is Stra\xdfe end_header" in (tmp_path / "a.ply").read_bytes()
