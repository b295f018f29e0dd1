import shutil

import pytest

from clip2scene.datasets.clouds.labelled.codes import plain_codes
from clip2scene.inference import answered
from clip2scene.inference.answered import is_answered, key_of
from clip2scene.inference.figures import word_palette
from clip2scene.runs.run import open_run


@pytest.fixture
def cloud(tmp_path):
    path = tmp_path / "one.bin"
    path.write_bytes(b"1234")
    return path


def test_a_key_stands_for_the_run_the_cloud_and_what_is_asked(tiny_run, cloud):
    run = open_run(tiny_run)
    key = key_of(run, cloud, None, ["car"], 0.5)
    assert key == key_of(run, cloud, None, ["car"], 0.5)
    assert key not in (key_of(run, cloud, None, ["car"], 0.7), key_of(run, cloud, None, ["tree"], 0.5))
    cloud.write_bytes(b"12345678")
    assert key != key_of(run, cloud, None, ["car"], 0.5)


def test_a_key_stands_for_every_file_that_labels_follow_from_and_the_version(
    tiny_run, cloud, tmp_path, monkeypatch
):
    run, words = open_run(shutil.copytree(tiny_run, tmp_path / "run")), tmp_path / "words-clip.npy"
    words.touch()
    keys = [key_of(run, cloud, words)]
    changed = [
        *(run.folder / name for name in ("recipe.json", "prompts.safetensors", "clouds.json")),
        *(run.folder / name for name in ("chosen.safetensors", "calibration.json", "confidence.json")),
        *(words, tmp_path / "words-names.json"),
    ]
    for path in changed:
        path.write_bytes(b"{}" if not path.exists() else path.read_bytes() + b" ")
        keys.append(key_of(run, cloud, words))
    monkeypatch.setattr(answered, "version", lambda name: "0.0.0")
    keys.append(key_of(run, cloud, words))
    assert len(set(keys)) == len(changed) + 2


def test_an_answer_is_whole_with_all_of_its_files_and_its_own_key(tmp_path):
    table, result = tmp_path / "one.classes.json", tmp_path / "one.label"
    assert not is_answered("a", table, [result])
    plain_codes(["car"], word_palette(1).numpy()).write(table, result.name, key="a")
    assert not is_answered("a", table, [result])
    result.touch()
    assert is_answered("a", table, [result]) and not is_answered("b", table, [result])
    table.write_text("{")
    assert not is_answered("a", table, [result])
