import pytest

from clip2scene.evaluation.label_files import match_files


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def matched(pred, truth):
    return [
        (a.relative_to(pred).as_posix(), b.relative_to(truth).as_posix()) for a, b in match_files(pred, truth)
    ]


def test_folders_that_say_what_lies_in_them_may_differ(tmp_path):
    pred = make(
        tmp_path / "a", "sequences/08/predictions/000000.label", "sequences/09/predictions/000000.label"
    )
    truth = make(
        tmp_path / "b",
        "09/labels/000000.label",
        "08/labels/000000.label",
        "08/velodyne/000000.bin",
        "08/poses.txt",
    )
    assert matched(pred, truth) == [
        ("sequences/08/predictions/000000.label", "08/labels/000000.label"),
        ("sequences/09/predictions/000000.label", "09/labels/000000.label"),
    ]


def test_of_what_segment_writes_the_file_that_surely_has_labels_is_taken(tmp_path):
    names = [f"one{kind}" for kind in (".npz", ".ply", ".label", ".classes.json", ".png")]
    pred = make(tmp_path / "a", *names, "two.ply", "two.npz", "two.las")
    truth = make(tmp_path / "b", "one_lidarseg.bin", "two_lidarseg.bin", "two.bin")
    assert matched(pred, truth) == [("one.label", "one_lidarseg.bin"), ("two.npz", "two_lidarseg.bin")]


def test_names_alone_are_compared_where_folders_differ_and_no_two_are_alike(tmp_path):
    pred = make(tmp_path / "a", "val/x_lidarseg.bin", "val/y_lidarseg.bin")
    truth = make(tmp_path / "b", "v1.0-mini/x_lidarseg.bin", "v1.0-mini/y_lidarseg.bin")
    assert len(matched(pred, truth)) == 2


def test_text_counts_where_there_is_nothing_else(tmp_path):
    assert matched(make(tmp_path / "a", "s.txt"), make(tmp_path / "b", "s.txt")) == [("s.txt", "s.txt")]


def test_folders_that_do_not_match_are_refused_with_an_example(tmp_path):
    pred, truth = (
        make(tmp_path / "a", "0.label", "1.label"),
        make(tmp_path / "b", "1.label", "2.label", "3.label"),
    )
    with pytest.raises(
        ValueError, match=r"\(2\).*\(3\) do not match.*1 of .*a without.*0.label; 2 of .*b.*2.label"
    ):
        match_files(pred, truth)
    with pytest.raises(ValueError, match="is a file and .* a folder"):
        match_files(pred / "0.label", truth)
    with pytest.raises(ValueError, match="is missing"):
        match_files(pred, tmp_path / "c")
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match="d holds no labelled files"):
        match_files(pred, tmp_path / "d")
