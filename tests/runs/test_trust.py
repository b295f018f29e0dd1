import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clip2scene.build_teacher import SMALL_CLIP
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import read_json, write_json
from clip2scene.runs import trust
from clip2scene.runs.run import open_run
from clip2scene.runs.sources import Sources
from clip2scene.runs.trust import require_trust, trust_run, with_seal

NAMED = Sources("hf:somebody/clip", "", 1, 1, "hash")


@pytest.fixture(autouse=True)
def my_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def test_only_own_runs_may_open_what_they_name_and_the_key_is_for_its_user_alone(tmp_path, monkeypatch):
    require_trust(tmp_path, replace(NAMED, teacher_weights=None))  # the model in the package
    sealed = with_seal(NAMED)
    require_trust(tmp_path, sealed)
    assert with_seal(NAMED).seal == sealed.seal
    key = tmp_path / "home" / "clip2scene" / "run-key"
    assert key.stat().st_mode & 0o777 == 0o600 and [*key.parent.iterdir()] == [key]
    for other in (NAMED, replace(sealed, teacher_weights="/usr"), replace(sealed, teacher_hash="other")):
        with pytest.raises(ValueError, match="was not made by you on this machine.*clip2scene trust-run"):
            require_trust(tmp_path, other)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "somebody"))
    with pytest.raises(ValueError, match="'hf:somebody/clip'"):
        require_trust(tmp_path, sealed)


def test_the_proxy_of_a_teacher_is_sealed_too(tmp_path):
    named = replace(NAMED, teacher_weights=None, proxy="/models/dinov2", proxy_hash="dino")
    sealed = with_seal(named)
    require_trust(tmp_path, sealed)
    for other in (named, replace(sealed, proxy="/usr"), replace(sealed, proxy_hash="other")):
        with pytest.raises(ValueError, match=r"asks to open its teacher's proxy '/.*'; if you want"):
            require_trust(tmp_path, other)
    both = replace(named, teacher_weights="hf:somebody/clip")
    with pytest.raises(ValueError, match="model 'hf:somebody/clip' and its teacher's proxy '/models"):
        require_trust(tmp_path, both)


def test_a_strangers_run_segments_in_its_own_words_and_in_others_once_it_is_trusted(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.copytree(SMALL_CLIP, tmp_path / "clip")
    sources = read_json(run / "sources.json")
    write_json(run / "sources.json", sources | {"teacher_weights": str(tmp_path / "clip")})
    segmenter = Segmenter.load(run)
    for ask in (lambda: segmenter.set_prompts(["car"]), lambda: open_run(run).text_weights):
        with pytest.raises(ValueError, match=r"run was not made by you .*asks to open .*clip'"):
            ask()
    assert "may open its teacher's model" in trust_run(run)
    Segmenter.load(run).set_prompts(["car"])
    assert open_run(run).text_weights == str(tmp_path / "clip")
    assert open_run(run).sources.versions == sources["versions"]


def test_there_is_nothing_to_trust_in_a_run_of_the_packages_own_model(tiny_run):
    before = (tiny_run / "sources.json").read_bytes()
    assert "nothing to trust" in trust_run(tiny_run)
    assert (tiny_run / "sources.json").read_bytes() == before


def test_without_a_place_for_a_key_runs_are_made_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(trust, "_key_path", lambda: Path(tmp_path / "file" / "key"))
    assert with_seal(NAMED) == NAMED
    NAMED.write(tmp_path)
    with pytest.raises(ValueError, match="cannot be written; set XDG_DATA_HOME"):
        trust_run(tmp_path)
