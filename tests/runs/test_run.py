import json
import shutil
from dataclasses import replace

import pytest
import torch

from clip2scene.build_teacher import SMALL_CLIP
from clip2scene.config import Recipe, TuningConfig
from clip2scene.datasets.label_subset import choose
from clip2scene.distill.lifted import LiftedSample, save_lifted
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import hash_points, read_json, write_json
from clip2scene.runs.checkpoint import load_checkpoint, save_checkpoint
from clip2scene.runs.init_weights import init_weights_of
from clip2scene.runs.run import Run, load_prompts, open_run, save_prompts
from clip2scene.runs.sources import Sources
from clip2scene.runs.trust import trust_run
from clip2scene.types import PointCloud, Prompts

PROMPTS = Prompts(("car", "tree"), ("bush", "car", "tree"), torch.tensor([1, 0, 1]), torch.eye(3))
SOURCES = Sources(None, "", 1, 1, "")
LABELS = Recipe(name="any", supervision="labels", tuning=TuningConfig(head="classifier", start="random"))


def make_run(folder, recipe=LABELS, sources=SOURCES):
    return Run(folder, recipe, PROMPTS, sources)


@pytest.fixture
def copy(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


def test_a_folder_that_is_no_run_is_said_to_be_none(tmp_path):
    with pytest.raises(ValueError, match="is not a run: it has no recipe.json"):
        open_run(tmp_path)


def test_prompts_are_read_as_they_were_written(tmp_path):
    save_prompts(tmp_path, PROMPTS)
    found = load_prompts(tmp_path)
    assert (found.classes, found.names) == (PROMPTS.classes, PROMPTS.names)
    assert torch.equal(found.class_of_name, PROMPTS.class_of_name)
    assert torch.equal(found.embeddings, PROMPTS.embeddings)


@pytest.mark.parametrize("name", ["prompts.json", "prompts.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "a list"])
def test_damaged_prompts_are_refused(tmp_path, name, damage):
    save_prompts(tmp_path, PROMPTS)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    elif damage == "a list":
        path.write_text("[1]")
    else:
        path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(ValueError, match="prompts"):
        load_prompts(tmp_path)


def test_a_text_space_that_has_changed_since_is_refused(copy, tmp_path):
    clip = shutil.copytree(SMALL_CLIP, tmp_path / "clip")
    write_json(copy / "sources.json", read_json(copy / "sources.json") | {"teacher_weights": str(clip)})
    trust_run(copy)
    run = open_run(copy)
    assert run.text_space().unknown_words("car") == []
    (clip / "note.txt").write_text("fine-tuned since")
    with pytest.raises(ValueError, match="image-text model in .*clip is not the one that .* was trained on"):
        run.text_space()


def test_the_checkpoint_that_was_chosen_stands_before_the_newest(copy):
    run = open_run(copy)
    newest = run.student().state_dict()
    shutil.copy(run.checkpoint_path, copy / "chosen.safetensors")
    run.checkpoint_path.unlink()
    chosen = run.student()
    assert not chosen.training
    assert all(torch.equal(newest[name], tensor) for name, tensor in chosen.state_dict().items())


@pytest.mark.parametrize(
    ("recipe", "began", "knows"),
    [
        (Recipe(name="any"), None, True),
        (LABELS, None, False),
        (LABELS, False, False),
        (LABELS, True, True),
        (replace(LABELS, tuning=TuningConfig(head="words")), None, True),
    ],
)
def test_words_are_known_from_a_teacher_from_labels_or_from_before(tmp_path, recipe, began, knows):
    init = None if began is None else {"knows_words": began}
    assert make_run(tmp_path, recipe, replace(SOURCES, init=init)).knows_words is knows


def write_labels(folder, tokens=("a", "b")):
    subset = choose({token: token for token in tokens})
    write_json(folder / "labels.json", {"fingerprint": subset.fingerprint, "subset": vars(subset)})
    return subset


def test_a_list_of_labels_is_read_back_and_one_that_was_edited_is_refused(tmp_path):
    run = make_run(tmp_path)
    assert run.subset is None and run.label_mask is None
    assert run.labels_used() == {}
    assert write_labels(tmp_path) == run.subset
    labels = read_json(tmp_path / "labels.json")
    labels["subset"]["tokens"] = ["another"]
    write_json(tmp_path / "labels.json", labels)
    with pytest.raises(ValueError, match="does not fit its own hash"):
        _ = run.subset


@pytest.mark.parametrize("content", ["[1]", "{}", '{"fingerprint": "ab", "subset": {"tokens": []}}', "{"])
def test_a_damaged_list_of_labels_is_named(tmp_path, content):
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(ValueError, match=r"labels\.json"):
        _ = make_run(tmp_path).subset


def test_samples_that_were_trained_on_are_noted_once_under_the_hash_of_their_points(tmp_path):
    clouds = {name: torch.full((3, 3), float(number)) for number, name in enumerate("ab")}
    paths = [tmp_path / f"{name}.safetensors" for name in clouds]
    for path, positions in zip(paths, clouds.values(), strict=True):
        cloud = PointCloud(positions, torch.ones(3, 1))
        save_lifted(path, LiftedSample(cloud, torch.zeros(0, dtype=torch.long), torch.zeros(0, 2), None))
    run, subset = make_run(tmp_path), write_labels(tmp_path)
    run.note_labels_used(paths[:1])
    again = paths[0].rename(tmp_path / "other name.safetensors")
    run.note_labels_used([again, paths[1]])
    assert run.labels_used() == {hash_points(positions): name for name, positions in clouds.items()}
    assert run.subset == subset


def test_a_last_line_without_its_end_is_cut_off(tiny_run, tmp_path):
    run = replace(open_run(tiny_run), folder=tmp_path)
    run.mend_log()
    for content, left in {b"": b"", b'{"a"': b"", b'{"a": 1}\n{"b"': b'{"a": 1}\n', b"x\n": b"x\n"}.items():
        (tmp_path / "log.jsonl").write_bytes(content)
        run.mend_log()
        assert (tmp_path / "log.jsonl").read_bytes() == left


def test_the_log_grows_by_a_line_a_step(tmp_path):
    run = make_run(tmp_path)
    run.log(step=1, loss=0.5)
    run.log(step=2, loss=0.25)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_student_that_is_not_finite_is_refused_wherever_it_is_used(copy, tiny_toytown, value):
    path = copy / "checkpoint.safetensors"
    found = load_checkpoint(path)
    found.model["backbone.stem.conv.weight"].view(-1)[3] = value
    (copy / "checkpoint.previous.safetensors").unlink(missing_ok=True)
    save_checkpoint(path, found)
    doors = [
        lambda: open_run(copy).student(),
        lambda: Segmenter.load(copy),
        lambda: init_weights_of(copy),
        lambda: evaluate(copy, data_root=tiny_toytown),
    ]
    for door in doors:
        with pytest.raises(ValueError, match="checkpoint.safetensors holds numbers that are not finite"):
            door()


def test_a_recipe_that_asks_for_a_huge_network_is_refused_before_it_is_made(copy):
    run = open_run(copy)
    huge = replace(run, recipe=replace(run.recipe, student=replace(run.recipe.student, width=1e6)))
    with pytest.raises(ValueError, match="do not fit this Embedder"):
        huge.student()
    for width in (1e7, 1e300):
        huge = replace(run, recipe=replace(run.recipe, student=replace(run.recipe.student, width=width)))
        with pytest.raises(ValueError, match=r"recipe.json asks for a network that cannot be made \("):
            huge.student()


def test_classes_that_the_recipe_does_not_have_are_named(copy):
    run = open_run(copy)
    other = replace(run, prompts=replace(run.prompts, classes=("spaceship", *run.prompts.classes[1:])))
    with pytest.raises(ValueError, match=r"prompts.json names the class 'spaceship'"):
        _ = other.class_mapping
