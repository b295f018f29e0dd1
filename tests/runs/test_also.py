"""Several teachers of one run: what each is trusted in, and which do not fit each other."""

import json
from dataclasses import replace

import pytest
import torch
from tests.lifting import lift
from tests.tiny_towers import save_tiny_segformer

from clip2scene.config import TeacherConfig
from clip2scene.distill.lifted import load_lifted
from clip2scene.io import read_json, write_json
from clip2scene.recipes import supervised
from clip2scene.runs import also
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.reopen import lift_run
from clip2scene.runs.run import open_run
from clip2scene.training.precompute import lift as lift_alone


def with_teacher(recipe, **settings):
    return replace(recipe, teacher=replace(recipe.teacher, **settings))


@pytest.fixture(scope="module")
def other(tiny_recipe, tiny_toytown, tmp_path_factory):
    """A run whose teacher reads the last layer otherwise; nothing was trained."""
    folder = tmp_path_factory.mktemp("other") / "run"
    plain = with_teacher(tiny_recipe, attention="maskclip", refine="none")
    return lift_alone(plain, data_root=tiny_toytown, out=folder)


def begin(recipe, other, data_root, out, *, consolidate=False):
    recipe = with_teacher(recipe, also=(str(other),), attention="cells", consolidate=consolidate)
    return create_or_resume(recipe, data_root=data_root, out=out)


def test_pseudo_labels_of_two_runs_are_fused_by_weights_that_the_run_keeps(
    tiny_recipe, tiny_toytown, other, tmp_path, caplog
):
    run, experiment = begin(tiny_recipe, other, tiny_toytown, tmp_path / "run")
    paths = lift_run(run, experiment)
    assert f"note: the teacher of {other} is trusted (0 to 1) in" in caplog.text
    kept = read_json(run.folder / "teachers.json")
    assert [each["run"] for each in kept["teachers"]] == ["run", other.name]
    weights = torch.tensor([each["weights"] for each in kept["teachers"]])
    assert weights.shape == (2, len(run.prompts.classes)) and 0.2 < weights.mean() < 1
    assert {path.parent.parent.parent for path in paths} == {run.folder / "carried" / "train"}
    assert not torch.allclose(weights[0], weights[1], atol=0.01)
    theirs = replace(open_run(other), recipe=with_teacher(open_run(other).recipe, consolidate=False))
    found = [load_lifted(paths[0]).teacher_labels()]
    found.append(load_lifted(paths[0].parents[1] / paths[0].name).teacher_labels())
    found.append(load_lifted(lift(theirs, tiny_toytown, split="train")[0]).teacher_labels())
    same = [float((found[0] == each).float().mean()) for each in found[1:]]
    assert 0.6 < min(same) and max(same) < 1, "some of each"
    agreed = found[1] == found[2]
    assert (found[0] == found[1])[agreed].float().mean() > 0.97
    again, experiment = begin(tiny_recipe, other, tiny_toytown, tmp_path / "run")
    assert lift_run(again, experiment) == paths
    packed = replace(run, sources=replace(run.sources, also=()))
    assert lift(packed, tiny_toytown, split="val")[0].parents[1] == run.folder / "carried" / "val"
    assert "was packed without its other teachers" in caplog.text
    for teacher in kept["teachers"]:  # on other splits nothing is measured
        teacher["weights"] = [0.0] * len(run.prompts.classes)
    write_json(run.folder / "teachers.json", kept)
    assert not load_lifted(lift(run, tiny_toytown, split="val")[0]).visible().any()
    write_json(run.folder / "teachers.json", {"teachers": kept["teachers"][:1]})
    with pytest.raises(ValueError, match="teachers.json does not fit the run's teachers and classes"):
        lift(run, tiny_toytown, split="val")


def test_what_was_fused_is_consolidated(tiny_recipe, tiny_toytown, other, tmp_path):
    run, experiment = begin(tiny_recipe, other, tiny_toytown, tmp_path / "run", consolidate=True)
    path = lift_run(run, experiment)[0]
    assert path.parent.parent.name.startswith("fused-") and path.parent.name.startswith("consolidated-")
    assert load_lifted(path).consolidated is not None
    assert load_lifted(path).pair_logits.shape == load_lifted(path.parents[1] / path.name).pair_logits.shape


def test_a_segmenter_and_an_image_text_model_are_fused_in_the_text_space_of_the_latter(
    tiny_recipe, tiny_toytown, tmp_path
):
    net = save_tiny_segformer(tmp_path / "net", ("road", "car", "tree", "building", "fence"), (96, 160))
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"tree": "tree", "building": "building", "fence": None}))
    teacher = TeacherConfig(kind="segmenter", trained_on_2d_labels=True, class_table=str(table))
    given = {"data_root": tiny_toytown, "teacher_weights": str(net)}
    folder = lift_alone(replace(tiny_recipe, teacher=teacher), out=tmp_path / "segmenter", **given)
    with pytest.raises(ValueError, match="segmenter was trained on labelled images.*trained-on-2d-labels"):
        begin(tiny_recipe, folder, tiny_toytown, tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.json").exists()
    both = with_teacher(tiny_recipe, trained_on_2d_labels=True)
    run, experiment = begin(both, folder, tiny_toytown, tmp_path / "run")
    alone, _ = create_or_resume(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "alone")
    assert torch.equal(run.prompts.embeddings, alone.prompts.embeddings)
    assert run.sources.also == (str(folder),) and run.sources.seal
    assert load_lifted(lift_run(run, experiment)[0]).visible().any()


def test_runs_that_do_not_fit_are_refused_before_anything_is_written(
    tiny_recipe, tiny_toytown, other, tmp_path
):
    labelled, _ = create_or_resume(supervised(tiny_recipe), data_root=tiny_toytown, out=tmp_path / "labelled")
    wrong = {
        tmp_path / "nowhere": "nowhere is not a run: it has no recipe.json",
        labelled.folder: "labelled is trained on labels and has no teacher.*clip2scene lift",
    }
    for folder, message in wrong.items():
        with pytest.raises(ValueError, match=f"--teacher.also: .*{message}"):
            begin(tiny_recipe, folder, tiny_toytown, tmp_path / "run")
    more = replace(tiny_recipe, data=replace(tiny_recipe.data, sweeps=2))
    with pytest.raises(ValueError, match="has --data.sweeps 1, expected 2 as here, so that both label the"):
        begin(more, other, tiny_toytown, tmp_path / "run")
    assert not (tmp_path / "run" / "recipe.json").exists()
    prompts = open_run(other).prompts
    turned = replace(prompts, classes=prompts.classes[::-1])
    with pytest.raises(ValueError, match="labels barrier, .*, expected .*, barrier; name a run of the same"):
        also.open_others([str(other)], tiny_recipe, turned)


def test_a_strangers_run_opens_no_other_run(tiny_recipe, tiny_toytown, other, tmp_path):
    run, experiment = begin(tiny_recipe, other, tiny_toytown, tmp_path / "run")
    lift_run(run, experiment)
    sources = read_json(run.folder / "sources.json")
    write_json(run.folder / "sources.json", {**sources, "seal": "0" * 64})
    with pytest.raises(ValueError, match="asks to open the teacher of run '.*run'; if you want that"):
        lift(open_run(run.folder), tiny_toytown, split="val")
