import shutil
from dataclasses import replace

import pytest
import torch

from clip2scene.config import LabelsConfig
from clip2scene.io import read_json
from clip2scene.recipes import fine_tuned
from clip2scene.runs import create
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.init_weights import init_weights_of, initial_student
from clip2scene.runs.run import open_run


@pytest.fixture(scope="module")
def tuned(tiny_recipe):
    """A recipe that goes on with labels."""
    return replace(fine_tuned(tiny_recipe), labels=LabelsConfig(by="keyframe", absent="allow"))


@pytest.fixture(scope="module")
def start(tiny_run):
    return init_weights_of(tiny_run)


def test_a_run_that_was_begun_is_opened_by_its_folder_alone(tuned, start, tiny_toytown, tmp_path):
    out = tmp_path / "run"
    begun, experiment = create_or_resume(tuned, data_root=tiny_toytown, out=out, start=start)
    assert begun.sources.num_samples == len(experiment.dataset.tokens) == 2
    assert experiment.with_labels and set(begun.subset.tokens) == set(experiment.dataset.tokens)
    found = open_run(out)
    assert (found.recipe, found.sources) == (begun.recipe, replace(begun.sources, init=found.sources.init))
    assert found.sources.init["sha256"] == start.about()["sha256"] and found.sources.began_with_words
    assert not (out / "unfinished.json").exists()


def test_without_labels_none_is_opened_and_none_is_listed(tiny_recipe, tiny_toytown, tmp_path):
    run, experiment = create_or_resume(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "run")
    assert not experiment.with_labels and experiment.dataset[0].labels is None
    assert run.subset is None and not (run.folder / "labels.json").exists()


def test_the_same_call_opens_the_run_that_is_there_with_the_labels_of_its_own_choice(
    tuned, tiny_toytown, tmp_path
):
    tuned = replace(
        tuned, labels=replace(tuned.labels, count=1), tuning=replace(tuned.tuning, start="random")
    )
    first, opened = create_or_resume(tuned, data_root=tiny_toytown, out=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again, reopened = create_or_resume(tuned, data_root=tiny_toytown, out=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert again.subset == first.subset
    labelled = [
        [
            experiment.dataset.tokens[number]
            for number in range(2)
            if experiment.dataset[number].labels is not None
        ]
        for experiment in (opened, reopened)
    ]
    assert labelled[0] == labelled[1] == list(first.subset.tokens)


@pytest.mark.parametrize(
    ("labels", "tuning", "fault"),
    [
        ({"classes": ("car", "spaceship")}, {"start": "random"}, "--labels.classes names 'spaceship'"),
        (
            {},
            {"start": "random", "keep_words": 1.0},
            "--tuning.keep-words needs a start with a trained text head",
        ),
        ({}, {"start": "words"}, "--tuning.start words needs a start with a trained text head"),
    ],
)
def test_what_needs_no_label_to_be_refused_is_refused_before_anything_is_written(
    labels, tuning, fault, tuned, tiny_toytown, tmp_path, monkeypatch
):
    monkeypatch.setattr(create.build, "choose_labels", lambda *_: pytest.fail("labels were chosen"))
    recipe = replace(tuned, labels=replace(tuned.labels, **labels), tuning=replace(tuned.tuning, **tuning))
    with pytest.raises(ValueError, match=fault):
        create_or_resume(recipe, data_root=tiny_toytown, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda w: {k: v for k, v in w.items() if "ascents.3" not in k},
            "another network's: tensors .* missing",
        ),
        (
            lambda w: {**w, "backbone.stem.conv.weight": torch.zeros(3, 3)},
            "of another shape .such as backbone.stem.conv.weight",
        ),
    ],
)
def test_a_start_of_another_network_is_refused_and_the_next_call_begins_anew(
    change, fault, tuned, start, tiny_toytown, tmp_path
):
    out = tmp_path / "run"
    other = replace(start, weights=change(start.weights))
    with pytest.raises(ValueError, match=fault):
        create_or_resume(tuned, data_root=tiny_toytown, out=out, start=other)
    assert not list(out.iterdir())
    run, _ = create_or_resume(tuned, data_root=tiny_toytown, out=out, start=start)
    assert run.sources.init["sha256"] == start.about()["sha256"]
    assert not (out / "unfinished.json").exists()


def test_labels_that_cannot_be_chosen_leave_the_folder_to_the_next_call(tuned, start, tiny_toytown, tmp_path):
    few = replace(tuned, labels=replace(tuned.labels, fraction=0.1))
    with pytest.raises(ValueError, match="is no choice among these"):
        create_or_resume(few, data_root=tiny_toytown, out=tmp_path / "run", start=start)
    assert not (tmp_path / "run" / "recipe.json").exists()
    create_or_resume(tuned, data_root=tiny_toytown, out=tmp_path / "run", start=start)


def test_the_recipe_is_written_last(tiny_recipe, tiny_toytown, tmp_path, monkeypatch):
    written = []
    real = create.write_json

    def write(path, values):
        written.append((path.name, {each.name for each in tmp_path.iterdir()}))
        real(path, values)

    monkeypatch.setattr(create, "write_json", write)
    create_or_resume(tiny_recipe, data_root=tiny_toytown, out=tmp_path)
    name, before = written[-1]
    assert name == "recipe.json"
    assert {"prompts.json", "prompts.safetensors", "sources.json", "unfinished.json"} <= before
    assert set(read_json(tmp_path / "recipe.json")) >= {"name", "seed"}


def test_another_start_does_not_resume_a_run(tuned, start, tiny_toytown, tmp_path):
    create_or_resume(tuned, data_root=tiny_toytown, out=tmp_path, start=start)
    changed = {**start.weights, "head.bias": start.weights["head.bias"] + 1}
    for other in (None, replace(start, weights=changed)):
        with pytest.raises(ValueError, match="began with other weights; name the same start"):
            create_or_resume(tuned, data_root=tiny_toytown, out=tmp_path, start=other)
    elsewhere = replace(start, origin=tmp_path / "moved")  # the same weights, wherever they lie
    create_or_resume(tuned, data_root=tiny_toytown, out=tmp_path, start=elsewhere)


@pytest.mark.parametrize("kind", ["samples/LIDAR_TOP/*.bin", "samples/CAM_FRONT/*", "sweeps/LIDAR_TOP/*.bin"])
def test_a_run_whose_clouds_or_images_were_mended_since_is_not_called_trained(
    kind, tiny_recipe, tiny_toytown, tmp_path
):
    town, out = shutil.copytree(tiny_toytown, tmp_path / "town"), tmp_path / "run"
    run, _ = create_or_resume(tiny_recipe, data_root=town, out=out)
    create_or_resume(tiny_recipe, data_root=town, out=out)
    path = next(town.glob(kind))
    path.write_bytes(path.read_bytes())
    run, _ = create_or_resume(tiny_recipe, data_root=town, out=out)  # nothing was trained yet
    (out / "log.jsonl").touch()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    path.write_bytes(path.read_bytes())
    with pytest.raises(
        ValueError, match="trained on other clouds, images or tables .*nothing was done; give"
    ):
        create_or_resume(tiny_recipe, data_root=town, out=out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    replace(run.sources, inputs="").write(out)  # runs of earlier versions do not know
    create_or_resume(tiny_recipe, data_root=town, out=out)


def test_what_is_refused_while_a_run_is_made_leaves_nothing_half_done(
    tiny_recipe, tiny_toytown, tmp_path, monkeypatch
):
    for stop in (ValueError, KeyboardInterrupt):
        with monkeypatch.context() as patch:

            def refuse(_, stop=stop):
                assert (tmp_path / "sources.json").exists()
                raise stop

            patch.setattr(create, "initial_student", refuse)
            with pytest.raises(stop):
                create_or_resume(tiny_recipe, data_root=tiny_toytown, out=tmp_path)
        assert not list(tmp_path.iterdir())


def test_label_free_training_begins_with_the_weights_of_another_run(
    tiny_recipe, start, tiny_toytown, tmp_path, caplog
):
    recipe, out = replace(tiny_recipe, seed=7), tmp_path / "run"
    run, _ = create_or_resume(recipe, data_root=tiny_toytown, out=out, start=start)
    own = initial_student(run).state_dict()
    assert all(torch.equal(own[name], each) for name, each in start.weights.items())
    assert run.sources.began_with_words and run.subset is None and not caplog.records
    again, _ = create_or_resume(recipe, data_root=tiny_toytown, out=out, start=start)
    assert again.sources.init["sha256"] == run.sources.init["sha256"]
    with pytest.raises(ValueError, match="holds a run that began with other weights"):
        create_or_resume(recipe, data_root=tiny_toytown, out=out)


def test_a_text_head_of_another_text_space_is_left_and_that_is_said(
    tiny_recipe, start, tiny_toytown, tmp_path, caplog
):
    sources = replace(start.run.sources, text_space="another")
    other = replace(start, run=replace(start.run, sources=sources))
    for _ in range(2):
        run, _ = create_or_resume(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "run", start=other)
        assert not run.sources.began_with_words
    (record,) = caplog.records
    assert "only the backbone of" in record.getMessage()


def test_weights_of_clouds_with_other_channels_begin_nothing(tiny_recipe, start, tiny_toytown, tmp_path):
    sources = replace(start.run.sources, in_channels=3)
    other = replace(start, run=replace(start.run, sources=sources))
    with pytest.raises(ValueError, match="clouds with 3 channels a point, and these have 1; name another"):
        create_or_resume(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "run", start=other)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


def test_other_voxels_are_spoken_of(tiny_recipe, start, tiny_toytown, tmp_path, caplog):
    recipe = replace(tiny_recipe, student=replace(tiny_recipe.student, voxel_size=0.4))
    create_or_resume(recipe, data_root=tiny_toytown, out=tmp_path / "run", start=start)
    (record,) = caplog.records
    assert "was trained on voxels of 0.5 m; --student.voxel-size 0.5 keeps them" in record.getMessage()
