import numpy as np
import pytest
from tests.datasets.rigs.conftest import random_rig, write_colmap

from clip2scene.datasets.rigs.colmap import read_colmap
from clip2scene.geometry.distortion import Distortion

LENSES = {
    "SIMPLE_PINHOLE 640 480 300 320 240": None,
    "SIMPLE_RADIAL 640 480 300 320 240 0.1": Distortion("plumb_bob", (0.1, 0, 0, 0)),
    "RADIAL 640 480 300 320 240 0.1 0.2": Distortion("plumb_bob", (0.1, 0.2, 0, 0)),
    "SIMPLE_RADIAL_FISHEYE 640 480 300 320 240 0.1": Distortion("equidistant", (0.1, 0, 0, 0)),
    "RADIAL_FISHEYE 640 480 300 320 240 0.1 0.2": Distortion("equidistant", (0.1, 0.2, 0, 0)),
    "FULL_OPENCV 640 480 300 300 320 240 .1 .2 .3 .4 .5 .6 .7 .8": Distortion(
        "rational_polynomial", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    ),
}


@pytest.mark.parametrize("line", LENSES)
def test_every_model_that_can_be_undone_is_read(line, tmp_path):
    (tmp_path / "cameras.txt").write_text(f"# comment\n3 {line}\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 3 front/a b.jpg\n\n".replace("a b", "a"))
    (camera,) = read_colmap(tmp_path).cameras
    assert camera.name == "front_a" and camera.distortion == LENSES[line]
    assert camera.intrinsics.tolist() == [[300, 0, 319.5], [0, 300, 239.5], [0, 0, 1]]


@pytest.mark.parametrize(
    ("cameras", "images", "words"),
    [
        ("1 FOV 640 480 300 300 320 240 0.9", "1 1 0 0 0 0 0 0 1 a.jpg", "of the model FOV, expected one of"),
        ("1 PINHOLE 640 480 300 320 240", "1 1 0 0 0 0 0 0 1 a.jpg", "PINHOLE of .*: expected 4 finite"),
        ("1 PINHOLE 640", "1 1 0 0 0 0 0 0 1 a.jpg", "cannot be read as COLMAP's"),
        ("2 PINHOLE 640 480 9 9 320 240", "1 1 0 0 0 0 0 0 1 a.jpg", "is of camera 1, which .* lacks"),
        ("1 PINHOLE 640 480 9 9 320 240", "1 2 0 0 0 0 0 0 1 a.jpg", "a.jpg of .*is not a rigid motion"),
        ("1 PINHOLE 640 480 9 9 320 240", "1 1 0 0 0 0 0 0", "cannot be read as COLMAP's"),
        (
            "1 PINHOLE 640 480 9 9 320 240",
            "1 1 0 0 0 0 0 0 1 a.jpg\n\n2 1 0 0 0 0 0 0 1 a.jpg",
            "two cameras of the name a",
        ),
    ],
)
def test_a_fault_is_one_clear_sentence(cameras, images, words, tmp_path):
    (tmp_path / "cameras.txt").write_text(cameras + "\n")
    (tmp_path / "images.txt").write_text(images + "\n\n")
    with pytest.raises(ValueError, match=words) as caught:
        read_colmap(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("cameras.txt", "1 PINHOLE 640 480 9 9 320 240\n" * 10_001, "there are over 10000 of them"),
        ("images.txt", "1 1 0 0 0 0 0 0 1 a.jpg\n\n" * 10_001, "there are over 10000 of them"),
        (
            "cameras.txt",
            "1 PINHOLE 640 480" + " 1" * 3000,
            "begins with '1 PINHOLE 640 480 1 ' has more than",
        ),
        ("images.txt", "1 1 0 0 0 0 0 0 1 " + "a" * 5000, "has more than 4096 characters"),
        ("images.txt", "1 1 0 0 0 0 0 0 1 a.jpg\n" + "1 " * (1 << 23) + "\n", "more than 16777216 char"),
    ],
    ids=["cameras", "images", "parameters", "a name", "points"],
)
def test_text_without_end_is_refused(tmp_path, file, content, words):
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 640 480 9 9 320 240\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.jpg\n\n")
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=words):
        read_colmap(tmp_path)


def test_damaged_bytes_are_refused_or_read_but_never_crash(tmp_path):
    folder = write_colmap(tmp_path / "sparse", random_rig(), binary=True)
    rng = np.random.default_rng(0)
    refused = 0
    for name in ("cameras.bin", "images.bin"):
        whole = (folder / name).read_bytes()
        for attempt in range(100):
            damaged = bytearray(whole[: rng.integers(len(whole))] if attempt % 2 else whole)
            for place in rng.integers(len(damaged), size=2) if attempt % 2 == 0 else ():
                damaged[place] ^= 1 << rng.integers(8)
            (folder / name).write_bytes(bytes(damaged))
            try:
                read_colmap(folder)
            except ValueError as error:
                refused += 1
                assert str(folder) in str(error)
        (folder / name).write_bytes(whole)
    assert refused > 100
