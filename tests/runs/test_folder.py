import shutil
from dataclasses import replace

import pytest

from clip2scene.build_teacher import SMALL_CLIP
from clip2scene.config import to_dict
from clip2scene.io import write_json
from clip2scene.parallel import file_lock
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.folder import announce, check_folder, clear_half_started, resolve_weights
from clip2scene.runs.reopen import reopen
from clip2scene.runs.sources import Sources
from clip2scene.training.train import pretrain

LEFT = (
    "prompts.json",
    "words.safetensors",
    "labels.json",
    "start.safetensors",
    "classes.json",
    ".partial-x.json",
)


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_goes_on_with_its_own_data_alone(tiny_run, tiny_recipe, tiny_toytown, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = files_in(run)
    (tmp_path / "name").symlink_to(tiny_toytown)
    for root in (tiny_toytown, tmp_path / "name"):
        assert create_or_resume(tiny_recipe, data_root=root, out=run)[0].folder == run
        assert check_folder(run, tiny_recipe, data_root=root, teacher_weights=None)
    said = "another data set .*elsewhere.*name the same data.*correct data_root in its sources.json"
    with pytest.raises(ValueError, match=said):
        create_or_resume(tiny_recipe, data_root=tmp_path / "elsewhere", out=run)
    with pytest.raises(ValueError, match=said):
        check_folder(run, tiny_recipe, data_root=tmp_path / "elsewhere", teacher_weights=None)
    assert files_in(run) == before


@pytest.mark.parametrize("begin", ["alone", "in a table"])
def test_a_run_begins_where_a_call_was_cut_short_at_whatever_file(
    begin, tiny_run, tiny_recipe, tiny_toytown, tmp_path
):
    run = tmp_path / "run"
    announce(run, list(LEFT[:-1]))
    for name in LEFT:
        (run / name).write_text("{}")
    if begin == "alone":
        create_or_resume(tiny_recipe, data_root=tiny_toytown, out=run)
        assert not set(files_in(run)) & set(LEFT[1:])  # labels of a run that was never begun would be obeyed
    else:
        assert not check_folder(run, tiny_recipe, data_root=tiny_toytown, teacher_weights=None)
        assert not files_in(run)


@pytest.mark.parametrize("own", ["thesis.txt", "classes.json", "calibration.json", "labels.json"])
def test_what_somebody_else_left_is_not_cleared_away(tmp_path, own):
    (tmp_path / own).write_text("{}")
    assert not clear_half_started(tmp_path)
    announce(tmp_path, ["prompts.json"])
    (tmp_path / "prompts.json").touch()
    assert not clear_half_started(tmp_path)
    assert set(files_in(tmp_path)) == {own, "prompts.json", "unfinished.json"}
    assert clear_half_started(tmp_path / "new")


def test_a_run_that_is_whole_lists_nothing_as_unfinished(tiny_run):
    assert "unfinished.json" not in files_in(tiny_run)


def test_a_teacher_is_the_same_by_any_path_to_it_and_from_anywhere(
    tiny_recipe, tiny_toytown, tmp_path, monkeypatch
):
    (tmp_path / "clips" / "mini").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    data = {"data_root": tiny_toytown}
    write_json(tmp_path / "recipe.json", to_dict(tiny_recipe))
    for named in (resolve_weights("./clips/mini"), "clips/mini"):  # as it is kept now, and as it was
        Sources(named, str(tiny_toytown), 1, 1, "").write(tmp_path)
        for again in ("clips/mini", "./clips/mini/", str(tmp_path / "clips" / "mini")):
            assert check_folder(tmp_path, tiny_recipe, teacher_weights=again, **data)
        for other in (None, "clips", "openai/mini"):
            with pytest.raises(ValueError, match="another teacher"):
                check_folder(tmp_path, tiny_recipe, teacher_weights=other, **data)
    (tmp_path / "deeper").mkdir()
    kept = resolve_weights("clips/mini")
    monkeypatch.chdir(tmp_path / "deeper")
    assert resolve_weights(kept) == resolve_weights("../clips/mini") == kept
    assert resolve_weights("openai/clip-vit-base-patch32") == "openai/clip-vit-base-patch32"
    assert resolve_weights(None) is None


def test_one_process_learns_in_a_folder_at_a_time(tiny_recipe, tiny_toytown, tmp_path):
    run = tmp_path / "run"
    words = {"data_root": tiny_toytown, "out": run}
    with file_lock(run / "lock"):
        announce(run, ["prompts.json"])
        write_json(run / "prompts.json", {})  # it is about to begin
        with pytest.raises(ValueError, match="another process works in .*run; wait until it is done"):
            pretrain(tiny_recipe, **words)
        assert files_in(run).keys() == {"lock", "prompts.json", "unfinished.json"}
    (run / "lock").touch()  # of a process that was killed
    with pytest.raises(ValueError, match="there is no folder"):
        pretrain(tiny_recipe, teacher_weights=str(tmp_path / "no" / "such" / "clip"), **words)
    assert not files_in(run)


def test_a_run_finds_its_teacher_from_anywhere_and_refuses_a_backbone_that_has_changed(
    tiny_recipe, tiny_toytown, tmp_path, monkeypatch
):
    for name in ("clip", "tower"):
        shutil.copytree(SMALL_CLIP, tmp_path / name)
    loss = replace(
        tiny_recipe.loss, form="pixel-infonce", class_balance=0.0, backbone=str(tmp_path / "tower")
    )
    recipe = replace(tiny_recipe, loss=loss, consistency=replace(tiny_recipe.consistency, weight=0.0))
    monkeypatch.chdir(tmp_path)
    run, _ = create_or_resume(recipe, data_root=tiny_toytown, out=tmp_path / "run", teacher_weights="clip")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert run.text_space().unknown_words("car") == []
    (tmp_path / "tower" / "note.txt").write_text("fine-tuned since")
    with pytest.raises(ValueError, match="the image backbone in .*tower is not the one .*run was trained on"):
        reopen(run, tiny_toytown, split="train")
    assert not (run.folder / "carried").exists()
