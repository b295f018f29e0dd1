import shutil

import pytest

from clip2scene.inference.segmenter import Segmenter
from clip2scene.runs import builtin
from clip2scene.runs.builtin import ASSET, BUILTIN, builtin_run, run_folder
from clip2scene.runs.run import open_run


@pytest.fixture
def shipped(tiny_run, tmp_path, monkeypatch):
    """The student in the package, for which a tiny run stands in."""
    asset = shutil.copytree(tiny_run, tmp_path / "package" / "student")
    monkeypatch.setattr(builtin, "ASSET", asset)
    monkeypatch.chdir(tmp_path)
    return asset


def test_the_student_in_the_package_is_opened_by_its_name(shipped, caplog):
    assert builtin_run() == run_folder(BUILTIN) == open_run(BUILTIN).folder == shipped
    segmenter = Segmenter.load(BUILTIN)
    segmenter.set_prompts(["car", "road"])
    assert segmenter.prompts.classes == ("car", "road")
    assert not caplog.records


def test_other_names_are_folders(shipped, tmp_path):
    for name in ("run", tmp_path / BUILTIN, "builtin/run"):
        assert run_folder(name) == type(tmp_path)(name)


def test_a_run_of_that_name_goes_first_and_says_so(shipped, tiny_run, tmp_path, caplog):
    shutil.copytree(tiny_run, tmp_path / BUILTIN)
    assert open_run(BUILTIN).folder == type(tmp_path)(BUILTIN)
    (record,) = caplog.records
    assert "is the run in the folder of that name" in record.getMessage()


def test_another_folder_of_that_name_does_not_and_that_is_said_too(shipped, tmp_path, caplog):
    (tmp_path / BUILTIN).mkdir()
    assert run_folder(BUILTIN) == shipped
    (record,) = caplog.records
    assert "is the student in the package" in record.getMessage()


def test_a_package_without_it_says_so_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(builtin, "ASSET", tmp_path / "none")
    with pytest.raises(
        ValueError, match="'builtin' is the student that comes with clip2scene, but .*not there"
    ):
        open_run(BUILTIN)


def test_the_shipped_student_is_small_and_knows_the_small_models_words():
    assert sum(path.stat().st_size for path in ASSET.iterdir()) <= 20 * 2**20
    run = open_run(ASSET)
    assert run.sources.teacher_weights is None and run.sources.data_root == ""
    segmenter = Segmenter.load(BUILTIN)
    segmenter.set_prompts(["car", "person", "hedge"])
    with pytest.raises(ValueError, match="never taught zebra; .*such as .*car"):
        segmenter.set_prompts(["zebra"])
