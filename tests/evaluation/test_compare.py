import shutil

import numpy as np
import pytest

from clip2scene.classes.tables import TOYTOWN
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.evaluation.compare import compare
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.inference.segment import SegmentOptions, segment_files
from clip2scene.io import read_json, write_json


@pytest.fixture
def pair(tmp_path):
    """Two folders of two label files of SemanticKITTI's each."""
    rng, folders = np.random.default_rng(0), (tmp_path / "pred", tmp_path / "truth")
    for folder in folders:
        folder.mkdir()
        for number in range(2):
            rng.choice([10, 40, 70, 0], 500).astype("<u4").tofile(folder / f"{number}.label")
    return folders


def counted(pair, classes):
    """The plain way: look at each point."""
    counts = np.zeros((len(classes), len(classes) + 1), int)
    for number in range(2):
        mine, theirs = (np.fromfile(folder / f"{number}.label", "<u4").tolist() for folder in pair)
        for predicted, true in zip(mine, theirs, strict=True):
            if true in classes:
                place = classes.index(predicted) if predicted in classes else -1
                counts[classes.index(true), place] += 1
    return counts


def assert_counts(scores, counts):
    assert np.array_equal(scores.confusion, counts[:, :-1]) and np.array_equal(
        scores.unanswered, counts[:, -1]
    )


def test_raw_numbers_are_compared_as_they_are(pair):
    found = compare(*pair)
    assert found.scores["prediction"].classes == ("0", "10", "40", "70")
    assert_counts(found.scores["prediction"], counted(pair, [0, 10, 40, 70]))
    assert (found.files, found.ignored) == (2, 0)
    assert found.scores["random"].num_points == 1000
    some = compare(*pair, ignore=["0", "70"])
    assert some.scores["prediction"].classes == ("10", "40")
    assert_counts(some.scores["prediction"], counted(pair, [10, 40]))
    assert some.ignored == 1000 - some.scores["prediction"].num_points > 0


def test_numbers_of_a_class_set_are_its_classes_for_both(pair):
    notes = []
    found = compare(*pair, truth_classes="semantic-kitti", note=notes.append).scores["prediction"]
    rows = [found.classes.index(name) for name in ("car", "road", "vegetation")]
    counts = counted(pair, [10, 40, 70])
    assert np.array_equal(np.array(found.confusion)[np.ix_(rows, rows)], counts[:, :-1])
    assert np.array_equal(np.array(found.unanswered)[rows], counts[:, -1])
    assert len(notes) == 1 and "have no class that is evaluated" in notes[0]


def test_a_table_of_ones_own_joins_numbers_and_words(pair, tmp_path):
    write_json(tmp_path / "truth.json", {"ground": [40, 70], "thing": 10, "none": 0})
    write_json(tmp_path / "pred.json", {"thing": [10, 0], "70": "ground", "40": "none"})
    tables = {"truth_classes": str(tmp_path / "truth.json"), "pred_classes": str(tmp_path / "pred.json")}
    found = compare(*pair, **tables).scores["prediction"]
    whole = counted(pair, [10, 40, 70, 0])
    assert found.classes == ("ground", "thing")
    ground, thing = whole[1] + whole[2], whole[0]
    assert found.confusion == ((ground[2], ground[0] + ground[3]), (thing[2], thing[0] + thing[3]))
    assert found.unanswered == (ground[1], thing[1])


def test_what_is_written_says_the_same(pair, tmp_path):
    out = tmp_path / "out"
    found = compare(*pair, truth_classes="semantic-kitti", out=out).scores["prediction"]
    told = read_json(out / "compare.json")
    assert told["miou"] == found.miou and told["columns"]["prediction"]["confusion"] == told["confusion"]
    assert told["files"] == 2 and sorted(path.name for path in out.iterdir()) == [
        "compare.json",
        "confusion.png",
    ]


def test_bad_input_is_refused_in_a_sentence_and_nothing_is_written(pair, tmp_path):
    pred, truth = pair
    out, table = tmp_path / "out", tmp_path / "few.json"
    write_json(table, {"car": 10, "road": 40})
    with pytest.raises(
        ValueError, match=r"truth holds label 0 at \d+ points, which .*few.json does not name"
    ):
        compare(pred, truth, truth_classes=str(table), ignore=["70"], out=out)
    with pytest.raises(
        ValueError, match=r"pred holds labels that are no class of .*truth: 0, 70; expected some"
    ):
        compare(pred, truth, truth_classes=str(table), pred_classes=str(table), ignore=["0", "70"], out=out)
    with pytest.raises(ValueError, match="no point of .* has a class|no class that is evaluated"):
        compare(pred, truth, ignore=["0", "10", "40", "70"], out=out)
    np.savez(pred / "0.npz", labels=np.zeros(500, int), names=["zebra"])
    (pred / "0.label").unlink()
    (pred / "1.label").unlink()
    shutil.copy(pred / "0.npz", pred / "1.npz")
    with pytest.raises(ValueError, match="truth holds numbers and .*pred words; say by --truth-classes"):
        compare(pred, truth, out=out)
    with pytest.raises(ValueError, match='are no class of .*: zebra; expected.*{"zebra": "car"}'):
        compare(pred, truth, truth_classes="semantic-kitti", out=out)
    np.zeros(499, "<u4").tofile(truth / "1.label")
    with pytest.raises(ValueError, match=r"1.npz holds 500 labels, but .*1.label 499"):
        compare(pred, truth, truth_classes="semantic-kitti", out=out)
    assert not out.exists()


def test_what_segment_writes_scores_as_the_evaluation_says(tiny_run, tiny_toytown, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    expected = evaluate(run, data_root=tiny_toytown)["student"]
    dataset = NuScenes(tiny_toytown, split="val", labels=False)
    clouds, truth = [], tmp_path / "truth"
    truth.mkdir()
    for token in dataset.tokens:
        lidar, cloud = dataset.lidar_file(token)
        clouds.append(cloud)
        (labels,) = (tiny_toytown / "lidarseg").glob(f"*/{lidar}_lidarseg.bin")
        stem = cloud.name.removesuffix(".pcd.bin")
        shutil.copy(labels, truth / f"{stem}_lidarseg.bin")
    words = [name for names in TOYTOWN.prompts for name in names]
    out = tmp_path / "labelled"
    segment_files(run, clouds, words, out, SegmentOptions(background="none", picture=False))
    found = compare(out, truth, truth_classes="toytown")
    assert found.scores["prediction"] == expected
    for path in out.glob("*.label"):
        path.unlink()
    assert compare(out, truth, truth_classes="toytown").scores == found.scores  # of the .npz files
