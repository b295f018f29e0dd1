"""A calibration that another program wrote becomes ``calibration.json`` of a drive log."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from clip2scene.datasets.drive_log.files import check_axes, read_calibration
from clip2scene.datasets.drive_log.writer import write_calibration
from clip2scene.datasets.rigs import Form, argoverse, kitti
from clip2scene.datasets.rigs.argoverse import read_argoverse
from clip2scene.datasets.rigs.camera_info import read_camera_info
from clip2scene.datasets.rigs.colmap import read_colmap
from clip2scene.datasets.rigs.kalibr import read_kalibr
from clip2scene.datasets.rigs.kitti import read_kitti
from clip2scene.datasets.rigs.nerfstudio import read_nerfstudio
from clip2scene.datasets.rigs.rig import Rig, read_motion
from clip2scene.io import regular_file, write_atomically
from clip2scene.types import Camera

_FILES: dict[str, Form] = {
    kitti.RAW: "kitti",
    "cameras.bin": "colmap",
    "cameras.txt": "colmap",
    argoverse.INTRINSICS: "argoverse2",
    "transforms.json": "nerfstudio",
    "calib.txt": "kitti",
}
"""What a folder is told by."""


def import_calibration(
    path: Path,
    *,
    out: Path,
    form: Form | None = None,
    reference_from_lidar: str | None = None,
    size: tuple[int, int] | None = None,
    axes: str = "FLU",
) -> tuple[str, ...]:
    """Turn a calibration of another program into calibration.json of a drive log.

    Args:
        path: KITTI's calib.txt or a day's folder of its raw recordings, a camera_info of ROS as YAML,
            Kalibr's camchain.yaml, COLMAP's folder of cameras and images, nerfstudio's transforms.json, or
            Argoverse 2's folder calibration.
        out: The file to write, which must not exist.
        form: What wrote it; told by its content when left out.
        reference_from_lidar: Takes points of the lidar to the frame that the cameras are placed in, where
            that is not the lidar's: identity, 7 numbers x y z qw qx qy qz (metres), a matrix by rows, or a
            file of these.
        size: Width and height of the images, where the file does not tell (KITTI's calib.txt).
        axes: Where the lidar's x, y and z point, as three of F B L R U D.

    Returns:
        What the user should know, a sentence each.

    Raises:
        ValueError: If the calibration cannot be read, or does not lead to the lidar (the message says what is
            missing), or the file to write exists.
    """
    path, out = Path(path), Path(out)
    check_axes(axes, "axes")
    if out.exists():
        raise ValueError(
            f"{out} already exists, and may say more than {path}; remove it, or name another file"
        )
    if form is None:
        form = recognise(path)
    rig = _read(path, form, size)
    if reference_from_lidar is None and not rig.has_lidar:
        raise ValueError(
            f"{path} places its cameras in the frame of {rig.reference}, and says nothing of a lidar; "
            "expected --reference-from-lidar, which takes points of the lidar to that frame (7 numbers x y z "
            "qw qx qy qz, a matrix, or a file of these), or identity if the clouds are in it"
        )
    motion = read_motion("identity" if reference_from_lidar is None else reference_from_lidar)
    cameras = [
        Camera(each.name, each.intrinsics, each.camera_from_reference @ motion, each.width, each.height)
        for each in rig.cameras
    ]
    distortions = {each.name: each.distortion for each in rig.cameras if each.distortion is not None}
    with TemporaryDirectory() as folder:
        made = Path(folder) / "calibration.json"
        write_calibration(made, {"axes": axes}, cameras, distortions)
        try:
            read_calibration(made)
        except ValueError as error:
            raise ValueError(f"{path}: {error}".replace(f"{made}: ", "")) from None
        with write_atomically(out) as temporary:
            shutil.copyfile(made, temporary)
    return (
        f"cameras of {form}, placed in the frame of {rig.reference}: "
        + ", ".join(f"{each.name} ({each.width}x{each.height})" for each in rig.cameras),
        *rig.notes,
    )


def _read(path: Path, form: Form, size: tuple[int, int] | None) -> Rig:
    """Read a calibration of a known kind, a file or the folder that it lies in."""
    folder = path if path.is_dir() else path.parent
    if form == "kitti":
        if path.name == kitti.RAW or (path / kitti.RAW).is_file():
            return read_kitti(folder, size)
        return read_kitti(path / "calib.txt" if path.is_dir() else path, size)
    if size is not None:
        raise ValueError(f"a calibration of {form} tells the size of its images; leave out --size")
    if form == "colmap":
        return read_colmap(folder)
    if form == "argoverse2":
        return read_argoverse(folder)
    if form == "nerfstudio":
        return read_nerfstudio(path / "transforms.json" if path.is_dir() else path)
    return (read_kalibr if form == "kalibr" else read_camera_info)(path)


def recognise(path: Path) -> Form:
    """Say what wrote a calibration, by its content; a folder by its files' names.

    Raises:
        ValueError: If it is of no known kind, or missing.
    """
    found: Form | None
    if path.is_dir():
        found = next((form for name, form in _FILES.items() if (path / name).is_file()), None)
    else:
        head = _head(path)
        found = next((form for form, fits in _SIGNS if fits(head)), _FILES.get(path.name))
    if found is None:
        raise ValueError(
            f"{path} is no calibration that is known; expected one of KITTI, ROS (camera_info as YAML), "
            "Kalibr (camchain), COLMAP, nerfstudio or Argoverse 2: name the file, and what wrote it by --from"
        )
    return found


_MODEL = rb"SIMPLE_PINHOLE|PINHOLE|SIMPLE_RADIAL|RADIAL|OPENCV|FULL_OPENCV|FOV|[A-Z_]*FISHEYE"

_SIGNS: tuple[tuple[Form, Callable[[bytes], object]], ...] = (
    ("argoverse2", lambda head: head.startswith(b"ARROW1")),
    ("nerfstudio", lambda head: head.lstrip().startswith(b"{")),
    ("kalibr", re.compile(rb"^cam0\s*:", re.MULTILINE).search),
    ("ros", re.compile(rb"^(camera_matrix|image_width)\s*:", re.MULTILINE).search),
    ("kitti", re.compile(rb"^P(_rect_0)?[0-9]:", re.MULTILINE).search),
    ("colmap", re.compile(rb"^# (Camera|Image) list|^[0-9]+ (" + _MODEL + rb") [0-9]", re.MULTILINE).search),
)
"""What a file is told by."""


def _head(path: Path) -> bytes:
    """Read the beginning of a file."""
    with regular_file(path).open("rb") as stream:
        return stream.read(1 << 16)
