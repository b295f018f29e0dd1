"""ROS' ``camera_info`` as YAML, as ``camera_calibration`` writes it: one camera, no place.

Whole pixel numbers are pixel centres, the coefficients are OpenCV's.
"""

from pathlib import Path
from typing import Any

import torch

from clip2scene.datasets.rigs.rig import Rig, RigCamera, camera_name, distortion_of, numbers, whole
from clip2scene.datasets.rigs.yaml_file import read_yaml


def read_camera_info(path: Path) -> Rig:
    """Read the camera matrix and the distortion; ``projection_matrix`` is of rectified images, and left out.

    Raises:
        ValueError: If the file is not as described.
    """
    content = read_yaml(path)
    lacking = [name for name in ("image_width", "image_height", "camera_matrix") if name not in content]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}, which camera_info of ROS has")
    matrix = numbers(_data(content["camera_matrix"]), 9, f"camera_matrix of {path}")
    coefficients = numbers(
        _data(content.get("distortion_coefficients", [])), None, f"distortion_coefficients of {path}"
    )
    name = camera_name(str(content.get("camera_name") or path.stem), path)
    distortion = distortion_of(str(content.get("distortion_model", "")), coefficients, str(path))
    camera = RigCamera(
        name,
        whole(content["image_width"], f"image_width of {path}"),
        whole(content["image_height"], f"image_height of {path}"),
        torch.tensor(matrix, dtype=torch.float64).reshape(3, 3),
        torch.eye(4, dtype=torch.float64),
        distortion,
    )
    return Rig((camera,), f"the optical frame of {name}", has_lidar=False)


def _data(entry: Any) -> Any:  # noqa: ANN401 - of a stranger's file
    """Take the numbers of a matrix, which may stand beside its numbers of rows and columns."""
    return entry.get("data", []) if isinstance(entry, dict) else entry
