"""A log of which some clouds are labelled: they are ranked, labelled and learnt from, and then some more."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from clip2scene import build
from clip2scene.classes.tables import TOYTOWN_KITTI
from clip2scene.config import AugmentConfig, DataConfig, LabelsConfig
from clip2scene.datasets.convert.kitti_to_log import convert_kitti
from clip2scene.datasets.drive_log.classes import class_set_to_json
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.experiments.jobs import Job, check_data
from clip2scene.inference.rank_scenes import rank
from clip2scene.io import write_json
from clip2scene.runs.run import open_run
from clip2scene.training.finetune import Changes, prepare
from clip2scene.training.train import finetune

NAMES = ("000000", "000001", "000002", "000003")


@pytest.fixture(scope="module")
def whole_log(tiny_kitti, tmp_path_factory):
    """The train sequence of a toytown as a drive log of four clouds, all labelled."""
    log = tmp_path_factory.mktemp("log") / "log"
    convert_kitti(sorted((tiny_kitti / "sequences").iterdir())[0], log)
    write_json(log / "classes.json", class_set_to_json(TOYTOWN_KITTI))
    assert tuple(sorted(path.stem for path in (log / "labels").iterdir())) == NAMES
    return log


@pytest.fixture
def log(whole_log, tmp_path):
    """A copy, whose labels are put aside."""
    shutil.copytree(whole_log, tmp_path / "log")
    (tmp_path / "log" / "labels").rename(tmp_path / "aside")
    return tmp_path / "log"


@pytest.fixture
def label(log, tmp_path):
    def move(*names):
        (log / "labels").mkdir(exist_ok=True)
        for name in names:
            shutil.copy(tmp_path / "aside" / f"{name}.label", log / "labels")

    return move


@pytest.fixture
def tune(tiny_run, log, tmp_path):
    """What ``clip2scene finetune --start`` does, with two steps."""

    def run(name, order=None, start=tiny_run, root=log, **labels):
        settings = LabelsConfig(**{"by": "keyframe", "absent": "allow", **labels})
        changes = Changes(layout="drive-log", labels=settings, order=order, steps=2)
        plan = prepare(None, start, changes)
        recipe = replace(plan.recipe, augment=AugmentConfig())
        where = {"data_root": root, "out": tmp_path / name}
        finetune(recipe, start=plan.start, teacher_weights=plan.teacher_weights, **where)
        return open_run(tmp_path / name)

    return run


def by_hand(path, *names):
    write_json(path, {"by": "keyframe", "order": names})
    return path


def test_only_what_is_chosen_has_to_be_labelled(tune, label, tmp_path):
    label("000002", "000003")
    order = by_hand(tmp_path / "order.json", "000003", "000002", "000000")
    assert tune("run", order, count=2).subset.units == ("000003", "000002")


def test_a_chosen_sample_without_labels_is_one_error_and_nothing_is_begun(tune, label, tmp_path):
    label("000003")
    order = by_hand(tmp_path / "order.json", "000003", "000002")
    with pytest.raises(ValueError, match=r"lacks 000002.npy, in all 1 of 2 .*chosen.*fewer .--labels.count"):
        tune("run", order, count=2)
    assert tune("run", order, count=1).subset.units == ("000003",)  # the folder takes other settings


def test_labels_that_lack_a_class_leave_the_folder_to_other_settings(tune, label, tmp_path):
    """Though clouds and labels were carried into it before they were found to lack one."""
    label("000003")
    order = by_hand(tmp_path / "order.json", "000003")
    with pytest.raises(ValueError, match="no labelled point is of"):
        tune("run", order, count=1, points_per_scene=1, absent="refuse")
    assert tune("run", order, count=1).subset.points is None


def test_a_list_by_hand_leads_to_what_is_labelled_already(tune, label, tmp_path):
    """The way out that the error names."""
    label("000001")
    with pytest.raises(ValueError, match=r"an order of your own .--order."):
        tune("run", count=4)
    assert tune("run", by_hand(tmp_path / "order.json", "000001"), count=1).subset.units == ("000001",)


def test_a_second_round_goes_on_from_the_first(tune, log, label, tmp_path):
    label("000003")
    first = tune("first", by_hand(tmp_path / "order.json", "000003"), count=1)
    second = tmp_path / "second.json"
    ranked = rank(first.folder, data_root=log, by="keyframe", out=second)
    assert (ranked.units[0], ranked.labelled, set(ranked.units)) == ("000003", 1, set(NAMES))
    label(ranked.units[1])
    assert tune("second", second, count=2).subset.units == ranked.units[:2]


def test_a_cloud_is_known_by_its_points_and_not_by_its_name(tune, log, label, tmp_path):
    label("000003")
    tuned = tune("tuned", by_hand(tmp_path / "order.json", "000003"), count=1)
    renamed = shutil.copytree(log, tmp_path / "renamed")
    for path in [*(renamed / "lidar").iterdir(), *(tmp_path / "aside").iterdir()]:
        (renamed / "labels").mkdir(exist_ok=True)
        shutil.copy(path, renamed / ("lidar" if path.suffix == ".bin" else "labels") / f"b{path.name}")
    for path in [*renamed.glob("*.csv"), *renamed.glob("l*/0*")]:
        path.unlink()
    shutil.rmtree(renamed / "images")
    with pytest.raises(ValueError, match=r"labels of 1 of these 4 samples, such as b000003 .as 000003.;"):
        evaluate(tuned.folder, data_root=renamed, split="train")

    other = shutil.copytree(log, tmp_path / "other")
    for path in (other / "lidar").iterdir():
        np.save(path.with_suffix(".npy"), np.fromfile(path, np.float32).reshape(-1, 4) * [1, -1, 1, 1])
        path.unlink()
    ranked = rank(tuned.folder, data_root=other, by="keyframe", out=tmp_path / "other.json")
    assert (ranked.labelled, len(ranked.scores)) == (0, 4)  # of equal names, but others
    both = tune("both", tmp_path / "order.json", start=tuned.folder, root=other, count=1)
    assert list(both.labels_used().values()) == ["000003", "000003"]
    for name in NAMES:
        label(name)
    with pytest.raises(ValueError, match=r"labels of 1 of these 4 samples, such as 000003;"):
        evaluate(both.folder, data_root=log, split="train")


def test_tables_of_few_labels_need_no_others_either(tiny_recipe, log, label, tmp_path):
    label("000001", "000002")
    data = DataConfig(layout="drive-log")
    labels = LabelsConfig(by="keyframe", count=2, ranking=("000002", "000001"))
    recipe = replace(tiny_recipe, data=data, labels=labels, supervision="labels")
    build.open_dataset(data, log, split="train", labels=["000001", "000002"])
    with pytest.raises(ValueError, match="lacks 000000.npy"):
        build.open_dataset(data, log, split="train", labels=["000000", "000001"])
    job = Job("ours", recipe, tmp_path, tmp_path, log, None, "cpu")
    with pytest.raises(ValueError, match="unknown split 'val'"):  # train was opened
        check_data([job])
