import json
from dataclasses import replace

import pytest
import torch

from clip2scene import build
from clip2scene.config import (
    AugmentConfig,
    ConsistencyConfig,
    LabelsConfig,
    LossConfig,
    OptimiserConfig,
    Recipe,
    SelfTrainingConfig,
    StudentConfig,
    TeacherConfig,
    TuningConfig,
)
from clip2scene.distill.batch import Batch, Superpixels, collate
from clip2scene.distill.lifted import LiftedSample, TeacherFeatures, save_lifted
from clip2scene.distill.losses.objective import Objective, StepInputs
from clip2scene.evaluation.evaluate import evaluate_samples
from clip2scene.parallel import prefetch
from clip2scene.runs.checkpoint import load_checkpoint, previous_path
from clip2scene.runs.init_weights import init_weights_of
from clip2scene.runs.run import Run, load_prompts, save_prompts
from clip2scene.runs.sources import Sources
from clip2scene.student.model import Embedder
from clip2scene.teacher.maskclip import DenseEmbeddings
from clip2scene.training import train
from clip2scene.training.state import TrainState, resume
from clip2scene.types import Pairs, PointCloud, Prompts

PROMPTS = Prompts(("ground", "wall"), ("ground", "wall"), torch.arange(2), torch.eye(2))
CPU = torch.device("cpu")
RECIPE = Recipe(
    name="tiny",
    student=StudentConfig(network="minkunet14a", width=0.25, voxel_size=0.5),
    loss=LossConfig(class_balance=0.5),
    optimiser=OptimiserConfig(name="adamw", learning_rate=0.02, schedule="one-cycle", average=0.9),
    steps=12,
    batch_size=2,
)


def make_corner(number):
    """A floor and a wall; the teacher sees most of the points and errs on a tenth of those."""
    generator = torch.Generator().manual_seed(number)
    flat = torch.rand(400, 3, generator=generator) * torch.tensor([8.0, 8.0, 0.02])
    upright = torch.rand(400, 3, generator=generator) * torch.tensor([0.02, 8.0, 4.0])
    truth = torch.arange(2).repeat_interleave(400)
    wrong = torch.rand(800, generator=generator) < 0.1
    answers = torch.nn.functional.one_hot(torch.where(wrong, 1 - truth, truth), 2).float()
    seen = torch.rand(800, generator=generator) < 0.8
    cloud = PointCloud(torch.cat([flat, upright]), torch.ones(800, 1))
    return LiftedSample(cloud, seen.nonzero()[:, 0], answers[seen], truth)


def make_run(folder, recipe=RECIPE):
    run = Run(folder, recipe, PROMPTS, Sources(None, "", 3, 1, ""))
    save_prompts(folder, PROMPTS)
    paths = [folder / "carried" / f"{number}.safetensors" for number in range(3)]
    for number, path in enumerate(paths):
        save_lifted(path, make_corner(number))
    return run, paths


def learn(folder, recipe=RECIPE):
    run, paths = make_run(folder, recipe)
    train.train(run, paths, device=CPU, save_every=5)
    return run


def weights(run):
    return load_checkpoint(run.checkpoint_path).model


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return learn(tmp_path_factory.mktemp("run"), replace(RECIPE, steps=40))


def test_a_student_without_labels_ends_better_than_its_teacher(learned):
    scores = evaluate_samples(learned.student(), PROMPTS, [make_corner(number) for number in range(10, 14)])
    assert scores["teacher_seen"].accuracy < 0.93
    assert scores["student_seen"].miou > scores["teacher_seen"].miou + 0.05
    assert scores["student_unseen"].miou > 0.9
    assert scores["teacher"].miou < scores["teacher_seen"].miou  # points it does not see count as wrong


def test_the_loss_falls_and_every_step_is_logged(learned):
    lines = [json.loads(line) for line in (learned.folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 41))
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert all(list(line) == ["step", "loss", "scr", "seconds"] for line in lines)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    first, again = learn(tmp_path / "a"), learn(tmp_path / "b")
    other = learn(tmp_path / "c", replace(RECIPE, seed=1))
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_that_read_ahead_change_nothing(tmp_path, workers):
    plain = learn(tmp_path / "plain")
    run, paths = make_run(tmp_path / "ahead")
    train.train(run, paths, device=CPU, save_every=5, workers=workers)
    assert same(weights(plain), weights(run))


def test_a_damaged_sample_is_named_by_the_process_that_reads_ahead(tmp_path):
    run, paths = make_run(tmp_path)
    train_items = train.train_set(run, paths)
    paths[0].write_bytes(paths[0].read_bytes()[:50])
    steps = prefetch(train_items.read_step, range(RECIPE.steps), processes=1, title="steps")
    with pytest.raises(ValueError, match="delete it and run again") as raised:
        list(steps)
    assert "Traceback" not in str(raised.value)


def test_a_run_whose_newest_checkpoint_is_missing_goes_on_from_the_one_before(tmp_path):
    whole = learn(tmp_path / "whole")
    run = learn(tmp_path / "lost")
    assert load_checkpoint(previous_path(run.checkpoint_path)).step == 10
    run.checkpoint_path.unlink()
    (run.folder / "log.jsonl").unlink()
    train.train(run, make_run(run.folder)[1], device=CPU, save_every=5)
    lines = (run.folder / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [11, 12]
    assert same(weights(whole), weights(run))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch, name):
    recipe = replace(RECIPE, optimiser=replace(RECIPE.optimiser, name=name))
    whole = learn(tmp_path / "whole", recipe)
    run, paths = make_run(tmp_path / "stopped", recipe)
    step = train.train_step
    steps_left = iter(range(7))  # stops between two checkpoints, so that two steps are taken anew

    def stop_after_seven(*args):
        if next(steps_left, None) is None:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(train, "train_step", stop_after_seven)
    with pytest.raises(KeyboardInterrupt):
        train.train(run, paths, device=CPU, save_every=5)
    monkeypatch.setattr(train, "train_step", step)
    assert load_checkpoint(run.checkpoint_path).step == 5
    train.train(run, paths, device=CPU, save_every=5)
    assert same(weights(whole), weights(run))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    run = learn(tmp_path)
    longer = Run(run.folder, replace(RECIPE, steps=20), PROMPTS, run.sources)
    monkeypatch.setattr(train, "train_step", lambda *args: (torch.tensor(torch.nan, requires_grad=True), {}))
    before = run.checkpoint_path.read_bytes()
    with pytest.raises(ValueError, match="the loss is nan at step 12"):
        train.train(longer, make_run(tmp_path)[1], device=CPU, save_every=5)
    assert run.checkpoint_path.read_bytes() == before


class SteepAtZero(torch.autograd.Function):
    """Zero, with a slope that is not a number: what the square root of a length has at no length."""

    @staticmethod
    def forward(context, weight):
        context.shape = weight.shape
        return weight.new_zeros(())

    @staticmethod
    def backward(context, slope):
        return slope.new_full(context.shape, torch.nan)


def test_a_gradient_that_is_not_finite_moves_no_weight(tmp_path, monkeypatch):
    run, paths = make_run(tmp_path)
    step = train.train_step

    def steep(student, *others):
        loss, terms = step(student, *others)
        return loss + SteepAtZero.apply(student.head.weight), terms

    state = resume(run, CPU)
    before = {name: each.clone() for name, each in state.student.named_parameters()}
    monkeypatch.setattr(train, "resume", lambda run, device: state)
    monkeypatch.setattr(train, "train_step", steep)
    with pytest.raises(ValueError, match="the length of the gradient is nan at step 0.*checkpoint is intact"):
        train.train(run, paths, device=CPU, save_every=1)
    assert same(before, dict(state.student.named_parameters()))
    assert not run.checkpoint_path.exists()


def test_a_split_that_teaches_nothing_is_refused_before_the_first_step(tmp_path):
    run, paths = make_run(tmp_path)
    for path in paths:
        save_lifted(
            path,
            LiftedSample(make_corner(0).cloud, torch.zeros(0, dtype=torch.long), torch.zeros(0, 2), None),
        )
    with pytest.raises(ValueError, match="nothing to train on"):
        train.train(run, paths, device=CPU, save_every=5)
    assert not run.checkpoint_path.exists()


def make_seen_corner(number):
    """A corner in three sweeps, whose pixels have features and regions too; regions are small cubes."""
    corner = make_corner(number)
    points = corner.pair_points
    generator = torch.Generator().manual_seed(number)
    feature = torch.nn.functional.normalize(torch.rand(2, 10, 10, generator=generator), dim=0)
    pixels = torch.rand(len(points), 2, generator=generator) * 99
    pairs = Pairs(points, torch.zeros_like(points), pixels, torch.ones(len(points)))
    regions = Superpixels(points // 100, torch.rand(8, 2, generator=generator))
    teacher_features = TeacherFeatures(DenseEmbeddings((feature,), None, ((100, 100),)), pairs, regions)
    pieces = torch.arange(2).repeat_interleave(400)
    return replace(corner, superpoints=pieces, sweep_sizes=(500, 200, 100), teacher_features=teacher_features)


S3 = SelfTrainingConfig(
    probability=0.5, start=0.0, switch="point", source="average", superpoint_mean=True, unseen=True
)
VOTE = TeacherConfig(superpoint_vote=True)
KINDS = {
    "stcr": {"consistency": ConsistencyConfig(weight=1.0, cell_size=0.5)},
    "stcr alone": {"consistency": ConsistencyConfig(weight=1.0), "loss": LossConfig(weight=0.0)},
    "stcr, released": {"consistency": ConsistencyConfig(weight=1.0, form="released-code")},
    "s3": {"self_training": S3, "teacher": VOTE},
    "kl": {"loss": LossConfig(form="kl-divergence")},
    "ppkt": {"loss": LossConfig(form="pixel-infonce")},
    "slidr": {"loss": LossConfig(form="superpixel-infonce")},
    "ppkt, another backbone": {"loss": LossConfig(form="pixel-infonce", backbone="own")},
    "slidr, another backbone": {"loss": LossConfig(form="superpixel-infonce", backbone="own")},
}
TERMS = {
    "stcr": ["scr", "stcr"],
    "stcr alone": ["stcr"],
    "stcr, released": ["scr", "stcr"],
    "kl": ["kl"],
    "ppkt": ["ppkt"],
    "slidr": ["slidr"],
    "ppkt, another backbone": ["ppkt", "scr"],
    "slidr, another backbone": ["slidr", "scr"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_learns_and_resumes_as_if_it_had_never_stopped(tmp_path, monkeypatch, kind):
    recipe = replace(RECIPE, steps=6, **KINDS[kind])
    runs = []
    for name in ("whole", "stopped"):
        run, paths = make_run(tmp_path / name, recipe)
        if recipe.loss.backbone is not None:
            run = replace(run, sources=replace(run.sources, pixel_channels=2))
        for number, path in enumerate(paths):
            lifted = make_seen_corner(number)
            if recipe.keep == "maps":
                lifted = replace(lifted, teacher_features=replace(lifted.teacher_features, superpixels=None))
            save_lifted(path, lifted)
        runs.append((run, paths))
    train.train(*runs[0], device=CPU, save_every=3)
    step, steps_left = train.train_step, iter(range(4))

    def stop_after_four(*args):
        if next(steps_left, None) is None:
            raise KeyboardInterrupt
        return step(*args)

    monkeypatch.setattr(train, "train_step", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        train.train(*runs[1], device=CPU, save_every=3)
    monkeypatch.setattr(train, "train_step", step)
    train.train(*runs[1], device=CPU, save_every=3)
    assert same(weights(runs[0][0]), weights(runs[1][0]))
    lines = [json.loads(line) for line in (runs[0][0].folder / "log.jsonl").read_text().splitlines()]
    assert min(line["loss"] for line in lines[3:]) < lines[0]["loss"]
    for line in lines:
        terms = [line.pop(name) for name in TERMS.get(kind, ["scr"])]
        assert line.keys() == {"step", "loss", "seconds"}  # a term that is off is not there
        assert sum(terms) == pytest.approx(line["loss"], rel=1e-6)


@pytest.mark.parametrize(("start", "first"), [(0.0, 0), (0.5, 3), (0.6, 4), (1.0, 6)])
def test_self_training_begins_at_its_share_of_the_run(tmp_path, monkeypatch, start, first):
    settings = SelfTrainingConfig(probability=1.0, start=start)
    run, paths = make_run(tmp_path, replace(RECIPE, steps=6, self_training=settings))
    step, switched = train.train_step, []

    def spy(student, batch, prompts, objective, self_train, anchor):
        features = torch.zeros(len(batch.positions), student.head.in_features)
        switched.append(self_train(batch, features) is not batch)
        return step(student, batch, prompts, objective, self_train, anchor)

    monkeypatch.setattr(train, "train_step", spy)
    train.train(run, paths, device=CPU, save_every=6)
    assert switched == [False] * first + [True] * (6 - first)


class Rolled(torch.nn.Module):
    """A backbone that gives what it was given, its channels moved on."""

    out_channels, stages = 3, ()

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(()))

    def forward(self, positions, features, item_of_point):
        return features.roll(int(self.shift), 1)


def switched_targets(features, step=0, **settings):
    """Targets of points that the teacher calls 0, after S3 with a student that reads classes off features.

    The EMA has another backbone and another head: its predictions are two classes on.
    """
    student = Embedder(Rolled(), 3)
    student.head.weight.data, student.head.bias.data = torch.eye(3), torch.zeros(3)
    recipe = replace(
        RECIPE,
        self_training=SelfTrainingConfig(**{"probability": 1.0, "start": 0.0, **settings}),
        teacher=VOTE,
    )
    state = TrainState(student, recipe)
    state.step = step
    state.averaged.backbone.shift.fill_(1.0)
    state.averaged.head.weight.copy_(torch.eye(3).roll(1, 0))
    prompts = Prompts(("a", "b", "c"), ("a", "b", "c"), torch.arange(3), torch.eye(3))
    points = torch.arange(len(features))
    positions, items = torch.zeros(len(features), 3), torch.zeros_like(points)
    batch = Batch(
        positions, torch.tensor(features), items, points, items, torch.tensor([0, 0, -1][: len(features)])
    )
    seen = student(positions, batch.features, items)
    return train.apply_self_training(state, prompts, batch, seen).targets.tolist()


def test_own_predictions_are_of_the_weights_in_training_or_of_their_mean():
    features = [[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]]
    assert switched_targets(features) == [0, 1, 2]
    assert switched_targets(features, source="average") == [2, 0, 1]


def test_own_predictions_are_as_sure_and_as_many_as_the_settings_say():
    features = [[0.0, 3.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 1.0]]
    assert switched_targets(features) == [1, 2, 2]
    assert switched_targets(features, superpoint_mean=True) == [1, 1, 2]
    assert switched_targets(features, confidence=0.7) == [1, 2, 0]  # the last has 0.58
    assert switched_targets(features, probability=0.0, unseen=True) == [0, 0, 0]


def test_every_step_draws_anew_whether_to_switch():
    steps = [tuple(switched_targets([[0.0, 9.0, 0.0]], step=step, probability=0.5)) for step in range(20)]
    assert 4 < steps.count((1,)) < 16
    assert steps == [tuple(switched_targets([[0.0, 9.0, 0.0]], step=k, probability=0.5)) for k in range(20)]


def test_words_learnt_beside_a_contrast_teach_the_network_nothing(tmp_path):
    loss = LossConfig(form="pixel-infonce", backbone="own")
    run, _ = make_run(tmp_path, replace(RECIPE, loss=loss))
    run = replace(run, sources=replace(run.sources, pixel_channels=2))
    train_item = make_corner(0).item_from_teacher()
    seen = replace(train_item.pixels, embeddings=torch.rand(len(train_item.pixels.points), 2))
    batch = collate([replace(train_item, pixels=seen)])
    student = run.new_student()
    objective = build.build_objective(run.recipe, torch.tensor([1, 1]))
    loss, terms = train.train_step(student, batch, PROMPTS, objective, lambda batch, _: batch)
    assert list(terms) == ["ppkt", "scr"]
    loss.backward()
    both = {name: each.grad.clone() for name, each in student.named_parameters() if each.grad is not None}
    assert both["head.weight"].any() and both["local.points.weight"].any()
    student.zero_grad()
    point_features = student(batch.positions, batch.features, batch.item_of_point)
    Objective(objective.terms[:1])(StepInputs(student, point_features, batch, PROMPTS))["ppkt"].backward()
    for name, each in student.backbone.named_parameters():
        torch.testing.assert_close(each.grad, both[f"backbone.{name}"])
    assert student.head.weight.grad is None


@pytest.mark.parametrize(("trees", "wanted"), [(0, ()), (5, ("car",))])
def test_labels_of_one_class_teach_nothing_and_that_is_said(trees, wanted, caplog):
    held_out = {"car": 0, "tree": 0}
    train.check_classes({"car": 9, "tree": trees}, held_out, LabelsConfig(classes=wanted, absent="allow"))
    assert "note: all labelled points are of car, so the classifier calls every point that" in caplog.text
    caplog.clear()
    train.check_classes({"car": 9, "tree": 1}, held_out, LabelsConfig(absent="allow"))
    assert not caplog.text


def test_points_are_drawn_to_the_features_of_their_pixels(tiny_recipe, tiny_toytown, tmp_path):
    recipe = replace(tiny_recipe, loss=replace(tiny_recipe.loss, similarity=0.5), steps=12)
    folder = train.pretrain(recipe, data_root=tiny_toytown, out=tmp_path / "run")
    values = [json.loads(line)["similarity"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert 0 < sum(values[-3:]) < sum(values[:3])
    run = Run(folder, recipe, load_prompts(folder), Sources.read(folder))
    assert run.student().similarity is not None
    assert not any(name.startswith("similarity") for name in init_weights_of(folder).weights)


def make_whole_corner(number):
    """A corner of which the teacher labels every point, so that each sample has as many targets."""
    corner = make_corner(number)
    answers = torch.nn.functional.one_hot(corner.labels, 2).float()
    return replace(corner, pair_points=torch.arange(800), pair_logits=answers)


@pytest.mark.parametrize("freeze", [True, False])
def test_gradients_of_two_batches_are_those_of_one_where_nothing_is_over_the_batch(tmp_path, freeze):
    plain = replace(
        RECIPE,
        supervision="labels",
        loss=LossConfig(),
        tuning=TuningConfig(head="words", freeze=freeze),
        augment=AugmentConfig(rotate=False, flip=False),
        optimiser=OptimiserConfig(name="sgd", learning_rate=0.1, average=0.9),
        steps=4,
    )
    halved = replace(plain, batch_size=1, optimiser=replace(plain.optimiser, accumulate=2))
    ends, losses = [], []
    for name, recipe in {"plain": plain, "halved": halved}.items():
        run, paths = make_run(tmp_path / name, recipe)
        for number, path in enumerate(paths):
            save_lifted(path, make_whole_corner(number))
        train.train(run, paths, device=CPU, save_every=5)
        lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        losses.append([line["loss"] for line in lines])
        ends.append(weights(run))
    equal = losses[0] == pytest.approx(losses[1], rel=1e-5)
    near = all(torch.allclose(ends[0][name], ends[1][name], rtol=1e-4, atol=1e-6) for name in ends[0])
    assert equal == near == freeze  # batch statistics of a sample are not those of two


def test_a_run_whose_gradients_accumulate_goes_on_where_it_stopped(tmp_path, monkeypatch):
    recipe = replace(
        RECIPE,
        steps=6,
        optimiser=replace(RECIPE.optimiser, accumulate=3),
        self_training=SelfTrainingConfig(probability=0.5, start=0.0),
    )
    whole, step, batches = learn(tmp_path / "whole", recipe), train.train_step, []

    def stop_within_a_step(*args):
        if len(batches) == 17:
            raise KeyboardInterrupt
        batches.append(args[1])
        return step(*args)

    monkeypatch.setattr(train, "train_step", stop_within_a_step)
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "stopped", recipe)
    monkeypatch.setattr(train, "train_step", step)
    (tmp_path / "stopped" / "log.jsonl").unlink()
    stopped = learn(tmp_path / "stopped", recipe)
    assert same(weights(whole), weights(stopped))
    assert len({batch.positions.sum().item() for batch in batches}) == 17  # each is another
