"""A rig of three cameras, and writers of each format that are as short as its description."""

import json
import struct

import numpy as np
import pyarrow
from pyarrow import feather
from scipy.spatial.transform import Rotation

from clip2scene.datasets.drive_log.files import read_checked
from clip2scene.datasets.rigs.import_rig import import_calibration

SIZE = (640, 480)
RADTAN = (-0.2, 0.05, 0.001, -0.0005)
FISHEYE = (0.02, -0.01, 0.003, 0.0)
LENSES = (("", ()), ("plumb_bob", RADTAN), ("equidistant", FISHEYE))


def random_rig(lenses=LENSES):
    """Names, intrinsics, camera_from_lidar, and distortion of some cameras."""
    rng = np.random.default_rng(0)
    rig = []
    for number, lens in enumerate(lenses):
        place = np.eye(4)
        place[:3, :3] = Rotation.random(random_state=np.random.RandomState(number)).as_matrix()
        place[:3, 3] = rng.uniform(-3, 3, 3)
        fx, fy = rng.uniform(400, 500, 2)
        matrix = np.array([[fx, 0, 319.5 + rng.normal()], [0, fy, 239.5 + rng.normal()], [0, 0, 1]])
        rig.append((f"cam{number}", matrix, place, lens))
    return rig


def quaternion(motion):
    """w x y z."""
    return np.roll(Rotation.from_matrix(motion[:3, :3]).as_quat(), 1)


def as_yaml(matrix):
    return json.dumps(np.asarray(matrix).tolist())


def write_kalibr(path, rig):
    """The first camera by the IMU, the others by the one before."""
    lines = []
    for number, (name, matrix, place, (model, coefficients)) in enumerate(rig):
        kind = {"": "none", "plumb_bob": "radtan"}.get(model, model)
        before = np.eye(4) if number == 0 else rig[number - 1][2]
        key = "T_cam_imu" if number == 0 else "T_cn_cnm1"
        lines += [
            f"{name}:",
            f"  {key}: {as_yaml(place @ np.linalg.inv(before))}",
            "  camera_model: pinhole",
            f"  distortion_coeffs: {as_yaml(coefficients)}",
            f"  distortion_model: {kind}",
            f"  intrinsics: {as_yaml([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]])}",
            f"  resolution: {as_yaml(SIZE)}",
            f"  rostopic: /{name}/image_raw",
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_camera_info(path, camera):
    name, matrix, _, (model, coefficients) = camera
    path.write_text(
        f"image_width: {SIZE[0]}\nimage_height: {SIZE[1]}\ncamera_name: {name}\n"
        f"camera_matrix:\n  rows: 3\n  cols: 3\n  data: {as_yaml(matrix.reshape(-1))}\n"
        f"distortion_model: {model or 'plumb_bob'}\n"
        f"distortion_coefficients:\n  rows: 1\n  cols: 4\n  data: {as_yaml(coefficients)}\n"
        f"projection_matrix:\n  rows: 3\n  cols: 4\n  data: {as_yaml(np.zeros(12))}\n"
    )
    return path


def write_kitti(path, rig, *, tr="Tr"):
    """Cameras turned alike and moved along one another; the first may stand anywhere."""
    first = rig[0][2]
    lines = []
    for number, (_, matrix, place, _) in enumerate(rig):
        offset = (place @ np.linalg.inv(first))[:3, 3]
        projection = np.column_stack([matrix, matrix @ offset])
        lines.append(f"P{number}: " + " ".join(f"{value:.12e}" for value in projection.reshape(-1)))
    if tr == "Tr_velo_to_cam":
        turn = Rotation.from_euler("xyz", [0.1, -0.2, 0.3]).as_matrix()
        lines.append("R0_rect: " + " ".join(f"{value:.12e}" for value in turn.reshape(-1)))
        first = np.block([[turn.T, np.zeros((3, 1))], [0, 0, 0, 1]]) @ first
    lines.append(f"{tr}: " + " ".join(f"{value:.12e}" for value in first[:3].reshape(-1)))
    path.write_text("\n".join(lines) + "\n")
    return path


def parallel_rig():
    """A rig that KITTI's files can hold: undistorted, and turned alike."""
    rig = random_rig([("", ())] * 3)
    turned = rig[0][2][:3, :3]
    for _, _, place, _ in rig:
        place[:3, :3] = turned
    return rig


def colmap_parameters(matrix, lens):
    model, coefficients = lens
    values = [matrix[0, 0], matrix[1, 1], matrix[0, 2] + 0.5, matrix[1, 2] + 0.5]
    if not model:
        return "PINHOLE", 1, values
    number, name = {"plumb_bob": (4, "OPENCV"), "equidistant": (5, "OPENCV_FISHEYE")}[model]
    return name, number, [*values, *coefficients]


def write_colmap(folder, rig, *, binary=False):
    folder.mkdir()
    cameras, images = ["# Camera list with one line of data per camera:"], ["# Image list"]
    raw_cameras, raw_images = struct.pack("<Q", len(rig)), struct.pack("<Q", len(rig))
    for number, (name, matrix, place, lens) in enumerate(rig, 1):
        model, model_id, values = colmap_parameters(matrix, lens)
        cameras.append(" ".join(map(str, [number, model, *SIZE, *map(repr, map(float, values))])))
        pose = [*map(float, quaternion(place)), *map(float, place[:3, 3])]
        images.append(" ".join([str(number), *map(repr, pose), str(number), f"{name}.jpg"]))
        images.append("" if number == 1 else "1.5 2.5 -1 3.0 4.0 17")
        raw_cameras += struct.pack(f"<iiQQ{len(values)}d", number, model_id, *SIZE, *values)
        raw_images += struct.pack("<i7di", number, *pose, number) + f"{name}.jpg".encode() + b"\0"
        raw_images += struct.pack("<Q", 2) + b"\1" * 48
    if binary:
        (folder / "cameras.bin").write_bytes(raw_cameras)
        (folder / "images.bin").write_bytes(raw_images)
    else:
        (folder / "cameras.txt").write_text("\n".join(cameras) + "\n")
        (folder / "images.txt").write_text("\n".join(images) + "\n")
    return folder


def write_nerfstudio(path, rig):
    frames = []
    for name, matrix, place, (model, coefficients) in rig:
        world_from_camera = np.linalg.inv(place) @ np.diag([1, -1, -1, 1])
        frame = {"file_path": f"images/{name}.png", "transform_matrix": world_from_camera.tolist()}
        frame |= {"fl_x": matrix[0, 0], "fl_y": matrix[1, 1]}
        frame |= {"cx": matrix[0, 2] + 0.5, "cy": matrix[1, 2] + 0.5}
        frame["camera_model"] = "OPENCV_FISHEYE" if model == "equidistant" else "OPENCV"
        names = ("k1", "k2", "k3", "k4") if model == "equidistant" else ("k1", "k2", "p1", "p2")
        frames.append(frame | dict(zip(names, coefficients, strict=False)))
    path.write_text(json.dumps({"w": SIZE[0], "h": SIZE[1], "frames": frames}))
    return path


def write_argoverse(folder, rig):
    folder.mkdir()
    names = [name for name, *_ in rig]
    matrices = np.array([matrix for _, matrix, _, _ in rig])
    places = [np.linalg.inv(place) for _, _, place, _ in rig]
    columns = {"sensor_name": names, "fx_px": matrices[:, 0, 0], "fy_px": matrices[:, 1, 1]}
    columns |= {"cx_px": matrices[:, 0, 2], "cy_px": matrices[:, 1, 2]}
    columns |= {key: np.full(len(rig), 0.1) for key in ("k1", "k2", "k3")}
    columns |= {"height_px": np.full(len(rig), SIZE[1]), "width_px": np.full(len(rig), SIZE[0])}
    feather.write_feather(pyarrow.table(columns), folder / "intrinsics.feather")
    sensors = [*names, "up_lidar"]
    poses = np.array([[*quaternion(place), *place[:3, 3]] for place in (*places, np.eye(4))])
    keys = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")
    table = pyarrow.table({"sensor_name": sensors} | dict(zip(keys, poses.T, strict=True)))
    feather.write_feather(table, folder / "egovehicle_SE3_sensor.feather")
    return folder


def imported(path, out, **options):
    """What the log's calibration says after an import, as arrays."""
    notes = import_calibration(path, out=out, **options)
    rows = read_checked(out)["cameras"]
    assert notes
    return [
        (
            row["name"],
            np.array(row["intrinsics"]),
            np.array(row["camera_from_lidar"]),
            (row.get("distortion_model", ""), tuple(row.get("distortion", ()))),
        )
        for row in rows
    ]


def worst(found, rig):
    """The largest difference of a number of intrinsics or motions."""
    return max(
        max(np.abs(one[1] - other[1]).max(), np.abs(one[2] - other[2]).max())
        for one, other in zip(found, rig, strict=True)
    )
