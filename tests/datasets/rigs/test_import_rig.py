"""Every format brings the same rig home, and a hand-made camera that looks to the left."""

import json

import numpy as np
import pytest
from pyarrow import feather
from tests.datasets.rigs import conftest as rigs
from tests.datasets.rigs.conftest import imported, parallel_rig, random_rig, worst

from clip2scene import cli
from clip2scene.datasets.drive_log.files import read_calibration
from clip2scene.datasets.rigs.import_rig import import_calibration, recognise
from clip2scene.geometry.projection import project_points, transform_points

UNDISTORTED = [("", ())] * 3
WRITERS = {
    "kalibr": lambda folder, rig: rigs.write_kalibr(folder / "camchain.yaml", rig),
    "colmap": lambda folder, rig: rigs.write_colmap(folder / "sparse", rig),
    "colmap in bytes": lambda folder, rig: rigs.write_colmap(folder / "sparse", rig, binary=True),
    "nerfstudio": lambda folder, rig: rigs.write_nerfstudio(folder / "transforms.json", rig),
    "argoverse2": lambda folder, rig: rigs.write_argoverse(folder / "calibration", rig),
    "kitti": lambda folder, rig: rigs.write_kitti(folder / "calib.txt", rig),
    "kitti's objects": lambda folder, rig: rigs.write_kitti(folder / "000001.txt", rig, tr="Tr_velo_to_cam"),
    "ros": lambda folder, rig: rigs.write_camera_info(folder / "front.yaml", rig[0]),
}
NAMES = {
    "nerfstudio": ["images_cam0", "images_cam1", "images_cam2"],
    "kitti": ["image_0", "image_1", "image_2"],
    "kitti's objects": ["image_0", "image_1", "image_2"],
}


def rig_for(form):
    if form.startswith("kitti"):
        return parallel_rig()
    if form == "argoverse2":
        return random_rig(UNDISTORTED)
    return random_rig()[:1] if form == "ros" else random_rig()


def options_for(form, rig):
    if form.startswith("kitti"):
        return {"size": rigs.SIZE}
    if form == "ros":
        return {"reference_from_lidar": " ".join(map(repr, rig[0][2].reshape(-1).tolist()))}
    return {} if form == "argoverse2" else {"reference_from_lidar": "identity"}


@pytest.mark.parametrize("form", WRITERS)
def test_a_rig_comes_home(form, tmp_path):
    rig = rig_for(form)
    path = WRITERS[form](tmp_path, rig)
    assert recognise(path) == form.split("'")[0].split(" ")[0]
    found = imported(path, tmp_path / "calibration.json", **options_for(form, rig))
    assert [row[0] for row in found] == NAMES.get(form, [row[0] for row in rig])
    assert worst(found, rig) < 1e-6
    for (*_, (model, coefficients)), (*_, lens) in zip(found, rig, strict=True):
        assert model == lens[0] and np.allclose(coefficients[:4], lens[1])


LEFT = {
    "kalibr": (
        "chain.yaml",
        "cam0:\n  T_cam_imu: [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, -2], [0, 0, 0, 1]]\n"
        "  camera_model: pinhole\n  distortion_model: none\n  distortion_coeffs: []\n"
        "  intrinsics: [300, 300, 319.5, 239.5]\n  resolution: [640, 480]\n",
    ),
    "colmap": (
        "cameras.txt",
        "1 PINHOLE 640 480 300 300 320 240\n",
        "images.txt",
        "1 0.7071067811865476 0.7071067811865476 0 0 0 0 -2 1 left.jpg\n\n",
    ),
    "nerfstudio": (
        "transforms.json",
        json.dumps(
            {
                **{"w": 640, "h": 480, "fl_x": 300, "fl_y": 300, "cx": 320, "cy": 240},
                "frames": [
                    {
                        "file_path": "./images/left.jpg",
                        "transform_matrix": [[1, 0, 0, 0], [0, 0, -1, 2], [0, 1, 0, 0], [0, 0, 0, 1]],
                    }
                ],
            }
        ),
    ),
    "kitti": ("calib.txt", "P2: 300 0 319.5 0 0 300 239.5 0 0 0 1 0\nTr: 1 0 0 0 0 0 -1 0 0 1 0 -2\n"),
    "ros": (
        "front.yaml",
        "image_width: 640\nimage_height: 480\ncamera_name: left\n"
        "camera_matrix: {rows: 3, cols: 3, data: [300, 0, 319.5, 0, 300, 239.5, 0, 0, 1]}\n"
        "distortion_model: plumb_bob\ndistortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}\n",
    ),
}
"""A camera 2 m to the left of the lidar that looks to the left, in each format's own words."""


@pytest.mark.parametrize("form", [*LEFT, "argoverse2"])
def test_a_hand_made_camera_sees_to_the_left(form, tmp_path):
    if form == "argoverse2":
        left = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, -2], [0, 0, 0, 1.0]]
        matrix = np.array([[300.0, 0, 319.5], [0, 300, 239.5], [0, 0, 1]])
        path = rigs.write_argoverse(tmp_path / "calibration", [("left", matrix, np.array(left), ("", ()))])
        table = feather.read_table(path / "egovehicle_SE3_sensor.feather").slice(0, 1).to_pydict()
        row = [table[key][0] for key in ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")]
        assert np.abs(row[:4]) == pytest.approx([0.5**0.5, 0.5**0.5, 0, 0]) and row[0] * row[1] < 0
        assert row[4:] == pytest.approx([0, 2, 0]), "where the camera stands, on the vehicle's left"
    else:
        names, texts = LEFT[form][::2], LEFT[form][1::2]
        for name, text in zip(names, texts, strict=True):
            (tmp_path / name).write_text(text)
        path = tmp_path / names[0]
    motion = {"ros": "0 0 -2 0.7071067811865476 0.7071067811865476 0 0"}
    motion = motion.get(form, None if form in ("kitti", "argoverse2") else "identity")
    size = rigs.SIZE if form == "kitti" else None
    out = tmp_path / "calibration.json"
    import_calibration(path, out=out, reference_from_lidar=motion, size=size)
    (camera,) = read_calibration(out).cameras
    point = camera.camera_from_lidar.new_tensor([[1.0, 5, -1]])  # ahead, left, below
    assert transform_points(camera.camera_from_lidar, point)[0].tolist() == pytest.approx([1, 1, 3])
    pixel = project_points(point, [camera]).pixels[0].tolist()
    assert pixel == pytest.approx([419.5, 339.5]), "the middle of a 640x480 image, and a third of the focal"


@pytest.mark.parametrize(
    ("motion", "words"),
    [
        (None, "in the frame of the IMU, and says nothing of a lidar; expected --reference-from-lidar"),
        ("1 2 3", r"has 3 numbers, expected 7 \(x y z qw qx qy qz\)"),
        ("0 0 0 2 0 0 0", "is not a rigid motion"),
        ("2 0 0 0  0 2 0 0  0 0 2 0", "is not a rotation"),
        ("0 0 0 1 0 0 nan", "nan is missing|is not a rigid"),
        ("no-such-file", "no-such-file is missing"),
    ],
)
def test_what_leads_to_the_lidar_is_asked_for(motion, words, tmp_path):
    path = rigs.write_kalibr(tmp_path / "camchain.yaml", random_rig())
    with pytest.raises(ValueError, match=words):
        import_calibration(path, out=tmp_path / "calibration.json", reference_from_lidar=motion)
    assert [each.name for each in tmp_path.iterdir()] == ["camchain.yaml"]


def test_a_motion_may_stand_in_a_file(tmp_path):
    rig = random_rig()
    path = rigs.write_kalibr(tmp_path / "camchain.yaml", rig)
    way = rig[1][2]
    np.savetxt(tmp_path / "way.txt", way)
    found = imported(
        path, tmp_path / "calibration.json", reference_from_lidar=str(tmp_path / "way.txt"), axes="RFU"
    )
    moved = [(name, matrix, place @ way, lens) for name, matrix, place, lens in rig]
    assert worst(found, moved) < 1e-6
    assert read_calibration(tmp_path / "calibration.json").axes == "RFU"


def test_what_is_no_calibration_is_told_so(tmp_path):
    (tmp_path / "notes.txt").write_text("to be done\n")
    for path, words in {"notes.txt": "no calibration that is known", "nope": "nope is missing"}.items():
        with pytest.raises(ValueError, match=words):
            import_calibration(tmp_path / path, out=tmp_path / "out.json")
    with pytest.raises(ValueError, match="no calibration that is known"):
        import_calibration(tmp_path, out=tmp_path / "out.json")
    path = rigs.write_nerfstudio(tmp_path / "transforms.json", random_rig())
    with pytest.raises(ValueError, match="tells the size of its images; leave out --size"):
        import_calibration(path, out=tmp_path / "out.json", size=(640, 480))
    with pytest.raises(ValueError, match=r"cameras\[0\], images_cam0: the principal point"):
        content = json.loads(path.read_text()) | {"w": 64, "h": 48}
        path.write_text(json.dumps(content))
        import_calibration(path, out=tmp_path / "out.json", reference_from_lidar="identity")
    assert not (tmp_path / "out.json").exists()


def test_the_command_writes_a_calibration_once(tmp_path, monkeypatch, capsys):
    path = rigs.write_nerfstudio(tmp_path / "transforms.json", random_rig())
    words = ["clip2scene", "import-calibration", str(path), "--out", str(tmp_path / "calibration.json")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit):
        cli.main()
    assert "expected --reference-from-lidar" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*words, "--from", "nerfstudio", "--reference-from-lidar", "identity"])
    cli.main()
    said = capsys.readouterr().out
    assert "images_cam0 (640x480)" in said and f"wrote {tmp_path / 'calibration.json'}" in said
    before = (tmp_path / "calibration.json").read_bytes()
    with pytest.raises(SystemExit):
        cli.main()
    assert "already exists, and may say more" in capsys.readouterr().err
    assert (tmp_path / "calibration.json").read_bytes() == before
