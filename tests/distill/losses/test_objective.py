from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import nn

from clip2scene.distill.batch import Batch, PixelTargets, Superpixels
from clip2scene.distill.losses import consistency, contrast, robust, scr
from clip2scene.distill.losses.objective import (
    KL,
    PPKT,
    SCR,
    KeepText,
    Lovasz,
    Objective,
    ReverseCE,
    Similarity,
    SLidR,
    StCR,
    StepInputs,
)
from clip2scene.geometry.superpoints import average_within
from clip2scene.student.model import Embedder, ProjectionHeads
from clip2scene.types import Prompts

CHANNELS, CLASSES, POINTS = 6, 3, 40
RANDOM = torch.Generator().manual_seed(0)


class Plain(nn.Module):
    """A backbone that gives each point what it was given, weighted."""

    def __init__(self):
        super().__init__()
        self.out_channels = CHANNELS
        self.layer = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, positions, features, item_of_point):
        return self.layer(features)


def random(*shape):
    return torch.randn(*shape, generator=RANDOM)


def unit(*shape):
    return nn.functional.normalize(random(*shape), dim=1)


PROMPTS = Prompts(("a", "b", "c"), ("a", "b", "c"), torch.arange(3), unit(CLASSES, CHANNELS))


def make_step(heads=None, num_classes=None):
    """A step of random points; every other one is in a pair, and each cell holds four."""
    student = Embedder(Plain(), CHANNELS, local=heads, num_classes=num_classes)
    points = torch.arange(0, POINTS, 2)
    regions = Superpixels(torch.arange(20) // 5, unit(4, CHANNELS))
    batch = Batch(
        random(POINTS, 3),
        random(POINTS, CHANNELS),
        torch.zeros(POINTS, dtype=torch.long),
        torch.arange(10, 30),
        torch.randint(0, CLASSES, (20,), generator=RANDOM),
        superpoints=torch.arange(POINTS) // 5,
        pixels=PixelTargets(points, random(20, CLASSES), unit(20, CHANNELS), regions),
        cells=torch.arange(POINTS) // 4,
    )
    features = student(batch.positions, batch.features, batch.item_of_point)
    return StepInputs(student, features, batch, PROMPTS)


def test_a_new_loss_is_one_dataclass_as_the_docs_have_it():
    text = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()
    names = {"dataclass": dataclass, "StepInputs": StepInputs, "average_within": average_within}
    names |= {"Float": Float, "Tensor": torch.Tensor}
    exec(text.split("## A loss")[1].split("```python\n")[1].split("```")[0], names)
    step = make_step()
    values = Objective((SCR(), names["Smoothness"](0.5)))(step)
    assert list(values) == ["scr", "smoothness"]
    logits = step.student.embed(step.point_features) @ PROMPTS.embeddings.T
    means = logits.unflatten(0, (8, 5)).mean(1, keepdim=True).expand(-1, 5, -1).flatten(0, 1)
    torch.testing.assert_close(values["smoothness"], 0.5 * (logits - means).square().mean())


def test_semantic_consistency_is_the_loss_of_its_form_on_the_targets():
    step, weights = make_step(), torch.tensor([1.0, 2.0, 3.0])
    logits, targets = step.logits, step.batch.targets
    torch.testing.assert_close(logits, step.student.embed(step.point_features[10:30]) @ PROMPTS.embeddings.T)
    assert SCR(weight=0.5, class_weights=weights)(step) == 0.5 * scr.point_cross_entropy(
        logits, targets, class_weights=weights
    )
    assert SCR("class-infonce", temperature=0.3)(step) == scr.class_infonce(logits, targets, temperature=0.3)
    bounded = scr.class_infonce(logits, targets, bounded=True)
    assert SCR("class-infonce", bounded=True)(step) == bounded != scr.class_infonce(logits, targets)
    given = {"class_weights": weights}
    generalised = robust.generalised_cross_entropy(logits, targets, q=0.7, **given)
    assert SCR(weight=0.5, q=0.7, **given)(step) == 0.5 * generalised
    assert ReverseCE(0.5, **given)(step) == 0.5 * robust.reverse_cross_entropy(logits, targets, **given)
    assert Lovasz(2.0)(step) == 2 * scr.lovasz_softmax(logits, targets)


def test_rare_classes_weigh_more_where_class_weights_say_so():
    step = make_step(num_classes=2)
    step = replace(step, batch=replace(step.batch, target_points=torch.arange(2), targets=torch.arange(2)))
    balanced = SCR(class_weights=scr.class_weights(torch.tensor([1000, 10]), 1.0))
    common_wrong, rare_wrong = torch.tensor([[[-3.0, 3.0], [-3.0, 3.0]], [[3.0, -3.0], [3.0, -3.0]]])

    def cost(logits):
        step.__dict__["logits"] = logits
        return balanced(step)

    assert cost(rare_wrong) > 10 * cost(common_wrong)


def test_a_classifier_answers_where_there_is_one():
    step = make_step(num_classes=5)
    assert torch.equal(step.logits, step.student.classifier(step.point_features[10:30]))


def test_behind_a_stop_gradient_the_head_learns_and_the_backbone_does_not():
    step = make_step()
    SCR(detached=True)(step).backward()
    assert step.student.head.weight.grad.any()
    assert step.student.backbone.layer.weight.grad is None
    assert SCR(detached=True)(step) == SCR()(step)


@pytest.mark.parametrize("own_head", [True, False])
def test_consistency_projects_points_and_pixels_by_heads_of_its_own(own_head):
    heads = ProjectionHeads(CHANNELS, CHANNELS, CHANNELS)
    step = make_step(heads)
    pixels, text = step.pixels, PROMPTS.embeddings
    labels, cells = pixels.logits.argmax(1), step.batch.cells[pixels.points]
    points = (heads.points if own_head else step.student.head)(step.point_features[pixels.points])
    truth = consistency.spatial_temporal_consistency(
        points, heads.pixels(pixels.embeddings), labels, cells, text, temperature=2.0, guard="unit"
    )
    got = StCR(weight=3.0, temperature=2.0, guard="unit", own_head=own_head)(step)
    torch.testing.assert_close(got, 3 * truth)
    released = StCR("released-code", own_head=own_head)(step)
    torch.testing.assert_close(released, consistency.packed_consistency(points, labels, cells, text))


@pytest.mark.parametrize(
    "term",
    [
        SCR(),
        SCR("class-infonce"),
        SCR(q=0.7),
        ReverseCE(),
        Lovasz(),
        StCR(),
        StCR("released-code"),
        KeepText(),
    ],
    ids=lambda term: f"{term.name} {getattr(term, 'form', '')}".strip(),
)
def test_a_weight_is_a_factor_on_its_term(term):
    step = replace(
        make_step(ProjectionHeads(CHANNELS, CHANNELS, CHANNELS)), anchor=Embedder(Plain(), CHANNELS)
    )
    value = term(step)
    assert value.abs() > 1e-3
    torch.testing.assert_close(replace(term, weight=3.0)(step), 3 * value)


def test_class_maps_have_texts_in_the_place_of_pixel_features():
    step = make_step(ProjectionHeads(CHANNELS, CHANNELS, CHANNELS))
    texts = PROMPTS.class_directions()[step.pixels.logits.argmax(1)]
    bare = replace(step, batch=replace(step.batch, pixels=replace(step.pixels, embeddings=None)))
    told = replace(step, batch=replace(step.batch, pixels=replace(step.pixels, embeddings=texts)))
    for term in (StCR(), PPKT()):
        torch.testing.assert_close(term(bare), term(told))


def test_rivals_contrast_in_the_text_space_or_in_that_of_their_heads():
    step = make_step()
    regions, features = step.pixels.superpixels, step.point_features[step.pixels.points]
    points = step.student.embed(features)
    assert PPKT(0.1)(step) == contrast.pixel_point_infonce(points, step.pixels.embeddings, temperature=0.1)
    assert SLidR(0.1)(step) == contrast.superpixel_infonce(
        points, regions.of_pair, regions.embeddings, temperature=0.1
    )
    step = make_step(ProjectionHeads(CHANNELS, CHANNELS, 4))
    heads, regions = step.student.local, step.pixels.superpixels
    points = heads.points(step.point_features[step.pixels.points])
    assert PPKT()(step) == contrast.pixel_point_infonce(points, heads.pixels(step.pixels.embeddings))
    means = nn.functional.normalize(heads.pixels(regions.embeddings), dim=1)
    assert SLidR()(step) == contrast.superpixel_infonce(points, regions.of_pair, means)


def test_similarity_is_the_mean_of_one_less_the_cosine_and_trains_head_and_backbone():
    step = make_step()
    step.student.similarity = nn.Sequential(nn.Linear(CHANNELS, 8), nn.GELU(), nn.Linear(8, CHANNELS))
    found = Similarity(0.5)(step)
    points = step.student.similarity(step.point_features[::2]).detach()
    cosines = [
        float(point @ pixel / (point.norm() * pixel.norm()))
        for point, pixel in zip(points, step.pixels.embeddings, strict=True)
    ]
    assert found.item() == pytest.approx(0.5 * (1 - sum(cosines) / len(cosines)), abs=1e-6)
    found.backward()
    assert step.student.backbone.layer.weight.grad.any() and step.student.similarity[0].weight.grad.any()
    assert step.student.head.weight.grad is None
    none = PixelTargets(torch.zeros(0).long(), torch.zeros(0, CLASSES), torch.zeros(0, CHANNELS))
    assert Similarity()(replace(step, batch=replace(step.batch, pixels=none))) == 0


def test_the_kl_baseline_compares_class_logits_at_the_pairs():
    step = make_step()
    student = step.student.compare(step.pair_features, PROMPTS.embeddings)
    assert KL(2.0)(step) == contrast.kl_divergence(student, step.pixels.logits, temperature=2.0)


def test_text_is_kept_by_holding_embeddings_to_those_of_the_anchor():
    step, anchor = make_step(), make_step().student
    with torch.no_grad():
        before = anchor.embed(anchor(step.batch.positions, step.batch.features, step.batch.item_of_point))
    after = step.student.embed(step.point_features)
    truth = 2 * (1 - nn.functional.cosine_similarity(after, before, dim=1)).mean()
    torch.testing.assert_close(KeepText(2.0)(replace(step, anchor=anchor)), truth)
    assert KeepText()(replace(step, anchor=step.student)).item() == pytest.approx(0, abs=1e-6)


def test_a_term_without_what_it_needs_says_so():
    step = make_step()
    with pytest.raises(AssertionError, match="needs pixel-point pairs"):
        KL()(replace(step, batch=replace(step.batch, pixels=None)))


def test_two_terms_of_one_name_are_refused():
    with pytest.raises(AssertionError, match="names of their own, got .'scr', 'scr'."):
        Objective((SCR(), SCR(weight=2.0)))
