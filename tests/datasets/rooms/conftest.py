import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.toytown.rooms.room import Room
from clip2scene.toytown.rooms.room_scan import hand_held

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


START_S = 1_305_031_102.0


def matrix(path, rows):
    path.write_text("".join(" ".join(f"{value:.7e}" for value in row) + "\n" for row in rows))


def write_intrinsics(rooms, folder):
    for name in ("color", "depth"):
        source = rooms / "scans" / "scene0000_00" / "intrinsic" / f"intrinsic_{name}.txt"
        shutil.copy(source, folder / f"intrinsic_{name}.txt")


@pytest.fixture
def seven(tiny_rooms, tmp_path):
    """The first room of ``tiny_rooms`` as 7-Scenes would have it; where depth is unknown stands 65535."""
    folder, scene = tmp_path / "seven" / "flat" / "seq-01", tiny_rooms / "scans" / "scene0000_00"
    folder.mkdir(parents=True)
    for number in range(6):
        stem = folder / f"frame-{number:06d}"
        Image.open(scene / "color" / f"{number}.jpg").save(f"{stem}.color.png")
        depth = np.array(Image.open(scene / "depth" / f"{number}.png"))
        depth[:, :5] = 65535
        Image.fromarray(depth).save(f"{stem}.depth.png")
        shutil.copy(scene / "pose" / f"{number}.txt", f"{stem}.pose.txt")
    write_intrinsics(tiny_rooms, folder)
    return tmp_path / "seven"


@pytest.fixture
def tum(tiny_rooms, tmp_path):
    """The same room as TUM would have it: depth 5 ms after colour, poses every 10 ms, the camera still."""
    folder, scene = tmp_path / "tum", tiny_rooms / "scans" / "scene0000_00"
    rows = {"rgb": ["# color images"], "depth": ["# depth maps"], "groundtruth": ["# timestamp tx ty tz qx"]}
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for number, pose in enumerate(hand_held(Room(0), 0, 6)):
        taken, turn = START_S + number, Rotation.from_matrix(pose[:3, :3]).as_quat()
        Image.open(scene / "color" / f"{number}.jpg").save(folder / "rgb" / f"{taken:.6f}.png")
        millimetres = np.array(Image.open(scene / "depth" / f"{number}.png")).astype(np.int64)
        depth = Image.fromarray((millimetres * 5).astype(np.uint16))
        depth.save(folder / "depth" / f"{taken + 0.005:.6f}.png")
        rows["rgb"].append(f"{taken:.6f} rgb/{taken:.6f}.png")
        rows["depth"].append(f"{taken + 0.005:.6f} depth/{taken + 0.005:.6f}.png")
        for later in (-0.003, 0.007, 0.017):
            numbers = " ".join(f"{value:.6f}" for value in (*pose[:3, 3], *turn))
            rows["groundtruth"].append(f"{taken + later:.4f} {numbers}")
    for name, lines in rows.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    write_intrinsics(tiny_rooms, folder)
    return folder
