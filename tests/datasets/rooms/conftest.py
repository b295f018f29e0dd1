import numpy as np
import pytest
from PIL import Image

from clip2scene.datasets.rooms.frames import FrameChoice

SCENE = "scene0000_00"


VERTICES = [(0.0, 0.0, 2.0), (0.1, 0.0, 2.0), (0.0, 0.1, 3.0), (-0.2, 0.0, 2.0), (0.0, -0.1, 2.0)]


NYU40 = [1, 5, 5, 22, 0]


STILL = "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n"


EVERY = FrameChoice(step=1)


def write_ply(path, *, labels=False, form="binary_little_endian", rows=VERTICES, fields=None):
    fields = fields or [("float", axis) for axis in "xyz"]
    colours = [("uchar", name) for name in ("red", "green", "blue", "alpha")]
    fields = [*fields, *colours, *([("ushort", "label")] if labels else [])]
    kinds = {"float": "<f4", "uchar": "u1", "ushort": "<u2", "double": "<f8"}
    table = np.zeros(len(rows), [(name, kinds[kind]) for kind, name in fields])
    for number, row in enumerate(rows):
        extra = (NYU40[number % 5],) if labels else ()
        table[number] = (*row, 10 * number % 256, 255, 0, 255, *extra)
    header = ["ply", f"format {form} 1.0", f"element vertex {len(rows)}"]
    header += [f"property {kind} {name}" for kind, name in fields]
    header += ["element face 0", "property list uchar int vertex_indices", "end_header", ""]
    body = table.tobytes()
    if form == "ascii":
        body = "".join(" ".join(map(str, row)) + "\n" for row in table.tolist()).encode()
    path.write_bytes("\n".join(header).encode() + body)


def write_scene(root, name=SCENE, frames=4):
    folder = root / "scans" / name
    for each in ("color", "depth", "pose", "intrinsic"):
        (folder / each).mkdir(parents=True)
    write_ply(folder / f"{name}_vh_clean_2.ply")
    write_ply(folder / f"{name}_vh_clean_2.labels.ply", labels=True)
    (folder / "intrinsic" / "intrinsic_color.txt").write_text("60 0 39.5 0\n0 60 29.5 0\n0 0 1 0\n0 0 0 1\n")
    (folder / "intrinsic" / "intrinsic_depth.txt").write_text("25 0 19.5 0\n0 25 14.5 0\n0 0 1 0\n0 0 0 1\n")
    for each in ("color", "depth"):
        (folder / "intrinsic" / f"extrinsic_{each}.txt").write_text(STILL)
    for number in range(frames):
        Image.new("RGB", (80, 60), (number, 0, 0)).save(folder / "color" / f"{number}.jpg", quality=95)
        Image.fromarray(np.full((30, 40), 2000, np.uint16)).save(folder / "depth" / f"{number}.png")
        (folder / "pose" / f"{number}.txt").write_text(STILL.replace("1 0 0 0", f"1 0 0 {number / 10}"))
    return folder


@pytest.fixture
def scene(tmp_path):
    """A scene of five vertices and four frames, each 10 cm further to the right."""
    return write_scene(tmp_path)


MESH, LABELLED = f"{SCENE}_vh_clean_2.ply", f"{SCENE}_vh_clean_2.labels.ply"
