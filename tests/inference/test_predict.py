import pytest
import torch
from torch import nn

from clip2scene.geometry.ground import Ground
from clip2scene.geometry.superpoints import average_within, find_superpoints
from clip2scene.inference.predict import (
    open_split,
    predict,
    predict_labels,
    predict_split,
    turn_about_z,
)
from clip2scene.runs.run import open_run
from clip2scene.student.inputs import InputOptions, prepare_cloud
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts

CHANNELS = 32

pytestmark = pytest.mark.usefixtures("exact_products")


class Layer(nn.Module):
    """A backbone of one layer, which sees a point's position and features."""

    out_channels = 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, self.out_channels)
        self.norm = nn.BatchNorm1d(self.out_channels)

    def forward(self, positions, features, batch_of_point):
        return self.norm(torch.tanh(self.layer(torch.cat([positions / 5, features], dim=1))))


def make_student(**settings):
    torch.manual_seed(0)
    return Embedder(Layer(), CHANNELS, **settings)


def make_prompts(names_of_class):
    """Prompts of so many names in each class, dealt out in turns."""
    torch.manual_seed(1)
    classes = tuple(f"class {number}" for number in range(len(names_of_class)))
    class_of_name = [
        c for turn in range(max(names_of_class)) for c, n in enumerate(names_of_class) if turn < n
    ]
    names = tuple(f"name {number}" for number in range(len(class_of_name)))
    towards = nn.functional.normalize(torch.randn(len(names), CHANNELS), dim=1)
    return Prompts(classes, names, torch.tensor(class_of_name), towards)


def make_cloud():
    """A road with two poles and a wall beside it: ground, and superpoints of many points."""
    torch.manual_seed(2)
    x, y = torch.meshgrid(torch.arange(-8, 8, 0.5), torch.arange(-8, 8, 0.5), indexing="ij")
    road = torch.stack([x.reshape(-1), y.reshape(-1), torch.full((x.numel(),), -1.8)], dim=1)
    poles = [
        torch.tensor([5.0, side, 0.0]) + torch.outer(torch.linspace(-1.2, 1, 40), torch.eye(3)[2])
        for side in (-4.0, 4.0)
    ]
    wall = torch.stack([torch.linspace(-3, 3, 300), torch.full((300,), 7.0), torch.rand(300) * 2 - 1], dim=1)
    positions = torch.cat([road, *poles, wall])
    return PointCloud(positions, torch.rand(len(positions), 1))


def predict_slowly(student, prompts, cloud):
    """The plain way: average the embeddings, then compare each with every name of every class."""
    student.eval()
    with torch.no_grad():
        hidden = student(cloud.positions, cloud.features, torch.zeros(len(cloud), dtype=torch.long))
        embeddings = student.embed(hidden)
        if student.superpoint_mean:
            embeddings = average_within(find_superpoints(cloud.positions), embeddings)
    rows = []
    for embedding in embeddings:
        logits = [float(embedding @ text) for text in prompts.embeddings]
        of_class = [
            [
                logit
                for logit, number in zip(logits, prompts.class_of_name.tolist(), strict=True)
                if number == c
            ]
            for c in range(len(prompts.classes))
        ]
        rows.append([max(each) for each in of_class])
    return torch.tensor(rows), embeddings


@pytest.mark.parametrize("names_of_class", [(1, 1, 1), (3, 1, 2)])
@pytest.mark.parametrize("cosine_temperature", [None, 0.1])
@pytest.mark.parametrize("superpoint_mean", [False, True])
def test_predictions_are_those_of_the_slow_plain_way(superpoint_mean, cosine_temperature, names_of_class):
    student = make_student(superpoint_mean=superpoint_mean, cosine_temperature=cosine_temperature)
    prompts, cloud = make_prompts(names_of_class), make_cloud()
    found = predict(student, prompts, cloud, with_embeddings=True)
    logits, embeddings = predict_slowly(student, prompts, cloud)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.embeddings, embeddings, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.logits.argmax(1), logits.argmax(1))


def test_points_of_a_superpoint_share_their_logits_and_ground_points_keep_their_own():
    cloud, prompts = make_cloud(), make_prompts((1, 2))
    superpoints = find_superpoints(cloud.positions)
    ground, largest = superpoints < 0, superpoints == superpoints[superpoints >= 0].mode().values
    alone, shared = (
        predict(make_student(superpoint_mean=each), prompts, cloud).logits for each in (False, True)
    )
    assert ground.sum() > 500 and largest.sum() > 100
    assert torch.equal(shared[ground], alone[ground])
    assert len(alone[largest].unique(dim=0)) > 100
    assert len(shared[largest].unique(dim=0)) == 1


def test_superpoints_are_seen_from_where_the_students_lidar_stands(monkeypatch):
    seen = []
    real = find_superpoints
    monkeypatch.setattr(
        "clip2scene.inference.predict.find_superpoints",
        lambda positions, *, viewpoint: seen.append(viewpoint) or real(positions, viewpoint=viewpoint),
    )
    student = make_student(superpoint_mean=True)
    student.viewpoint = (1.0, 0.0, 1.8)
    predict(student, make_prompts((1, 2)), make_cloud())
    assert seen == [(1.0, 0.0, 1.8)]


def test_a_classifiers_logits_come_first_and_are_averaged_too():
    student, prompts, cloud = (
        make_student(superpoint_mean=True, num_classes=3),
        make_prompts((1, 1, 1)),
        make_cloud(),
    )
    found = predict(student, prompts, cloud)
    with torch.no_grad():
        hidden = student(cloud.positions, cloud.features, torch.zeros(len(cloud), dtype=torch.long))
        expected = average_within(find_superpoints(cloud.positions), student.classifier(hidden))
    torch.testing.assert_close(found.classifier_logits, expected, rtol=1e-4, atol=1e-5)
    assert found.logits is found.classifier_logits
    assert not torch.allclose(found.text_logits, expected, atol=0.1)
    labels, by_text, scores = predict_labels(student, prompts, cloud, temperature=0.5)
    torch.testing.assert_close(scores, (expected / 0.5).softmax(1).amax(1), rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, expected.argmax(1)) and torch.equal(by_text, found.text_logits.argmax(1))


def test_embeddings_are_worked_out_only_when_asked_for(monkeypatch):
    student = make_student(superpoint_mean=True)
    monkeypatch.setattr(student, "embed", lambda _: pytest.fail("the text head was applied"))
    assert predict(student, make_prompts((1, 2)), make_cloud()).embeddings is None


def test_batch_statistics_stay_as_they_were_trained():
    student, prompts, cloud = make_student().train(), make_prompts((1, 1)), make_cloud()
    before = {name: each.clone() for name, each in student.state_dict().items()}
    half = PointCloud(cloud.positions[:500], cloud.features[:500])
    whole, part = predict(student, prompts, cloud).logits, predict(student, prompts, half).logits
    torch.testing.assert_close(whole[:500], part)
    assert all(torch.equal(each, before[name]) for name, each in student.state_dict().items())


def test_sweeps_that_are_items_of_their_own_are_predicted_alone():
    student, prompts, cloud = make_student(superpoint_mean=True), make_prompts((1, 2, 1)), make_cloud()
    sizes = (1100, len(cloud) - 1100)
    parts = zip(cloud.positions.split(sizes), cloud.features.split(sizes), strict=True)
    alone = [predict(student, prompts, PointCloud(*part)).logits.argmax(1) for part in parts]
    labels, by_text, scores = predict_labels(student, prompts, cloud, sizes)
    assert len(scores) == len(cloud)
    assert torch.equal(labels, torch.cat(alone)) and torch.equal(by_text, labels)


def test_an_empty_cloud_is_refused(tiny_run):
    run = open_run(tiny_run)
    with pytest.raises(ValueError, match="Empty cloud"):
        predict(run.student(), run.prompts, PointCloud(torch.zeros(0, 3), torch.zeros(0, 1)))


def test_a_split_is_predicted_sample_by_sample_and_no_image_is_read(tiny_run, tiny_toytown):
    run = open_run(tiny_run)
    dataset = open_split(run, tiny_toytown, "val")
    found = list(predict_split(run, dataset))
    assert tuple(sample.token for sample, _ in found) == dataset.tokens
    for sample, prediction in found:
        assert sample.labels is None
        assert torch.equal(prediction.logits, predict(run.student(), run.prompts, sample.cloud).logits)
    (only,) = predict_split(run, dataset, [1])
    assert only[0].token == dataset.tokens[1]


def test_a_cloud_is_predicted_at_each_turn_and_the_features_averaged():
    cloud, prompts = make_cloud(), make_prompts([1, 2])
    turned = turn_about_z(cloud.positions, 30.0)
    assert torch.allclose(turned.norm(dim=1), cloud.positions.norm(dim=1), atol=1e-4)
    assert torch.equal(turned[:, 2], cloud.positions[:, 2])
    x, y = cloud.positions[0, 0], cloud.positions[0, 1]
    angle = torch.atan2(turned[0, 1], turned[0, 0]) - torch.atan2(y, x)
    assert float(torch.rad2deg(angle)) % 360 == pytest.approx(30.0, abs=1e-3)
    plain = predict(make_student(), prompts, cloud).text_logits
    assert torch.equal(
        predict(make_student(inputs=InputOptions(turns=(0.0,))), prompts, cloud).text_logits, plain
    )
    at_30 = predict(make_student(), prompts, PointCloud(turned, cloud.features)).text_logits
    assert torch.equal(
        predict(make_student(inputs=InputOptions(turns=(30.0,))), prompts, cloud).text_logits, at_30
    )
    both = predict(make_student(inputs=InputOptions(turns=(0.0, 30.0))), prompts, cloud)
    assert not torch.allclose(both.text_logits, plain, atol=1e-3)
    with_embeddings = predict(
        make_student(inputs=InputOptions(turns=(0.0, 30.0))), prompts, cloud, with_embeddings=True
    )
    assert torch.allclose(prompts.class_logits(with_embeddings.embeddings), both.text_logits, atol=1e-4)


def test_a_known_ground_levels_a_cloud_for_a_student_that_wants_it_level():
    cloud, prompts = make_cloud(), make_prompts([1, 1])
    student = make_student(inputs=InputOptions(level=True))
    plane = Ground(-2.3, 0.02, 0.0, 1.0)
    given = prepare_cloud(cloud, student.inputs, ground=plane)
    expected = predict(make_student(), prompts, given).text_logits
    assert torch.allclose(predict(student, prompts, cloud, ground=plane).text_logits, expected, atol=1e-5)
    assert not torch.allclose(predict(student, prompts, cloud).text_logits, expected, atol=1e-3)


@pytest.mark.parametrize("quality", ["low", "medium", "high"])
def test_features_are_the_mean_over_the_turns_of_a_quality(quality):
    cloud, prompts, student = make_cloud(), make_prompts((1, 2)), make_student()
    student.inputs = InputOptions(turns=(10.0, 50.0))
    turns = {"low": (22.5,), "medium": (10.0, 50.0), "high": (7.5, 22.5, 37.5, 52.5, 67.5, 82.5)}[quality]
    alone = []
    for degrees in turns:
        student.inputs = InputOptions(turns=(degrees,))
        alone.append(predict(student, prompts, cloud, with_embeddings=True).embeddings)
    student.inputs = InputOptions(turns=(10.0, 50.0))
    found = predict(student, prompts, cloud, with_embeddings=True, quality=quality)
    torch.testing.assert_close(found.embeddings, torch.stack(alone).mean(0), rtol=1e-4, atol=1e-5)


def test_what_is_said_before_superpoint_means_is_what_a_student_without_them_says():
    cloud, prompts = make_cloud(), make_prompts((1, 2))
    plain, smooth = (make_student(superpoint_mean=each) for each in (False, True))
    found = predict(smooth, prompts, cloud, keep_raw=True)
    assert torch.equal(found.raw.text_logits, predict(plain, prompts, cloud).text_logits)
    assert not torch.equal(found.raw.text_logits, found.text_logits)
    assert predict(smooth, prompts, cloud).raw is None
