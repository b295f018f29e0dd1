import pytest
from PIL import Image
from tests.datasets.kitti.conftest import P2, TR, open_val, write

from clip2scene.datasets.kitti.semantic import SemanticKitti


def test_a_resized_image_is_refused_as_its_calibration_is_for_another_size(root):
    Image.new("RGB", (610, 185)).save(root / "sequences" / "08" / "image_2" / "000000.png")
    with pytest.raises(
        ValueError, match=r"000000.png: the principal point .* of about 1221x371, got 610x185"
    ):
        open_val(root)[0]


@pytest.mark.parametrize("times", ["0.1\n", "0.1\nnan\n0.3\n", "0.1\nsoon\n0.3\n"])
def test_times_that_are_not_one_for_each_cloud_are_refused(root, times):
    (root / "sequences" / "08" / "times.txt").write_text(times)
    with pytest.raises(ValueError, match=r"times\.txt should hold the seconds of each cloud"):
        open_val(root).timestamps(1)


def test_files_of_other_programs_are_passed_over(root):
    folder = root / "sequences" / "08"
    for name in (
        "velodyne/._000000.bin",
        "velodyne/000009.bin.tmp",
        "velodyne/0003.bin",
        "image_2/Thumbs.db",
    ):
        (folder / name).write_bytes(b"x")
    (root / "sequences" / "notes").mkdir()
    (root / "sequences" / "99").write_text("a file, no sequence")
    assert len(open_val(root)) == 3 and len(SemanticKitti(root, split=None)) == 5


@pytest.mark.parametrize(
    ("calibration", "fault"),
    [
        ("", "lacks P2, Tr"),
        (f"P2: {P2}\n", "lacks Tr"),
        (f"P2: {P2}\nTr: 1 2 3\n", "expected 12 finite numbers after Tr:, got '1 2 3'"),
        (f"P2: {P2}\nTr: {TR.replace('0.1', 'nan')}\n", "expected 12 finite numbers after Tr:"),
        (f"P2: {P2}\nTr: {TR.replace('0.1', 'cat')}\n", "expected 12 finite numbers after Tr:"),
        (f"P2: {P2}\nTr: {TR}\nTr: {TR}\n", "gives Tr twice"),
        (f"P2: {P2}\nTr: {TR.replace('-1', '-2')}\n", "Tr of .*calib.txt is not a rotation"),
        (f"P2: {P2}\nTr: {TR.replace('0 -1 0', '0 1 0')}\n", "Tr of .* is not a rotation"),  # mirrored
        (f"P2: {P2.replace('700.0', '-700.0')}\nTr: {TR}\n", "P2 of .*intrinsics are"),
        (f"P2: {P2.replace('0 0 1', '0 0 2')}\nTr: {TR}\n", "P2 of .*intrinsics are"),
        (f"P2: {TR}\nTr: {P2}\n", "P2 of .*intrinsics are"),
        (f"P2: {P2}\nTr: {TR[:-2]}", "breaks off, perhaps within a number"),
        (b"\xff\xfe\0", "calib.txt is text in UTF-16"),
        (b"\xff\0", "calib.txt is no text"),
    ],
)
def test_a_broken_calibration_is_named(root, calibration, fault):
    write(root / "sequences" / "08" / "calib.txt", calibration)
    with pytest.raises(ValueError, match=fault):
        open_val(root)


def test_a_last_line_without_an_end_is_taken_if_its_last_number_is_whole(root):
    path = root / "sequences" / "08" / "calib.txt"
    text = "\n".join(
        f"{name}: " + " ".join(f"{float(word):.6e}" for word in numbers.split())
        for name, numbers in (("P2", P2), ("Tr", TR))
    )
    path.write_text(text)
    assert len(open_val(root)) == 3
    for cut in range(1, 13):
        path.write_text(text[:-cut])
        with pytest.raises(ValueError, match="breaks off|expected 12 finite"):
            open_val(root)


def test_a_missing_calibration_is_named(root):
    (root / "sequences" / "08" / "calib.txt").unlink()
    with pytest.raises(ValueError, match="calib.txt is missing"):
        open_val(root)
