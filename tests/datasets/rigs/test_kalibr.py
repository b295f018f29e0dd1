import numpy as np
import pytest
from tests.datasets.rigs.conftest import as_yaml, random_rig, write_kalibr

from clip2scene.datasets.rigs.kalibr import read_kalibr


def test_without_an_imu_the_first_camera_is_the_reference(tmp_path):
    rig = random_rig()
    path = write_kalibr(tmp_path / "a.yaml", rig)
    path.write_text(path.read_text().replace("T_cam_imu", "T_other"))
    found = read_kalibr(path)
    assert found.reference == "cam0" and not found.has_lidar
    for camera, (_, _, place, _) in zip(found.cameras, rig, strict=True):
        expected = place @ np.linalg.inv(rig[0][2])
        assert np.allclose(camera.camera_from_reference.numpy(), expected, atol=1e-9)


def test_a_chain_that_contradicts_the_imu_is_refused(tmp_path):
    rig = random_rig()
    path = write_kalibr(tmp_path / "a.yaml", rig)
    right = path.read_text().replace("cam1:\n", f"cam1:\n  T_cam_imu: {as_yaml(rig[1][2])}\n")
    path.write_text(right)
    assert len(read_kalibr(path).cameras) == 3
    path.write_text(right.replace(as_yaml(rig[1][2]), as_yaml(np.linalg.inv(rig[1][2]))))
    with pytest.raises(ValueError, match=r"T_cn_cnm1 and T_cam_imu of cam1 of .* place it [\d.]+ m apart"):
        read_kalibr(path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("cam1:", "cam7:", "has no cam1, expected Kalibr's cam0, cam1 and so on"),
        (
            "camera_model: pinhole",
            "camera_model: omni",
            "of the model omni-none, expected pinhole with radtan",
        ),
        ("distortion_model: radtan", "distortion_model: fov", "of the model pinhole-fov"),
        (
            "distortion_model: radtan",
            "distortion_model: [radtan]",
            "of the model pinhole-\\['radtan'\\], expected",
        ),
        ("distortion_model: radtan", "distortion_model: {a: 1}", "of the model pinhole-.*, expected pinhole"),
        ("T_cam_imu: [[", "T_cam_imu: [[1], [", "T_cam_imu of cam0 of .*: expected finite numbers, got"),
        ("T_cn_cnm1", "T_unknown", "cam1 of .* has neither T_cn_cnm1 nor T_cam_imu"),
        ("T_cam_imu: [[", "T_cam_imu: [[9", "T_cam_imu of cam0 of .* is not a rotation|finite numbers"),
        ("resolution: [640, 480]", "resolution: [640]", "resolution of cam0 of .*: expected 2 finite"),
        ("-0.2, 0.05, ", "", "cam1 of .*: distortion plumb_bob has the coefficients"),
    ],
)
def test_a_fault_is_one_clear_sentence(tmp_path, old, new, words):
    path = write_kalibr(tmp_path / "a.yaml", random_rig())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=words):
        read_kalibr(path)
