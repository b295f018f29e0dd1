import numpy as np
import pytest
from PIL import Image

from clip2scene.datasets.kitti.semantic import SemanticKitti

P2 = "700.0 0 610.0 42.0 0 700.0 185.0 -0.7 0 0 1 0.003"


TR = "0 -1 0 0.1 0 0 -1 -0.2 1 0 0 -0.3"  # camera x = -y, y = -z, z = x, and a shift


POINTS = np.array([[10, 0, 0, 0.25], [20, 3, -1, 1.0], [-5, 1, 0, 0.0], [1, 1, 0, 0.5]], "<f4")


LABELS = np.array([(7 << 16) | 252, 40, 0, 99], "<u4")


def write_sequence(root, name, clouds, size=(1220, 370)):
    """A sequence whose vehicle drives 2 m a cloud straight ahead; camera 0's poses say so."""
    folder = root / "sequences" / name
    for part in ("velodyne", "labels", "image_2"):
        (folder / part).mkdir(parents=True)
    for number in range(clouds):
        (folder / "velodyne" / f"{number:06d}.bin").write_bytes(POINTS.tobytes())
        (folder / "labels" / f"{number:06d}.label").write_bytes(LABELS.tobytes())
        Image.new("RGB", size, (number, 0, 200)).save(folder / "image_2" / f"{number:06d}.png")
    (folder / "calib.txt").write_text(f"P0: {P2}\nP2: {P2}\nTr: {TR}\n")
    poses = [f"1 0 0 0 0 1 0 0 0 0 1 {2.0 * number}" for number in range(clouds)]
    (folder / "poses.txt").write_text("\n".join(poses) + "\n")
    return folder


@pytest.fixture
def root(tmp_path):
    """Sequence 08 with three clouds and 11 with two of another image size."""
    write_sequence(tmp_path, "08", 3)
    write_sequence(tmp_path, "11", 2, size=(1240, 376))
    return tmp_path


def open_val(root, **options):
    return SemanticKitti(root, split="val", **options)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
