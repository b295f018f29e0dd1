import mmap
import sys

import pytest
import torch

from clip2scene.evaluation.evaluate import evaluate
from clip2scene.io import read_json
from clip2scene.runs import cost
from clip2scene.runs.cost import Cost, memory_shown, peak_memory, read_cost, resident_memory, shown_command
from clip2scene.training.train import pretrain

CPU = torch.device("cpu")


def test_a_command_is_shown_without_the_machines_paths(tmp_path):
    shown = shown_command(["/opt/x/clip2scene", "ablate", "--out", str(tmp_path), "--loss.weight=0.5", "a/b"])
    assert shown == f"clip2scene ablate --out {tmp_path.name} --loss.weight=0.5 a/b"


def test_each_call_adds_its_stages_to_those_before(tmp_path):
    for work in ("pretrain", "evaluate"):
        this = Cost(tmp_path, work, CPU)
        this.begin("lift")
        this.begin("train")
        this.begin("lift")
        this.save()
        this.save()  # at each checkpoint; a call stays one entry
    first, second = read_cost(tmp_path)
    assert (first["work"], second["work"]) == ("pretrain", "evaluate")
    assert list(first["stages"]) == ["open", "lift", "train"]
    assert first["memory_peak"] > 10_000_000 and first["gpu_memory_peak"] is None


def test_calls_at_the_same_time_keep_each_others_entries_and_their_order(tmp_path):
    first, second = (Cost(tmp_path, work, CPU) for work in ("pretrain", "evaluate"))
    for each in (first, second, first, second):
        each.save()
    assert [call["work"] for call in read_cost(tmp_path)] == ["pretrain", "evaluate"]
    assert [path.name for path in tmp_path.iterdir()] == [cost.COST]


def test_a_damaged_cost_is_named_before_anything_is_done(tmp_path):
    (tmp_path / cost.COST).write_text('{"calls": [{"work": 3}]}')
    with pytest.raises(ValueError, match=r"cost\.json is not what was written"):
        Cost(tmp_path, "pretrain", CPU)


def test_training_and_evaluation_say_what_they_cost(tiny_run):
    trained, judged = read_cost(tiny_run)
    assert list(trained["stages"]) == ["open", "lift", "train", "confidence"]
    assert list(judged["stages"]) == ["open", "lift", "score"]
    assert trained["steps"] == [0, 6] and not judged["steps"]
    assert trained["versions"]["torch"] == torch.__version__


def test_a_resumed_run_says_from_which_step_each_call_went(tiny_recipe, tiny_toytown, tmp_path, monkeypatch):
    from clip2scene.training import record

    saved = record.save

    def stop_after_saving(run, state):
        saved(run, state)
        if state.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(record, "save", stop_after_saving)
    with pytest.raises(KeyboardInterrupt):
        pretrain(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "run", save_every=2)
    monkeypatch.setattr(record, "save", saved)
    pretrain(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "run", save_every=2)
    assert [call["steps"] for call in read_cost(tmp_path / "run")] == [[0, 2], [4, 6]]


def test_a_run_of_earlier_versions_is_judged_and_keeps_what_it_has(tiny_run, tiny_toytown, tmp_path):
    import shutil

    folder = tmp_path / "old"
    shutil.copytree(tiny_run, folder)
    (folder / cost.COST).unlink()
    before = read_json(folder / "metrics.json")
    evaluate(folder, data_root=tiny_toytown)
    assert read_json(folder / "metrics.json") == before
    assert [call["work"] for call in read_cost(folder)] == ["evaluate"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory held now")
def test_memory_is_told_as_it_is_held():
    before = resident_memory()
    held = mmap.mmap(-1, 50_000_000)  # of the system itself: torch would take what this process had freed
    held.write(b"1" * len(held))
    assert 40_000_000 < resident_memory() - before < 150_000_000
    assert peak_memory() >= resident_memory() - 5_000_000
    assert memory_shown(CPU).endswith(" GB") and "/" in memory_shown(CPU)
    held.close()


def test_the_commit_is_known_only_in_a_checkout_of_this_package(monkeypatch, tmp_path):
    monkeypatch.setattr(cost, "_SOURCE", tmp_path)
    assert cost.commit() == ""
