import shutil
from dataclasses import replace

import pytest

from clip2scene import build
from clip2scene.config import DataConfig, LossConfig
from clip2scene.recipes import supervised
from clip2scene.runs.checkpoint import load_checkpoint, save_checkpoint
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.first_round import first_round_of
from clip2scene.runs.run import open_run


@pytest.fixture(scope="module")
def first(tiny_run):
    return first_round_of(tiny_run)


@pytest.fixture
def copy(tiny_run, tmp_path):
    """A copy of the run, to be changed."""
    return shutil.copytree(tiny_run, tmp_path / "copy", ignore=shutil.ignore_patterns("carried"))


def change_weights(folder):
    path = folder / "checkpoint.safetensors"
    saved = load_checkpoint(path)
    bias = saved.model["head.bias"] + 1
    save_checkpoint(path, replace(saved, model={**saved.model, "head.bias": bias}))


def test_it_is_known_by_its_weights_wherever_it_lies(first, copy):
    assert first_round_of(copy).about() == {"origin": str(copy.resolve()), "sha256": first.sha256}
    change_weights(copy)
    assert first_round_of(copy).sha256 != first.sha256


def test_a_run_without_weights_or_cut_short_is_refused(copy):
    path = copy / "checkpoint.safetensors"
    save_checkpoint(path, replace(load_checkpoint(path), step=4))
    with pytest.raises(ValueError, match="has taken 4 of its 6 steps; train it to its end, then name it"):
        first_round_of(copy)
    path.unlink()
    with pytest.raises(ValueError, match="has no weights yet; train it to its end, then name it as --second"):
        first_round_of(copy)
    with pytest.raises(ValueError, match="is not a run: it has no recipe.json"):
        first_round_of(copy / "pictures")


def test_a_run_that_was_trained_on_labels_is_refused(tiny_toytown, tiny_recipe, tmp_path):
    create_or_resume(supervised(tiny_recipe), data_root=tiny_toytown, out=tmp_path / "labels")
    with pytest.raises(ValueError, match="was trained on labels, so .* is not label-free; name a label-free"):
        first_round_of(tmp_path / "labels")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"supervision": "labels"}, "makes pseudo-labels, and toytown is trained on labels; leave it out"),
        (
            {"loss": LossConfig(form="pixel-infonce")},
            "teaches classes, and --loss.form pixel-infonce has none",
        ),
        (
            {"data": DataConfig(classes="toytown", merge_sweeps=True, sweeps=2)},
            "was trained with --data.no-merge-sweeps, on clouds of another kind; set the same",
        ),
    ],
)
def test_what_it_cannot_teach_is_refused_before_anything_is_written(
    first, tiny_toytown, tiny_recipe, tmp_path, changes, message
):
    recipe = replace(tiny_recipe, **changes)
    with pytest.raises(ValueError, match=message):
        create_or_resume(recipe, data_root=tiny_toytown, out=tmp_path / "run", first=first)
    assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_run_of_other_data_or_classes_is_refused(first, tiny_toytown, tiny_recipe):
    experiment = build.open_experiment(tiny_recipe, tiny_toytown)
    first.check(experiment)
    run = first.run
    for root, named in (("/elsewhere", "/elsewhere"), ("", "not known")):
        other = replace(run, sources=replace(run.sources, data_root=root))
        with pytest.raises(
            ValueError, match=rf"was trained on other data \({named}\), expected .*toytown; name"
        ):
            replace(first, run=other).check(experiment)
    taught = replace(run.recipe.teacher, trained_on_2d_labels=True)
    taught = replace(first, run=replace(run, recipe=replace(run.recipe, teacher=taught)))
    with pytest.raises(
        ValueError, match="--second-round: .* labelled images, .* set --teacher.trained-on-2d-"
    ):
        taught.check(experiment)
    taught.check(replace(experiment, recipe=taught.run.recipe))
    turned = replace(run, prompts=replace(run.prompts, classes=run.prompts.classes[::-1]))
    with pytest.raises(
        ValueError, match="knows the classes vegetation, .*, expected barrier, .*; name a run of"
    ):
        replace(first, run=turned).check(experiment)


def test_a_run_goes_on_with_the_first_round_that_it_began_with_and_no_other(
    first, tiny_toytown, tiny_recipe, tmp_path, copy
):
    out = tmp_path / "run"
    create_or_resume(tiny_recipe, data_root=tiny_toytown, out=out, first=first)
    assert open_run(out).sources.second_round == first.about()
    create_or_resume(tiny_recipe, data_root=tiny_toytown, out=out, first=first_round_of(copy))  # the same
    change_weights(copy)
    for each in (None, first_round_of(copy)):
        with pytest.raises(
            ValueError, match="pseudo-labels of another first round; name the same run as --sec"
        ):
            create_or_resume(tiny_recipe, data_root=tiny_toytown, out=out, first=each)
    plain = tmp_path / "plain"
    create_or_resume(tiny_recipe, data_root=tiny_toytown, out=plain)
    assert open_run(plain).sources.second_round is None
    with pytest.raises(ValueError, match="pseudo-labels of another first round"):
        create_or_resume(tiny_recipe, data_root=tiny_toytown, out=plain, first=first)
