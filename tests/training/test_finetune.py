import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.lifting import lift

from clip2scene.build import open_dataset
from clip2scene.cli.answering import segment
from clip2scene.config import AugmentConfig, LabelsConfig, StudentConfig, TuningConfig
from clip2scene.datasets.label_layer import SUFFIX
from clip2scene.datasets.label_subset import choose
from clip2scene.distill.lifted import load_lifted
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.inference.predict import predict
from clip2scene.inference.rank_scenes import rank, read_ranking
from clip2scene.inference.segmenter import Segmenter
from clip2scene.io import read_json
from clip2scene.recipes import USUAL_TUNING, fine_tuned
from clip2scene.runs.checkpoint import load_checkpoint
from clip2scene.runs.init_weights import init_weights_of
from clip2scene.runs.run import open_run
from clip2scene.student.published import Loaded
from clip2scene.training import finetune as finetuning
from clip2scene.training import train
from clip2scene.training.finetune import Changes, Plan, prepare
from clip2scene.training.train import finetune
from clip2scene.types import IGNORE_LABEL

SMALL = StudentConfig(network="minkunet14a", width=0.25, voxel_size=0.5)


@pytest.fixture
def painted(tiny_toytown, tmp_path, label_files):
    """Copy the data, and give each keyframe of the train split one raw id: the taught one, the other one."""

    def paint(*raw_ids):
        root = tmp_path / "painted"
        if not root.exists():
            shutil.copytree(tiny_toytown, root)
        files = label_files(root)
        subset = choose({token: token for token in files}, holdout=0.5)
        for token, raw_id in zip([*subset.trained_on, *subset.held_out], raw_ids, strict=True):
            files[token].write_bytes(bytes([raw_id]) * files[token].stat().st_size)
        return root

    return paint


NOISE, PEDESTRIAN, CAR = 0, 2, 17


def learnt(run):
    """The weights that learn, not their running mean."""
    return load_checkpoint(run.checkpoint_path).optimizer["weights"]


def moved(run, start):
    """How far each of the start's tensors has gone."""
    now = learnt(run)
    return {name: float((now[name] - tensor).abs().max()) for name, tensor in start.weights.items()}


def test_a_run_begins_with_the_weights_of_its_start(tune, start):
    run = tune(rate=1e-12)
    assert (
        max(far for name, far in moved(run, start).items() if "running" not in name and "num" not in name)
        < 1e-9
    )
    assert run.sources.began_with_words
    chance = learnt(tune("chance", begin=None, rate=1e-12, tuning={"start": "random"}))
    assert not torch.allclose(chance["head.weight"], start.weights["head.weight"])


def test_the_classifier_begins_where_the_words_stand(tune, tiny_toytown, lifted):
    run = tune(rate=1e-12, tuning={"freeze": True})
    cloud = load_lifted(lift(run, tiny_toytown, split="val", labels=True, into=lifted)[0]).cloud
    found = predict(run.student(), run.prompts, cloud)
    single = torch.bincount(run.prompts.class_of_name) == 1
    torch.testing.assert_close(
        found.classifier_logits[:, single], found.text_logits[:, single], rtol=1e-3, atol=1e-3
    )
    drawn = tune("random", rate=1e-12, tuning={"freeze": True, "start": "random"}).student()
    assert not torch.allclose(drawn.classifier.weight, run.student().classifier.weight, atol=1e-3)


def test_linear_probing_moves_the_classifier_and_nothing_else(tune, start):
    run = tune(tuning={"freeze": True}, rate=0.05)
    assert max(moved(run, start).values()) == 0.0  # batch statistics too
    before = tune("before", tuning={"freeze": True}, rate=1e-12)
    assert not torch.allclose(
        learnt(run)["classifier.weight"], learnt(before)["classifier.weight"], atol=1e-3
    )


def test_the_heads_rate_reaches_the_head(tune):
    slow = learnt(tune("slow", rate=1e-3, tuning={"head_rate": 1.0}, steps=1))
    fast = learnt(tune("fast", rate=1e-3, tuning={"head_rate": 100.0}, steps=1))
    begun = learnt(tune("begun", rate=1e-12, steps=1))
    name = "classifier.weight"
    far_slow, far_fast = ((each[name] - begun[name]).abs().mean() for each in (slow, fast))
    assert far_fast > 50 * far_slow > 0
    assert torch.equal(slow["backbone.stem.conv.weight"], fast["backbone.stem.conv.weight"])


def test_earlier_layers_move_less_by_layer_decay(tune, start):
    far = moved(tune(rate=1e-3, tuning={"layer_decay": 0.5}, steps=1), start)
    last, first = far["backbone.ascents.3.up.conv.weight"], far["backbone.stem.conv.weight"]
    assert 0 < 100 * first < last


def test_words_are_kept_if_that_is_asked_for(tune, tiny_toytown, lifted, start):
    def likeness(run):
        cloud = load_lifted(lift(run, tiny_toytown, split="val", labels=True, into=lifted)[0]).cloud
        now, before = (
            predict(each.student(), run.prompts, cloud, with_embeddings=True).embeddings
            for each in (run, begun)
        )
        return float(torch.nn.functional.cosine_similarity(now, before).mean())

    begun = tune("begun", rate=1e-12, tuning={"freeze": True})
    faded = likeness(tune("faded", rate=0.02, steps=12))
    kept = likeness(tune("kept", rate=0.02, steps=12, tuning={"keep_words": 50.0}))
    assert kept > faded + 0.02


@pytest.mark.parametrize("tuning", [{}, {"keep_words": 1.0}, {"freeze": True}])
def test_an_interrupted_fine_tuning_ends_like_an_uninterrupted_one(tune, tmp_path, monkeypatch, tuning):
    whole = tune("whole", tuning=tuning)
    read = train.TrainSet.read_step

    def stop(train_items, step):
        if step == 2:
            raise KeyboardInterrupt
        return read(train_items, step)

    monkeypatch.setattr(train.TrainSet, "read_step", stop)
    with pytest.raises(KeyboardInterrupt):
        tune("cut", tuning=tuning, save_every=1)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "cut" / "checkpoint.safetensors").step == 2
    cut = tune("cut", tuning=tuning)
    for name, tensor in learnt(whole).items():
        assert torch.equal(tensor, learnt(cut)[name]), name


def test_only_the_chosen_keyframes_are_read(tune, painted, label_files):
    root = painted(CAR, CAR)
    run = tune(labels={"count": 1}, root=root, steps=1)
    assert set(run.labels_used().values()) == set(run.subset.tokens)
    (token,) = run.subset.tokens
    (other,) = set(label_files(root)) - {token}
    label_files(root)[other].write_bytes(b"no labels")  # whoever opens it complains
    tune("anew", labels={"count": 1}, root=root, steps=1)
    with pytest.raises(ValueError, match="holds 9 labels"):
        tune("both", labels={"count": 2}, root=root, steps=1)


CAR_AND_ROAD = {"car": [1, 2, 3], "driveable surface": [10, 11]}


def test_labels_by_hand_teach_their_points_alone_and_no_label_of_the_data_is_opened(
    tune, by_hand, painted, label_files, lifted
):
    root = painted(CAR, CAR)
    for path in label_files(root).values():
        path.write_bytes(b"no labels")  # whoever opens it complains
    run = tune(corrections=by_hand("layer", CAR_AND_ROAD), root=root, steps=2, labels={"rest": "nothing"})
    assert run.subset.tokens == by_hand.tokens[:1] and [*run.labels_used().values()] == [by_hand.tokens[0]]
    (path,) = [
        path
        for path in lifted.rglob(f"{by_hand.tokens[0]}.safetensors")
        if "layers" in read_json(path.parent / "manifest.json")["sources"]
    ]
    targets, classes = load_lifted(path).labels, run.prompts.classes
    assert (targets >= 0).nonzero()[:, 0].tolist() == [1, 2, 3, 10, 11]
    assert {classes[number] for number in targets[targets >= 0].unique()} == {*CAR_AND_ROAD}


def taught(run, lifted, token):
    """Give what a keyframe teaches a run of labels by hand."""
    (key,) = [
        path.parent
        for path in lifted.rglob("manifest.json")
        if read_json(path)["sources"].get("layers") == run.corrections
        and (path.parent / f"{token}.safetensors").exists()
    ]
    labels = load_lifted(key / f"{token}.safetensors").labels
    return run.label_mask(token, labels)


def test_points_that_nobody_corrected_teach_what_the_start_says(tune, by_hand, start, tiny_toytown, tmp_path):
    run = tune(corrections=by_hand("layer", CAR_AND_ROAD), steps=1, into=tmp_path / "lifted")
    targets, classes = taught(run, tmp_path / "lifted", by_hand.tokens[0]), run.prompts.classes
    assert {classes[number] for number in targets[[1, 2, 3]].tolist()} == {"car"}
    dataset = open_dataset(run.recipe.data, tiny_toytown, split="train", sweeps=1)
    predicted = predict(start.run.student(), start.run.prompts, dataset[0].cloud).logits.argmax(1)
    rest = torch.ones(len(targets), dtype=torch.bool)
    rest[[1, 2, 3, 10, 11]] = False
    assert torch.equal(targets[rest], predicted[rest]) and (targets >= 0).all()


def test_what_the_start_says_of_the_rest_is_of_the_runs_identity(tune, by_hand, start):
    layer = by_hand("layer", CAR_AND_ROAD)
    run = tune(corrections=layer, steps=1)
    prompts = replace(start.run.prompts, embeddings=start.run.prompts.embeddings.roll(1, 0))
    other = replace(start, run=replace(start.run, prompts=prompts))  # the same weights say other things
    with pytest.raises(ValueError, match="on other answers of the start for the rest"):
        tune(corrections=layer, steps=1, begin=other)
    assert (
        tune("nothing", corrections=layer, steps=1, labels={"rest": "nothing"}).corrections != run.corrections
    )


def test_single_points_are_chosen_among_those_labelled_by_hand(tune, by_hand, tmp_path):
    layer = by_hand("layer", {"car": [1, 2, 3, 4], "driveable surface": [10, 11]})
    run = tune(corrections=layer, steps=1, labels={"points_per_scene": 3}, into=tmp_path / "lifted")
    targets = taught(run, tmp_path / "lifted", by_hand.tokens[0])
    chosen = targets[[1, 2, 3, 4, 10, 11]] >= 0
    assert int(chosen.sum()) == 3 and int((targets < 0).sum()) == 3  # the rest is all there


def test_labels_by_hand_are_taken_in_the_order_of_a_ranking(tune, by_hand, start, tiny_toytown, tmp_path):
    rank(start.run.folder, data_root=tiny_toytown, out=tmp_path / "order.json", by="keyframe")
    by, order = read_ranking(tmp_path / "order.json")
    assert {*order} == {*by_hand.tokens}
    both = by_hand("both", {"car": [1, 2]}, {"car": [5]})
    labels = {"by": by, "ranking": order, "count": 1}
    assert tune("first", corrections=both, steps=1, labels=labels).subset.tokens == order[:1]
    (both / f"{order[0]}{SUFFIX}").unlink()  # of the ranking, what nobody labelled is passed over
    assert tune("second", corrections=both, steps=1, labels=labels).subset.tokens == order[1:]
    with pytest.raises(ValueError, match="which is not in the split"):
        tune("third", corrections=both, steps=1, labels=labels | {"ranking": ("nowhere",)})


def test_a_run_is_not_judged_by_what_was_labelled_by_hand(tune, by_hand, tiny_toytown, lifted):
    run = tune(corrections=by_hand("layer", CAR_AND_ROAD), steps=1)
    with pytest.raises(ValueError, match="labels"):
        evaluate(run.folder, data_root=tiny_toytown, split="train", lifted=lifted)


def test_a_run_of_labels_by_hand_goes_on_with_these_alone(tune, by_hand):
    first = tune(corrections=by_hand("layer", CAR_AND_ROAD), steps=1)
    assert first.corrections is not None
    tune(corrections=by_hand("layer", CAR_AND_ROAD), steps=1)  # the same labels, written again
    with pytest.raises(
        ValueError, match="other labels by hand, .* or on the data set's own labels; give another --out"
    ):
        tune(corrections=by_hand("layer", {"car": [1, 2]}), steps=1)
    with pytest.raises(ValueError, match="give another --out"):
        tune(steps=1)
    assert tune("plain", steps=1).corrections is None
    with pytest.raises(ValueError, match="give another --out"):
        tune("plain", corrections=by_hand("layer", CAR_AND_ROAD), steps=1)


def test_labels_by_hand_that_do_not_fit_are_one_sentence_and_leave_the_folder_to_others(
    tune, by_hand, tmp_path
):
    with pytest.raises(ValueError, match="is no folder of labels; clip2scene view --corrections makes one"):
        tune(corrections=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no label of the 2 samples of the split: label some of these"):
        tune(corrections=tmp_path / "empty")
    assert not by_hand("blank", {}).exists()
    other = by_hand("other", {"zebra": [1]}, classes=("zebra", "car"))
    with pytest.raises(ValueError, match="labels points as 'zebra', expected some of"):
        tune(corrections=other)
    swapped = by_hand("swapped", CAR_AND_ROAD, {"car": [5]})
    one, two = (swapped / f"{token}{SUFFIX}" for token in by_hand.tokens)
    arrays = dict(np.load(one))
    np.savez(one, **arrays | {"cloud": np.load(two)["cloud"]})
    with pytest.raises(ValueError, match="belongs to another cloud"):
        tune(corrections=swapped)
    np.savez(one, **arrays | {"labels": arrays["labels"][:-1]})
    with pytest.raises(ValueError, match="labels, but the cloud of"):
        tune(corrections=swapped)
    tune(corrections=by_hand("layer", CAR_AND_ROAD), steps=1)


def test_single_points_and_single_classes_are_learnt(tune, tiny_toytown, lifted):
    run = tune(labels={"count": 1, "points_per_scene": 7})
    path = lift(run, tiny_toytown, split="train", labels=run.subset.tokens, into=lifted)[0]
    labels = load_lifted(path).labels
    assert int((run.label_mask(path.stem, labels) != IGNORE_LABEL).sum()) == 7
    two = tune("two", labels={"classes": ("car", "manmade")})
    seen = two.label_mask(path.stem, labels)
    wanted = {run.prompts.classes.index(name) for name in ("car", "manmade")}
    assert set(seen[seen != IGNORE_LABEL].tolist()) == wanted


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"fraction": 0.1}, "is no choice among these"),
        ({"by": "scene", "count": 2}, "split has 1 scenes or keyframes"),
        ({"absent": "refuse", "points_per_scene": 1}, "no labelled point is of .*--labels.absent allow"),
        ({"classes": ("car", "spaceship")}, "labels.classes names 'spaceship'"),
        ({"ranking": ("scene-nowhere",)}, "which is not in the split"),
        ({"holdout": 0.5, "count": 1}, "none would be left"),
    ],
)
def test_labels_that_teach_nothing_are_refused(tune, labels, message):
    with pytest.raises(ValueError, match=message):
        tune(labels=labels)


def test_a_run_is_not_judged_by_what_it_learnt_from(tune, tiny_toytown, lifted):
    run = tune()
    with pytest.raises(ValueError, match="trained on the labels of 2 of these 2 samples"):
        evaluate(run.folder, data_root=tiny_toytown, split="train", lifted=lifted)


def test_words_are_judged_beside_the_classifier(tune, tiny_toytown, lifted):
    run = tune(rate=0.05, tuning={"start": "random"})
    scores = evaluate(run.folder, data_root=tiny_toytown, lifted=lifted)
    assert {"student", "words", "words_seen"} <= set(scores)
    assert scores["student"].miou != scores["words"].miou
    assert "words" in read_json(run.folder / "metrics.json")["columns"]


def test_the_segmenter_answers_by_the_classifier_until_other_words_are_asked_for(tune, tiny_toytown, lifted):
    run = tune(rate=0.05, tuning={"start": "random"})
    cloud = load_lifted(lift(run, tiny_toytown, split="val", labels=True, into=lifted)[0]).cloud
    found = predict(run.student(), run.prompts, cloud)
    segmenter = Segmenter.load(run.folder)
    assert torch.equal(segmenter.segment(cloud).labels, found.classifier_logits.argmax(1))
    segmenter.set_prompts(["car", "road"])
    assert set(segmenter.segment(cloud).labels.tolist()) <= {-1, 0, 1}


def test_a_label_free_recipe_is_refused(tiny_recipe, tiny_toytown, tmp_path):
    with pytest.raises(ValueError, match="does without"):
        finetune(tiny_recipe, data_root=tiny_toytown, out=tmp_path / "run")


def test_a_run_of_one_data_set_starts_another(tiny_run, tiny_kitti, tmp_path):
    """Cross-domain: from nuScenes' layout and classes to SemanticKITTI's."""
    labels = LabelsConfig(by="keyframe", absent="allow")
    changes = Changes(layout="semantic-kitti", labels=labels, steps=2)
    plan = prepare(None, tiny_run, changes)
    plan = replace(plan, recipe=replace(plan.recipe, augment=AugmentConfig()))
    finetune(
        plan.recipe,
        data_root=tiny_kitti,
        out=tmp_path,
        start=plan.start,
        teacher_weights=plan.teacher_weights,
    )
    run = open_run(tmp_path)
    assert run.class_mapping.classes != open_run(tiny_run).class_mapping.classes
    scores = evaluate(tmp_path, data_root=tiny_kitti)
    assert 0 <= scores["student"].miou <= 1


def test_from_chance_nothing_learns_slower(tiny_run):
    chance, started = prepare("toytown", None, Changes()), prepare(None, tiny_run, Changes())
    assert prepare(None, None, Changes()) == chance
    assert [each.recipe.tuning.start for each in (chance, started)] == ["random", "words"]
    assert chance.recipe.tuning.head_rate == 1.0
    assert chance.start is None
    assert started.recipe.tuning.head_rate == pytest.approx(5.0)
    slower = prepare("toytown", None, Changes(tuning=TuningConfig(head="classifier", layer_decay=0.8)))
    assert slower.recipe.tuning.head_rate == 1.0
    fast, slow = (plan.recipe.optimiser.learning_rate for plan in (chance, started))
    assert slow == pytest.approx(fast / 5)
    with pytest.raises(ValueError, match="unknown recipe 'toyville'"):
        prepare("toyville", None, Changes())


@pytest.mark.parametrize("name", ["toytown", "toyville"])
def test_a_recipe_beside_a_run_is_refused(tiny_run, name):
    with pytest.raises(ValueError, match=f"--recipe names '{name}' beside it; leave --recipe out"):
        prepare(name, tiny_run, Changes())


def test_what_labels_have_taught_goes_on_at_the_same_rates_as_other_starts(
    tiny_recipe, tiny_toytown, tmp_path, lifted
):
    labels = LabelsConfig(by="keyframe", absent="allow")
    fast = tiny_recipe.optimiser.learning_rate
    plan = Plan(replace(fine_tuned(tiny_recipe, from_chance=True), labels=labels, steps=1))
    for name in ("from chance", "once more"):
        out = tmp_path / name
        finetune(plan.recipe, data_root=tiny_toytown, out=out, start=plan.start, lifted=lifted)
        again = prepare(None, out, Changes()).recipe
        assert again.optimiser.learning_rate == pytest.approx(fast / 5)
        assert (again.tuning.head_rate, again.steps) == (pytest.approx(5.0), 600)
        assert again.name == "toytown-finetuned"
        plan = prepare(
            None, out, Changes(labels=labels, steps=1, tuning=replace(USUAL_TUNING, head_rate=40.0))
        )


def test_a_published_backbone_starts_a_run_and_its_head_is_left_out(
    recipe, tiny_toytown, tmp_path, monkeypatch
):
    def fill(path, backbone):
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.fill_(0.25)
        return Loaded("someone's layout", 3, left_out=("queue (1 tensors)",))

    monkeypatch.setattr(finetuning, "load_published", fill)
    (tmp_path / "weights.pt").write_bytes(b"")
    begun = finetuning.open_published(tmp_path / "weights.pt", replace(recipe, student=SMALL))
    assert not begun.knows_words
    assert all(name.startswith("backbone.") for name in begun.weights)
    assert begun.report == ("3 tensors loaded, layout someone's layout", "left out: queue (1 tensors)")
    still = replace(recipe.optimiser, learning_rate=1e-12)
    random = replace(recipe.tuning, start="random")
    tuned = replace(recipe, student=SMALL, optimiser=still, tuning=random, steps=1)
    finetune(tuned, data_root=tiny_toytown, out=tmp_path / "run", start=begun)
    assert open_run(tmp_path / "run").sources.init["report"] == list(begun.report)
    weights = learnt(open_run(tmp_path / "run"))
    torch.testing.assert_close(
        weights["backbone.stem.conv.weight"], torch.full_like(weights["backbone.stem.conv.weight"], 0.25)
    )


def test_a_file_of_another_network_is_refused_in_a_sentence(tmp_path):
    published = Path(__file__).parents[1] / "data" / "engines" / "minkowski.safetensors"
    with pytest.raises(ValueError, match="minkowski.safetensors"):
        prepare("slidr", published, Changes())
    with pytest.raises(ValueError, match="unknown recipe"):
        prepare("nobodys", published, Changes())


def test_a_run_starts_its_own_network_alone(tiny_run):
    plan = prepare("toytown", None, Changes(network="spunet34"))
    assert plan.recipe.student.network == "spunet34"
    with pytest.raises(ValueError, match="was trained with network minkunet14a"):
        prepare(None, tiny_run, Changes(network="spvcnn"))


def test_the_mean_of_the_weights_of_a_short_run_is_nearer_to_its_end_than_to_its_start(tune, start):
    run = tune(rate=1e-3, steps=6)
    end, mean = learnt(run), load_checkpoint(run.checkpoint_path).model
    name = "backbone.stem.conv.weight"
    assert run.recipe.optimiser.average == 0.99
    assert (end[name] - mean[name]).norm() < 0.5 * (end[name] - start.weights[name]).norm()


def test_refused_labels_leave_the_folder_to_other_settings(tune):
    """What was carried before they were refused lies in the run's own folder and stays there."""
    with pytest.raises(ValueError, match="no labelled point is of"):
        tune(labels={"absent": "refuse", "points_per_scene": 1}, into=None)
    tune(labels={"absent": "allow", "points_per_scene": 1}, into=None, steps=1)


def test_a_class_without_any_point_is_named_and_the_folder_left_to_others(tune, painted):
    root = painted(CAR, CAR)
    with pytest.raises(ValueError, match="no labelled point is of pedestrian, so .* nothing to train on"):
        tune(labels={"classes": ("pedestrian",)}, root=root, into=None)
    with pytest.raises(ValueError, match="no labelled point is of pedestrian; label more"):
        tune(labels={"classes": ("pedestrian", "car"), "absent": "refuse"}, root=root, into=None)
    tune(labels={"classes": ("car",), "absent": "refuse"}, root=root, into=None, steps=1)
    with pytest.raises(ValueError, match="no labelled point is of any class, so there is nothing"):
        tune("none", root=painted(NOISE, NOISE))


def test_a_class_that_is_only_held_out_is_refused(tune, painted):
    root = painted(CAR, PEDESTRIAN)
    with pytest.raises(ValueError, match=r"is of .*pedestrian.* \(pedestrian only in what is held out\)"):
        tune(labels={"holdout": 0.5, "absent": "refuse"}, root=root)


def test_held_out_samples_without_labels_are_refused_before_the_first_step(tune, painted):
    root = painted(CAR, NOISE)
    with pytest.raises(ValueError, match="1 held-out samples have no label to choose by"):
        tune("run", labels={"holdout": 0.5}, root=root, save_every=1, into=None)
    run = tune("run", labels={"holdout": 0.0}, root=root, into=None, steps=1)
    assert len((run.folder / "log.jsonl").read_text().splitlines()) == 1


def test_a_finished_run_stays_a_run_when_its_labels_lose_a_class(tune, painted):
    labels = {"classes": ("car", "pedestrian"), "absent": "refuse"}
    run = tune(labels=labels, root=painted(CAR, PEDESTRIAN), into=None, steps=1)
    before = (run.folder / "recipe.json").read_bytes()
    with pytest.raises(ValueError, match="no labelled point is of pedestrian"):
        tune(labels=labels, root=painted(CAR, CAR), into=None, steps=1)
    assert (run.folder / "recipe.json").read_bytes() == before
    assert open_run(run.folder).student()


def test_who_never_learnt_words_is_not_asked_for_any(tune, tiny_toytown, tmp_path, lifted, start):
    run = tune(begin=None, tuning={"start": "random"}, steps=1)
    scores = evaluate(run.folder, data_root=tiny_toytown, lifted=lifted)
    assert "student" in scores and not {"words", "words_seen"} & set(scores)
    cloud = tmp_path / "cloud.npy"
    np.save(cloud, np.random.default_rng(0).random((50, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="its text head never was, so it cannot be prompted with car, tree"):
        segment(run.folder, (cloud,), prompts="car,tree", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    begun = init_weights_of(run.folder)
    assert not begun.knows_words
    for tuning in ({"keep_words": 1.0, "start": "random"}, {"start": "words"}):
        with pytest.raises(ValueError, match="needs a start with a trained text head"):
            tune("next", begin=begun, tuning=tuning)
    again = tune("next", begin=begun, tuning={"start": "random"}, steps=1)
    assert not again.knows_words and not init_weights_of(again.folder).knows_words
    taught = tune("taught", begin=None, tuning={"head": "words"}, steps=1)
    assert taught.knows_words and init_weights_of(taught.folder).knows_words
    assert prepare(None, again.folder, Changes()).recipe.tuning.start == "random"
    assert init_weights_of(tune("kept", steps=1).folder).knows_words


def test_what_a_start_has_seen_counts_too_wherever_the_data_lie(tune, tiny_toytown, tmp_path, lifted):
    first = tune("first")
    second = tune("second", begin=init_weights_of(first.folder), labels={"count": 1}, rate=1e-12)
    assert set(second.labels_used().values()) == set(first.subset.tokens)
    classifier = learnt(second)["classifier.weight"]
    torch.testing.assert_close(classifier, first.student().classifier.weight, rtol=0, atol=1e-6)
    moved_data = tmp_path / "elsewhere"
    shutil.copytree(tiny_toytown, moved_data)
    with pytest.raises(ValueError, match="trained on the labels of 2 of these 2"):
        evaluate(second.folder, data_root=moved_data, split="train")


def test_a_batch_is_as_large_as_is_asked_for_whatever_the_start_had(tiny_run):
    had = open_run(tiny_run).recipe.batch_size
    assert prepare(None, tiny_run, Changes()).recipe.batch_size == had
    assert prepare(None, tiny_run, Changes(batch_size=had + 3)).recipe.batch_size == had + 3
    with pytest.raises(ValueError, match="--batch-size"):
        prepare(None, tiny_run, Changes(batch_size=0))
