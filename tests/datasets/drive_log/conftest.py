import json

import numpy as np
import pytest
from PIL import Image

from clip2scene.datasets.drive_log.files import HEADER

NAMES = ("a", "b", "c.5")


CAMERA_FROM_LIDAR = [[0, -1, 0, 0], [0, 0, -1, -0.2], [1, 0, 0, -0.1], [0, 0, 0, 1]]


def calibration(**lidar):
    camera = {"name": "front", "width": 32, "height": 24, "camera_from_lidar": CAMERA_FROM_LIDAR}
    camera["intrinsics"] = [[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]]
    return {**HEADER, "lidar": lidar, "cameras": [camera]}


def write(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def points(number):
    rng = np.random.default_rng(number)
    return np.column_stack([rng.uniform(-20, 20, (50, 3)), rng.uniform(0, 1, 50)]).astype(np.float32)


@pytest.fixture
def log(tmp_path):
    """Three clouds of 0.1 s, driven 1 m forward each; images 20 ms later; labels 0 to 3."""
    poses, times = ["name,timestamp_us,x,y,z,qw,qx,qy,qz"], ["camera,name,timestamp_us"]
    for number, name in enumerate(NAMES):
        for folder in ("lidar", "labels", "images/front"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "lidar" / f"{name}.npy", points(number))
        np.save(tmp_path / "labels" / f"{name}.npy", np.arange(50) % 4)
        Image.new("RGB", (32, 24), (number, 0, 0)).save(tmp_path / "images" / "front" / f"{name}.png")
        poses.append(f"{name},{100_000 * number},{number},0,0,1,0,0,0")
        times.append(f"front,{name},{100_000 * number + 20_000}")
    write(tmp_path, "poses.csv", "\n".join(poses))
    write(tmp_path, "images.csv", "\n".join(times))
    write(tmp_path, "calibration.json", calibration())
    classes = [{"name": "car", "ids": [1, 3], "prompts": ["car", "van"]}, {"name": "tree", "ids": [2]}]
    write(tmp_path, "classes.json", {**HEADER, "classes": classes})
    return tmp_path


def edited(change):
    """Change calibration.json."""

    def apply(log):
        content = json.loads((log / "calibration.json").read_text())
        change(content, content["cameras"][0])
        write(log, "calibration.json", content)

    return apply


def lidar(**values):
    return edited(lambda content, camera: content.update(lidar=values))
