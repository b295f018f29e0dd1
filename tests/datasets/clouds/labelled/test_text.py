import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled.codes import plain_codes
from clip2scene.datasets.clouds.labelled.text import write_text
from clip2scene.datasets.clouds.text import read_text

NAMES = ("car", "zebra", "tree")
ROWS = [(450000.125 + number, 5400000.5, 0.25, number) for number in range(7)]


def lines_of(separator, comma=False):
    rows = [separator.join(f"{value:.4f}" for value in row) for row in ROWS]
    return [row.replace(".", ",") for row in rows] if comma else rows


@pytest.mark.parametrize(
    ("suffix", "head", "rows", "names"),
    [
        (".csv", ["x,y,z,label"], lines_of(","), "x,y,z,label_before,label,confidence,label_raw"),
        (".txt", ["//X Y Z Intensity"], lines_of(" "), "//X Y Z Intensity label confidence label_raw"),
        (".xyz", ["# made by hand", "x;y;z;i"], lines_of(";", True), "x;y;z;i;label;confidence;label_raw"),
        (".csv", ['"x";"y";"z";"i";'], [f"{row};" for row in lines_of(";")], None),
        (".pts", ["7"], lines_of(" "), None),
        (".xyz", [], lines_of("\t"), None),
    ],
)
def test_lines_stay_as_they_are_with_columns_behind(labels, colours, tmp_path, suffix, head, rows, names):
    path, out = tmp_path / f"a{suffix}", tmp_path / f"out{suffix}"
    path.write_bytes("\r\n".join([*head, *rows[:3], "", *rows[3:], ""]).encode())
    codes = plain_codes(NAMES, colours)
    write_text(path, out, labels, codes)
    written = out.read_text().split("\n")
    points = [line for line in written[len(head) :] if line]
    assert all(new.startswith(old) for old, new in zip(rows, points, strict=True))
    if names is not None:
        assert written[len(head) - 1] == names
    before = read_text(path, None).columns
    after = read_text(
        out, None if head and "x" in head[-1].lower() else ("x", "y", "z", "i", "l", "c", "r")
    ).columns
    columns = list(after.values())
    np.testing.assert_array_equal(np.stack(columns[:3]), np.stack(list(before.values())[:3]))
    np.testing.assert_array_equal(columns[4], codes.of(labels.labels))
    np.testing.assert_allclose(columns[5], labels.confidence, atol=5e-5)
    np.testing.assert_array_equal(columns[6], codes.of(labels.raw))
