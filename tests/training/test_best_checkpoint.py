import pytest
import torch

from clip2scene.io import read_json
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.training import best_checkpoint, record
from clip2scene.training.state import resume
from clip2scene.types import IGNORE_LABEL


def test_the_checkpoint_that_is_best_on_held_out_labels_is_kept(tune):
    run = tune(labels={"holdout": 0.5})
    scores = read_json(run.folder / "choice.json")
    assert set(scores) == {"4"}
    chosen = load_checkpoint(run.folder / "chosen.safetensors")
    assert chosen.step == 4
    assert not set(run.subset.trained_on) & set(run.subset.held_out)
    used = run.student().state_dict()
    assert all(torch.equal(chosen.model[name], tensor) for name, tensor in used.items())


def test_a_worse_checkpoint_does_not_take_the_chosen_ones_place(tune, monkeypatch):
    class Score:
        def __init__(self, miou):
            self.miou = miou

    given = iter([0.2, 0.5, 0.4])
    monkeypatch.setattr(best_checkpoint, "evaluate_samples", lambda *_: {"student": Score(next(given))})
    run = tune(labels={"holdout": 0.5})
    state = resume(run, torch.device("cpu"))
    for step in (5, 6):
        state.step = step
        best_checkpoint.keep_best(run, [], state)
    assert load_checkpoint(run.folder / "chosen.safetensors").step == 5
    assert read_json(run.folder / "choice.json") == {"4": 0.2, "5": 0.5, "6": 0.4}


def test_an_interrupted_choice_is_made_once_more(tune, monkeypatch):
    """Killed after the checkpoint, before it was judged: the resumed call judges it."""
    whole = tune("whole", labels={"holdout": 0.5}, save_every=2)
    monkeypatch.setattr(record, "keep_best", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tune("cut", labels={"holdout": 0.5}, save_every=2)
    monkeypatch.undo()
    cut = tune("cut", labels={"holdout": 0.5}, save_every=2)
    assert read_json(cut.folder / "choice.json") == read_json(whole.folder / "choice.json")
    assert set(read_json(cut.folder / "choice.json")) == {"2", "4"}


def test_held_out_samples_are_judged_by_the_labels_that_may_be_seen(tune, monkeypatch):
    judged = []
    real = best_checkpoint.evaluate_samples

    def evaluate_samples(student, prompts, samples, classes):
        samples = list(samples)
        judged.extend(int((sample.labels != IGNORE_LABEL).sum()) for sample in samples)
        return real(student, prompts, samples, classes)

    monkeypatch.setattr(best_checkpoint, "evaluate_samples", evaluate_samples)
    tune(labels={"holdout": 0.5, "points_per_scene": 9})
    assert judged == [9]
