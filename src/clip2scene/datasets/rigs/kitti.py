"""KITTI's calibration files: rectified cameras and the lidar.

``P`` takes the rectified frame of camera 0 to pixels, ``R0_rect`` (``R_rect_00``) camera 0 to it, ``Tr``
(``Tr_velo_to_cam``; ``R`` and ``T`` of ``calib_velo_to_cam.txt``) the lidar to camera 0. In the odometry
benchmark, ``Tr`` leads to the rectified frame. Whole pixel numbers are pixel centres.
"""

import re
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.kitti import object as benchmark
from clip2scene.datasets.kitti import raw
from clip2scene.datasets.kitti.files import find_matrices, read_text, rigid, split_projection
from clip2scene.datasets.rigs.rig import Rig, RigCamera, check_distinct, check_small, whole

RAW = "calib_cam_to_cam.txt"
"""What lies beside ``calib_velo_to_cam.txt`` on each day of the raw recordings."""


def read_kitti(path: Path, size: tuple[int, int] | None) -> Rig:
    """Read one ``calib.txt`` of the odometry or object benchmark, or a day's folder of the raw recordings.

    Args:
        path: The file, or the folder.
        size: Width and height of the images, which only the raw recordings tell.

    Raises:
        ValueError: If a file is missing or not as described, or the size of the images is not known.
    """
    return _read_raw(path) if path.is_dir() else _read_one(path, size)


def _read_one(path: Path, size: tuple[int, int] | None) -> Rig:
    """Read one file with everything."""
    if size is None:
        raise ValueError(f"{path} does not tell the size of the images; add it, such as --size 1242 375")
    check_small(path)
    text = read_text(path)
    names = {line.partition(":")[0].strip() for line in text.splitlines()}
    views = sorted(name for name in names if re.fullmatch("P[0-9]", name))
    by_camera_0 = "Tr_velo_to_cam" in names
    lidar: dict[str, tuple[int, ...]] = benchmark.LIDAR if by_camera_0 else {"Tr": (3, 4)}
    matrices = find_matrices(text, path, {**dict.fromkeys(views, (3, 4)), **lidar})
    rectified_from_lidar = (
        benchmark.rectified_from_lidar(path, matrices)
        if by_camera_0
        else rigid(matrices["Tr"], f"Tr of {path}")
    )
    cameras = [
        _camera(name, size, matrices[name], rectified_from_lidar, f"{name} of {path}") for name in views
    ]
    return Rig(check_distinct(cameras, path), "the lidar", has_lidar=True)


def _read_raw(folder: Path) -> Rig:
    """Read the two files of a day of the raw recordings."""
    path = folder / RAW
    check_small(path)
    check_small(folder / "calib_velo_to_cam.txt")
    text = read_text(path)
    views = sorted(set(re.findall(r"^P_rect_([0-9]{2}):", text, re.MULTILINE)))
    shapes: dict[str, tuple[int, ...]] = {"R_rect_00": (3, 3)}
    for view in views:
        shapes |= {f"P_rect_{view}": (3, 4), f"S_rect_{view}": (2,)}
    matrices = find_matrices(text, path, shapes)
    rectified_from_lidar = raw.rectified_from_lidar(folder, matrices)
    cameras = []
    for view in views:
        width, height = (
            whole(each, f"S_rect_{view} of {path}") for each in matrices[f"S_rect_{view}"].tolist()
        )
        projection, what = matrices[f"P_rect_{view}"], f"P_rect_{view} of {path}"
        cameras.append(_camera(view, (width, height), projection, rectified_from_lidar, what))
    return Rig(check_distinct(cameras, path), "the lidar", has_lidar=True)


def _camera(
    name: str,
    size: tuple[int, int],
    projection: Float[Tensor, "3 4"],
    rectified_from_lidar: Float[Tensor, "4 4"],
    what: str,
) -> RigCamera:
    """Make a camera named like KITTI's folders of images."""
    intrinsics, camera_from_rectified = split_projection(projection, what)
    return RigCamera(
        f"image_{name.removeprefix('P')}", *size, intrinsics, camera_from_rectified @ rectified_from_lidar
    )
