import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tests.datasets.rigs.conftest import parallel_rig, write_kitti

from clip2scene.datasets.kitti.object import KittiObject
from clip2scene.datasets.kitti.raw import read_raw_calibration
from clip2scene.datasets.rigs.kitti import read_kitti


def test_a_day_of_the_raw_recordings_tells_its_sizes(tmp_path):
    rng = np.random.default_rng(0)
    rectified, turn = Rotation.random(2, random_state=np.random.RandomState(0)).as_matrix()
    rows = {
        "R_rect_00": rectified,
        "P_rect_02": np.array([[700.0, 0, 620, 42], [0, 700, 187, 0], [0, 0, 1, 0]]),
    }
    rows |= {"S_rect_02": np.array([1242.0, 375]), "K_02": np.eye(3)}
    lines = [f"{name}: " + " ".join(f"{each:.9e}" for each in row.reshape(-1)) for name, row in rows.items()]
    (tmp_path / "calib_cam_to_cam.txt").write_text(
        "calib_time: 09-Jan-2012 13:57:47\n" + "\n".join(lines) + "\n"
    )
    lidar = {"R": turn, "T": rng.normal(size=3)}
    lines = [f"{name}: " + " ".join(f"{each:.9e}" for each in row.reshape(-1)) for name, row in lidar.items()]
    (tmp_path / "calib_velo_to_cam.txt").write_text("\n".join(lines) + "\n")
    (camera,) = read_kitti(tmp_path, None).cameras
    assert (camera.name, camera.width, camera.height) == ("image_02", 1242, 375)
    point = rng.normal(size=3)
    truth = rectified @ (turn @ point + lidar["T"]) + [42 / 700, 0, 0]  # P's last column is metres times fx
    assert np.allclose(camera.camera_from_reference.numpy()[:3] @ [*point, 1], truth)
    loader = read_raw_calibration(tmp_path, with_imu=False)
    torch.testing.assert_close(camera.camera_from_reference, loader.camera_from_lidar)
    torch.testing.assert_close(camera.intrinsics, loader.intrinsics)


def test_what_is_missing_is_told(tmp_path):
    path = write_kitti(tmp_path / "calib.txt", parallel_rig())
    with pytest.raises(ValueError, match="does not tell the size of the images; add it, such as --size"):
        read_kitti(path, None)
    path.write_text(path.read_text().replace("Tr:", "Other:"))
    with pytest.raises(ValueError, match="lacks Tr"):
        read_kitti(path, (1242, 375))
    path.write_text("Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(ValueError, match="no camera"):
        read_kitti(path, (1242, 375))


@pytest.mark.real_data
def test_a_real_calibration_is_what_the_loader_makes_of_it(real_data):
    loader = KittiObject(real_data / "kitti-object", split="train")
    sample = loader[0]
    path = real_data / "kitti-object" / "training" / "calib" / "000000.txt"
    (mine,) = sample.cameras
    rig = read_kitti(path, (mine.width, mine.height))
    camera = next(each for each in rig.cameras if each.name == "image_2")
    torch.testing.assert_close(camera.intrinsics.float(), mine.intrinsics)
    torch.testing.assert_close(camera.camera_from_reference.float(), mine.camera_from_lidar)
    assert [each.name for each in rig.cameras] == ["image_0", "image_1", "image_2", "image_3"]
