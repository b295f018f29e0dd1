import pytest
import torch
import torch.nn.functional as F

from clip2scene.config import LabelsConfig, TuningConfig
from clip2scene.datasets.label_layer import SUFFIX
from clip2scene.distill.lifted import load_lifted
from clip2scene.inference.predict import mean_features, predict
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.student.inputs import prepare_cloud
from clip2scene.training.finetune import Changes, prepare
from clip2scene.training.linear_probe import DECAY
from clip2scene.training.train import train_set

AT_ONCE = {"freeze": True, "fit": "optimum"}
BY_HAND = {"car": [1, 2, 3], "driveable surface": [10, 11]}


def lifted_files(run, lifted):
    return [next(lifted.rglob(f"{token}.safetensors")) for token in run.subset.trained_on]


def test_no_classifier_near_the_one_that_is_found_has_a_smaller_loss(tune, tmp_path, start):
    run = tune(tuning=AT_ONCE, steps=1, into=tmp_path / "lifted")
    student, features, targets = run.student(), [], []
    for path in lifted_files(run, tmp_path / "lifted"):
        lifted = load_lifted(path)
        item = train_set(run, [path]).read(0, torch.Generator())
        hidden = mean_features(student, prepare_cloud(lifted.cloud, student.inputs))
        features.append(hidden[item.target_points[item.targets >= 0]])
        targets.append(item.targets[item.targets >= 0])
    hidden, labels = torch.cat(features), torch.cat(targets)
    scale = hidden.std(0, correction=0).clamp(min=1e-3)

    def loss(weight, bias):
        decay = DECAY * (weight * scale).square().sum()
        return float(F.cross_entropy(F.linear(hidden, weight, bias), labels) + decay)

    found = student.classifier.weight.detach(), student.classifier.bias.detach()
    least = loss(*found)
    words = run.prompts.class_directions()
    assert least < 0.8 * loss(words @ start.weights["head.weight"], words @ start.weights["head.bias"])
    for seed in range(4):
        noise = torch.randn(found[0].shape, generator=torch.Generator().manual_seed(seed)) / scale
        assert loss(found[0] + 0.1 * noise, found[1]) > least


def test_the_backbone_and_the_words_stay_and_a_second_call_changes_nothing(tune, start):
    run = tune(tuning=AT_ONCE, steps=1)
    weights = load_checkpoint(run.checkpoint_path).model
    assert all(torch.equal(weights[name], tensor) for name, tensor in start.weights.items())
    before, lines = run.checkpoint_path.read_bytes(), (run.folder / "log.jsonl").read_text()
    assert len(lines.splitlines()) == 1
    again = tune(tuning=AT_ONCE, steps=1)
    assert again.checkpoint_path.read_bytes() == before
    assert (run.folder / "log.jsonl").read_text() == lines


def test_everywhere_all_samples_teach_and_those_labelled_by_hand_alone_count_as_labelled(
    tune, by_hand, start, tmp_path
):
    layer = by_hand("layer", BY_HAND)
    assert not (layer / f"{by_hand.tokens[1]}{SUFFIX}").exists()
    run = tune(
        corrections=layer, steps=1, tuning=AT_ONCE, labels={"rest": "everywhere"}, into=tmp_path / "lifted"
    )
    assert {*run.subset.tokens} == {*by_hand.tokens}
    assert [*run.labels_used().values()] == [by_hand.tokens[0]]
    names = run.prompts.classes
    by_token = {path.stem: load_lifted(path).labels for path in lifted_files(run, tmp_path / "lifted")}
    assert {names[number] for number in by_token[by_hand.tokens[0]][[1, 2, 3]].tolist()} == {"car"}
    other = load_lifted(next((tmp_path / "lifted").rglob(f"{by_hand.tokens[1]}.safetensors")))
    said = predict(start.run.student(), start.run.prompts, other.cloud).logits.argmax(1)
    assert torch.equal(other.labels, said)


def test_everywhere_needs_labels_by_hand_and_a_run_to_begin_with(tune, by_hand):
    with pytest.raises(ValueError, match="--labels.rest everywhere .* name that run as --start"):
        tune(labels={"rest": "everywhere"}, steps=1)
    with pytest.raises(ValueError, match="--labels.rest everywhere .* name that run as --start"):
        tune(
            begin=None,
            corrections=by_hand("layer", BY_HAND),
            labels={"rest": "everywhere"},
            tuning={"start": "random"},
            steps=1,
        )


def test_settings_that_contradict_each_other_are_refused(tiny_run):
    with pytest.raises(ValueError, match=r"--tuning.fit .*without --tuning.freeze"):
        TuningConfig(head="classifier", fit="optimum")
    with pytest.raises(ValueError, match=r"--tuning.fit .*--tuning.head classifier"):
        TuningConfig(head="words", freeze=True, fit="optimum")
    with pytest.raises(ValueError, match=r"--labels.rest.*where --labels.\* choose"):
        LabelsConfig(rest="everywhere", count=3)
    at_once = TuningConfig(head="classifier", freeze=True, fit="optimum")
    with pytest.raises(ValueError, match="takes no optimiser steps, and --steps says 40; leave it out"):
        prepare(None, tiny_run, Changes(tuning=at_once, steps=40))
    assert prepare(None, tiny_run, Changes(tuning=at_once)).recipe.steps == 1
