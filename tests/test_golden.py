"""What users had before the code was moved, they have now: folders, numbers, labels, words on the screen.

All that is compared with lies in ``tests/golden`` and was made by ``tests/golden/make.py``, which holds the
settings. The tests use the command line, the package's public names and files, and nothing else of the code.

**How equal.** Where every version and the processor are those that the recorded values were made on
(``made_on.json``), all must be equal to the bit: moving code changes no number. Elsewhere that cannot be
asked. Vector units of another width add in another order; a processor with bfloat16 rounds factors of matrix
products to 8 bits (``torch.set_float32_matmul_precision("medium")``), others do not; the sparse kernels are
compiled for the machine, and not at all where there is no compiler. The teacher's answer for a pixel is the
largest of scores, so a difference in the last bits may turn it, and training carries that on. There, losses
may differ by LOSSES_APART of their size, and POINTS_APART of a cloud may be called something else. With the
kernels, AVX-512 (and with it bfloat16) and AVX2 switched off in turn on one machine, losses differed by up to
0.25 % and no point was called otherwise; other makes of processor have not been tried.
"""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import clip2scene

LOSSES_APART = 0.01
POINTS_APART = 0.005
SCORES_APART = 1e-4
"""Votes on logits add up in another order than votes on embeddings did; scores are kept in half precision."""

GOLDEN = Path(__file__).resolve().parent / "golden"
_spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)

SNAPSHOTS = sorted((GOLDEN / "help").glob("*.txt"))


def to_the_bit(part):
    """Tell whether a part was recorded on a machine like this one."""
    return make.read("made_on.json")[part] == json.loads(json.dumps(make.machine()))


@pytest.fixture(autouse=True)
def exact_products():
    """Multiply as the command line does, with which all was recorded."""
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def with_todays_names(recipe):
    """Rename the two settings of a recorded recipe that are called otherwise since, and add later ones."""
    renamed = {"settles": "superpoint_mean", "settle": "superpoint_mean"}
    parts = {name: recipe[name] for name in ("student", "self_training")}
    parts = {
        part: {renamed.get(name, name): value for name, value in settings.items()}
        for part, settings in parts.items()
    }
    later = {  # whatever came since is off where nothing is said
        "teacher": json.loads(json.dumps(vars(clip2scene.TeacherConfig()))),
        "loss": {"bounded": False, "generalised": 0.0, "reverse": 0.0, "similarity": 0.0},
        "self_training": {"lead": 0.1},
        "labels": {"rest": "start"},
        "optimiser": {"batch_norm": "all-ranks"},
    }
    recipe = {**recipe, **parts}
    return {**recipe, **{part: {**values, **recipe[part]} for part, values in later.items()}}


def assert_same_losses(found, recorded, part):
    assert found.keys() == recorded.keys()
    if to_the_bit(part):
        assert found == recorded
    else:
        assert found == pytest.approx(recorded, rel=LOSSES_APART)


def assert_same_labels(found, recorded, part):
    assert found.shape == recorded.shape
    if to_the_bit(part):
        assert np.array_equal(found, recorded)
    else:
        assert np.mean(found == recorded) >= 1 - POINTS_APART


def assert_same_confusion(found, recorded):
    """Compare counts of points by true and by answered class, of which a few may be called otherwise."""
    found, recorded = np.array(found), np.array(recorded)
    assert found.shape == recorded.shape
    assert np.abs(found - recorded).sum() / 2 <= POINTS_APART * recorded.sum()


@pytest.fixture(scope="module")
def golden():
    return make.read("runs.json") | make.read("answers.json")


@pytest.fixture(scope="module")
def recorded():
    return make.read("losses.json")


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    return make.make_town(tmp_path_factory.mktemp("golden") / "town")


@pytest.fixture(scope="module")
def label_free(town, tmp_path_factory):
    return make.train_label_free(town, tmp_path_factory.mktemp("golden") / "run")


@pytest.fixture
def kept(tmp_path):
    """Copy a run's folder as it was kept, since commands write into it."""
    return lambda name: Path(shutil.copytree(GOLDEN / name, tmp_path / name))


def test_the_town_of_a_seed_is_the_one_it_was(town, golden):
    if not to_the_bit("runs"):
        pytest.skip("made elsewhere: rays may meet edges otherwise, and JPEG's rounding may differ")
    assert make.hash_folder(town) == golden["town"]


@pytest.mark.parametrize("name", ["run", "finetuned"])
def test_a_run_of_before_is_judged_as_it_was(kept, town, golden, name):
    run = kept(name)
    before = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").unlink()
    printed = make.judge(run, town)
    after = json.loads((run / "metrics.json").read_text())
    assert after.pop("confidence")["temperature"] == before.pop("confidence", {}).get("temperature", 1.0)
    if to_the_bit("answers"):
        assert after == before
        assert printed == golden[f"{name} judged"]
    else:
        assert after.keys() == before.keys()
        assert after["classes"] == before["classes"]
        assert after["columns"].keys() == before["columns"].keys()
        for column in ("student", "student_seen", "student_unseen"):
            assert_same_confusion(
                after["columns"][column]["confusion"], before["columns"][column]["confusion"]
            )


def test_an_interrupted_run_of_before_goes_on_as_it_would_have(kept, town, golden):
    run = kept("run")
    sources = json.loads((run / "sources.json").read_text())
    sources["data_root"] = str(town.resolve())  # the data were moved; what an error message says to do
    (run / "sources.json").write_text(json.dumps(sources))
    before = make.losses(run)
    assert list(before) == [str(step) for step in range(1, make.INTERRUPTED_AT + 1)]
    make.call(*make.GOLDEN_RUN, "--data-root", town, "--out", run)
    after = make.losses(run)
    assert {step: after.pop(step) for step in before} == before
    assert_same_losses(after, golden["resumed"], "runs")


def test_a_cloud_is_called_what_it_was_from_the_command_line(golden, tmp_path):
    found = make.segment(GOLDEN / "run", tmp_path / "out")
    with np.load(GOLDEN / "segmented.npz") as before:
        labels, scores = before["labels"], before["scores"]
    assert_same_labels(found.pop("labels"), labels, "answers")
    if to_the_bit("answers"):
        assert np.abs(found["scores"].astype(float) - scores).max() <= SCORES_APART
    assert found.pop("scores").shape == scores.shape
    found["names"] = found["names"].tolist()
    looks = {name for name in found if name.startswith("hash of ")}
    assert found.keys() == golden["segmented"].keys() and len(looks) == 2
    for name in found:
        if name not in looks or to_the_bit("answers"):
            assert found[name] == golden["segmented"][name], name


def test_a_cloud_is_called_what_it_was_by_a_segmenter():
    cloud = clip2scene.read_cloud(GOLDEN / "cloud.bin")
    assert len(cloud) == make.POINTS
    segmenter = clip2scene.Segmenter.load(GOLDEN / "run")
    segmenter.set_prompts(make.PROMPTS, background="none")
    found = segmenter.segment(cloud)
    assert found.names == make.PROMPTS
    with np.load(GOLDEN / "segmented.npz") as before:
        assert_same_labels(found.labels.numpy(), before["labels"], "answers")
        tuned = clip2scene.Segmenter.load(GOLDEN / "finetuned").segment(cloud)
        assert_same_labels(tuned.labels.numpy(), before["classes"], "answers")


def test_a_label_free_run_learns_what_it_did_and_leaves_the_same_files(label_free, recorded):
    found, before = make.describe_run(label_free), recorded["label-free"]
    assert_same_losses(found.pop("losses"), before.pop("losses"), "losses")
    assert found == before | {"recipe": with_todays_names(before["recipe"])}


def test_few_labels_teach_what_they_did(label_free, town, recorded, tmp_path):
    run = make.train_finetuned(label_free, town, tmp_path / "finetuned")
    found, before = make.describe_run(run), recorded["finetuned"]
    assert_same_losses(found.pop("losses"), before.pop("losses"), "losses")
    choice = json.loads((run / "choice.json").read_text())
    assert choice.keys() == before["choice"].keys()
    if to_the_bit("losses"):
        assert choice == before["choice"]
    before.pop("choice")
    assert found == before | {"recipe": with_todays_names(before["recipe"])}


def test_the_variants_of_an_ablation_learn_what_they_did(town, recorded, tmp_path):
    found, before = (
        make.describe_ablation(make.train_ablation(town, tmp_path / "table")),
        recorded["ablation"],
    )
    assert found.keys() == before.keys() and len(found) == 3
    assert found.pop("files") == before.pop("files")
    for name, run in found.items():
        assert_same_losses(run.pop("losses"), before[name].pop("losses"), "losses")
        scores, scores_before = run.pop("miou"), before[name].pop("miou")
        assert scores.keys() == scores_before.keys()
        if to_the_bit("losses"):
            assert scores == scores_before
        assert run == before[name] | {"recipe": with_todays_names(before[name]["recipe"])}


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.stem)
def test_a_command_says_of_itself_what_it_said(path):
    if make.read("made_on.json")["help"] != make.renderer():
        pytest.skip("another version of Python, tyro or docstring_parser lays help out otherwise")
    assert make.call(*make.help_words(path)) == path.read_text(encoding="utf-8")


def test_every_command_has_a_snapshot():
    commands = re.findall(r"^  (\S+) ", make.call("--help"), re.MULTILINE)
    assert {*commands, "clip2scene", "pretrain+toytown"} == {path.stem for path in SNAPSHOTS}


def test_every_recipe_has_the_settings_it_had():
    before = make.read("interface.json")
    before.pop("names")
    assert make.describe_recipes() == {name: with_todays_names(each) for name, each in before.items()}


def test_every_public_name_takes_what_it_took():
    assert make.describe_names() == make.read("interface.json")["names"]
