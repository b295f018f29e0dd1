import json
import shutil

import pytest
from PIL import Image
from tests.datasets.rooms.conftest import EVERY, START_S, matrix

from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.datasets.rooms.rgbd import RgbdSequences


def test_depth_has_the_pose_of_its_own_moment(tum):
    """The camera moves 1 m/s to the right: 5 ms after the image, the depth camera stands 5 mm further."""
    turn = "0 0 0 1"
    rows = [f"{START_S + at / 100:.4f} {at / 100:.4f} 0 0 {turn}" for at in range(-2, 600)]
    (tum / "groundtruth.txt").write_text("\n".join(rows) + "\n")
    sample = RgbdSequences(tum, choice=EVERY)[0]
    for view in range(6):
        assert abs(float(sample.cameras[view].camera_from_lidar[0, 3]) + view) < 1e-5
        assert abs(float(sample.read_depth(view).camera.camera_from_lidar[0, 3]) + view + 0.005) < 1e-5


def test_frames_without_depth_or_pose_at_their_time_are_counted(tum, caplog):
    drop = lambda name, keep: (tum / name).write_text(  # noqa: E731
        "\n".join(line for line in (tum / name).read_text().splitlines() if keep(line)) + "\n"
    )
    drop("groundtruth.txt", lambda line: not line.startswith(f"{START_S + 1:.0f}"[:10]) or "#" in line)
    drop("groundtruth.txt", lambda line: not line.startswith(f"{START_S + 0:.0f}"[:10]) or "." not in line)
    drop("depth.txt", lambda line: not line.startswith(f"{START_S + 3:.0f}"))
    (tum / "depth" / f"{START_S + 4.005:.6f}.png").unlink()
    chosen = RgbdSequences(tum, choice=FrameChoice(1, 16, 0.7)).frames("sequence")
    assert (chosen.asked, chosen.missing) == (6, 2)
    assert chosen.lost == 1
    assert [frame.name for frame in chosen.frames] == ["frame-0", "frame-2", "frame-5"]
    assert "left out" in caplog.text
    with pytest.raises(ValueError, match="may be left out"):
        RgbdSequences(tum, choice=FrameChoice(1, 16, 0.2)).frames("sequence")


def test_sequences_are_found_at_three_depths_and_chosen_by_splits(seven, tum):
    assert RgbdSequences(seven).tokens == ("flat-seq-01",)
    assert RgbdSequences(seven / "flat").tokens == ("seq-01",)
    assert RgbdSequences(seven / "flat" / "seq-01").tokens == ("sequence",)
    tum.rename(seven / "desk")
    assert RgbdSequences(seven).tokens == ("desk", "flat-seq-01")
    (seven / "splits.json").write_text(json.dumps({"train": ["desk"], "val": ["flat-seq-01"]}))
    assert RgbdSequences(seven, split="val").tokens == ("flat-seq-01",)
    assert RgbdSequences(seven, split=None).tokens == ("desk", "flat-seq-01")
    for wrong in ("../desk", "table"):
        (seven / "splits.json").write_text(json.dumps({"train": [wrong]}))
        with pytest.raises(ValueError, match="has the name|expected some of desk"):
            RgbdSequences(seven)
    (seven / "splits.json").unlink()
    with pytest.raises(ValueError, match="unknown split 'val'"):
        RgbdSequences(seven, split="val")


def test_sequences_that_would_share_a_name_or_cannot_name_a_file_are_refused(seven):
    shutil.copytree(seven / "flat" / "seq-01", seven / "flat-seq-01")
    with pytest.raises(ValueError, match="flat/seq-01 and .*flat-seq-01 would both be called 'flat-seq-01'"):
        RgbdSequences(seven)
    (seven / "flat-seq-01").rename(seven / "my flat")
    with pytest.raises(ValueError, match="has the name 'my flat'"):
        RgbdSequences(seven)


def test_usual_numbers_stand_in_for_intrinsics_that_are_not_told(seven, tum):
    for folder in (seven / "flat" / "seq-01", tum):
        for path in folder.glob("intrinsic_*.txt"):
            path.unlink()
    with pytest.raises(ValueError, match="about 640x480, got 128x96"):  # they are for 640 x 480
        RgbdSequences(tum, choice=EVERY)[0]
    for path in (seven / "flat" / "seq-01").glob("*.png"):
        with Image.open(path) as image:
            image.resize((640, 480), Image.Resampling.NEAREST).save(path)
    sample = RgbdSequences(seven, choice=FrameChoice(3))[0]
    assert sample.cameras[0].intrinsics.tolist() == [[585, 0, 320], [0, 585, 240], [0, 0, 1]]
    matrix(seven / "flat" / "seq-01" / "camera-intrinsics.txt", [[500, 0, 319], [0, 501, 239], [0, 0, 1]])
    sample = RgbdSequences(seven, choice=FrameChoice(3))[0]
    assert sample.cameras[1].intrinsics.tolist() == [[500, 0, 319], [0, 501, 239], [0, 0, 1]]
    assert sample.read_depth(1).camera.intrinsics.tolist() == [[500, 0, 319], [0, 501, 239], [0, 0, 1]]


def rewrite(path, change):
    path.write_text(change(path.read_text()))


FAULTS = {
    "a path out of the folder": (
        "rgb.txt",
        lambda text: text.replace("rgb/", "../rgb/"),
        "inside that folder",
    ),
    "an absolute path": ("depth.txt", lambda text: text.replace("depth/", "/etc/"), "inside that folder"),
    "times that fall": ("rgb.txt", lambda text: text + f"{START_S - 9:.6f} rgb/a.png\n", "do not rise"),
    "a time twice": ("rgb.txt", lambda text: text + text.splitlines()[-1] + "\n", "do not rise"),
    "a time that is NaN": ("rgb.txt", lambda text: "nan rgb/a.png\n" + text, "begin with seconds"),
    "no rows": ("depth.txt", lambda text: "# nothing\n", "got '0 rows'"),
    "a row too short": ("groundtruth.txt", lambda text: text[: text.rindex(" ")], "rows of 8 values"),
    "words": ("groundtruth.txt", lambda text: "one two\n", "begin with a time"),
    "NaN in a pose": ("groundtruth.txt", lambda text: no_numbers(text, "nan"), "not a rigid motion"),
    "a rotation of length 0": ("groundtruth.txt", lambda text: no_numbers(text, "0"), "not a rigid motion"),
}


def no_numbers(text, value):
    lines = [line.split() for line in text.splitlines()[1:]]
    return "\n".join(" ".join([line[0], *[value] * 7]) for line in lines) + "\n"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_tums_files_is_one_sentence_that_names_the_place(tum, fault):
    name, change, message = FAULTS[fault]
    rewrite(tum / name, change)
    with pytest.raises(ValueError, match=message) as caught:
        RgbdSequences(tum, choice=EVERY)[0]
    assert str(tum) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_clocks_that_differ_and_times_in_milliseconds_are_told_as_such(tum):
    for name, factor, by_s, fault in (
        (
            "groundtruth",
            1.0,
            3600.0,
            r"groundtruth\.txt: times are 3600 s later than those of the images.*zone",
        ),
        ("depth", 1.0, -3600.0, r"depth\.txt: times are 3600 s earlier than those of the images"),
        ("rgb", 1e3, 0.0, r"rgb\.txt: times like \d+\.\d+ are no seconds since 1970 or less; are they milli"),
        ("rgb", 1e3, -1e3 * START_S, r"rgb\.txt: images follow each other by 1e\+06 ms .* to be in seconds"),
    ):
        path = tum / f"{name}.txt"
        whole = path.read_text()
        rows = [line.split(" ", 1) for line in whole.splitlines() if line[0] != "#"]
        path.write_text("\n".join(f"{float(at) * factor + by_s:.6f} {rest}" for at, rest in rows))
        with pytest.raises(ValueError, match=fault):
            RgbdSequences(tum, choice=FrameChoice(1)).frames("sequence")
        path.write_text(whole)
