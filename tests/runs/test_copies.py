import pytest

from clip2scene.io import read_json, write_json
from clip2scene.runs import copies
from clip2scene.runs.copies import copy_run, require_own_folder
from clip2scene.runs.run import open_run


def test_a_copy_has_what_the_student_needs_and_nothing_else(tiny_run, tmp_path):
    copy = copy_run(open_run(tiny_run), tmp_path / "copy")
    there = {path.name for path in copy.folder.iterdir()}
    assert {"recipe.json", "prompts.json", "sources.json", "checkpoint.safetensors", "clouds.json"} <= there
    assert not {"carried", "log.jsonl", "metrics.json", "lock"} & there
    assert copy.recipe == open_run(tiny_run).recipe
    copy.student()


def test_a_copy_that_is_there_is_taken_and_another_run_refused(tiny_run, tmp_path):
    run = open_run(tiny_run)
    copy = copy_run(run, tmp_path / "copy")
    write_json(copy.folder / "metrics.json", {})
    assert copy_run(run, copy.folder).sources == copy.sources
    assert (copy.folder / "metrics.json").exists()
    prompts = read_json(copy.folder / "prompts.json")
    write_json(copy.folder / "prompts.json", {**prompts, "names": prompts["names"][::-1]})
    with pytest.raises(ValueError, match="holds another run than .*another --out"):
        copy_run(run, copy.folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="already exists"):
        copy_run(run, tmp_path / "full")


def test_what_is_not_trained_is_not_copied(tiny_run, tmp_path):
    run = copy_run(open_run(tiny_run), tmp_path / "run")
    (run.folder / "checkpoint.safetensors").unlink()
    with pytest.raises(ValueError, match="run has no checkpoint"):
        copy_run(run, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_nothing_is_written_into_the_package(tiny_run, monkeypatch):
    run = open_run(tiny_run)
    require_own_folder(run)
    monkeypatch.setattr(copies, "ASSET", tiny_run)
    with pytest.raises(ValueError, match="builtin is a part of the package.*--out"):
        require_own_folder(run)
