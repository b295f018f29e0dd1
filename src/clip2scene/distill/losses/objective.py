"""The objective: a tuple of named loss terms, each a frozen dataclass that maps a step's inputs to a scalar.

A new loss is one more dataclass with a ``name``, and one line in ``build_objective`` (docs/extending.md).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip2scene.distill.batch import Batch, PixelTargets
from clip2scene.distill.losses.consistency import Guard, packed_consistency, spatial_temporal_consistency
from clip2scene.distill.losses.contrast import kl_divergence, pixel_point_infonce, superpixel_infonce
from clip2scene.distill.losses.robust import generalised_cross_entropy, reverse_cross_entropy
from clip2scene.distill.losses.scr import class_infonce, lovasz_softmax, point_cross_entropy
from clip2scene.distill.shared_pass import backbone_features
from clip2scene.student.model import Embedder
from clip2scene.types import Prompts


@dataclass(frozen=True)
class StepInputs:
    """All that a loss term may read in one training step.

    Attributes:
        student: The network in training.
        point_features: The backbone's features of each point, before the text head.
        batch: Points, targets and pixel-point pairs.
        prompts: Text embeddings of the classes.
        anchor: The frozen student as it was at step 0; None unless a term needs it.
    """

    student: Embedder
    point_features: Float[Tensor, "points hidden"]
    batch: Batch
    prompts: Prompts
    anchor: Embedder | None = None

    @cached_property
    def logits(self) -> Float[Tensor, "targets classes"]:
        """Class logits of each target's point: the classifier's if there is one, or those of the text."""
        features = self.point_features.index_select(0, self.batch.target_points)
        if self.student.classifier is not None:
            return self.student.classifier(features)
        return self.prompts.best_name(self.student.compare(features, self.prompts.embeddings))

    @property
    def pixels(self) -> PixelTargets:
        """The pixel-point pairs of the batch, which terms over pixels need."""
        assert self.batch.pixels is not None, "this loss term needs pixel-point pairs"
        return self.batch.pixels

    @property
    def pair_features(self) -> Float[Tensor, "pairs hidden"]:
        """The backbone's features of the point of each pixel-point pair."""
        return self.point_features.index_select(0, self.pixels.points)

    def stop_gradient(self) -> "StepInputs":
        """Give the same inputs with a stop-gradient at the features of the points: the backbone gets none."""
        return replace(self, point_features=self.point_features.detach())


@runtime_checkable
class Term(Protocol):
    """One summand of the loss, a weighted scalar ``Float[Tensor, ""]``; ``name`` is its key in the log."""

    @property
    def name(self) -> str:
        """The paper's abbreviation, in lower case: the term's key in ``log.jsonl``."""

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """Compute the term, weight included."""


@dataclass(frozen=True)
class Objective:
    """The loss to minimise, the sum of its terms. A term that is switched off is not in the tuple."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        names = [term.name for term in self.terms]
        assert len(set(names)) == len(names), f"terms need names of their own, got {names}"

    def __call__(self, step: StepInputs) -> dict[str, Float[Tensor, ""]]:
        """Compute the value of each term, by name, in the order of ``terms``."""
        return {term.name: term(step) for term in self.terms}


@dataclass(frozen=True)
class SCR:
    """Semantic consistency (CLIP2Scene, Sec. 3.2) with pseudo-labels; cross-entropy with true ones.

    Attributes:
        form: Cross-entropy per point (released code), or InfoNCE per class (Eq. 1).
        weight: Factor on the term.
        temperature: Of the InfoNCE (paper: 0.5).
        class_weights: Of the cross-entropy; None counts every point alike.
        detached: Whether a stop-gradient keeps the term from the backbone, so that it trains the head alone.
        bounded: Whether the InfoNCE has positives in its denominator too (Eq. 1 has not).
        q: Of the generalised cross-entropy, which 0 makes the plain one.
        name: Key in the log.
    """

    form: Literal["point-cross-entropy", "class-infonce"] = "point-cross-entropy"
    weight: float = 1.0
    temperature: float = 0.5
    class_weights: Float[Tensor, " classes"] | None = None
    detached: bool = False
    bounded: bool = False
    q: float = 0.0
    name: str = "scr"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """Compare the logits of the targets' points with the targets."""
        logits = (step.stop_gradient() if self.detached else step).logits
        targets = step.batch.targets
        if self.form == "class-infonce":
            value = class_infonce(logits, targets, temperature=self.temperature, bounded=self.bounded)
            return self.weight * value
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        if self.q:
            value = generalised_cross_entropy(logits, targets, q=self.q, class_weights=weights)
            return self.weight * value
        return self.weight * point_cross_entropy(logits, targets, class_weights=weights)


@dataclass(frozen=True)
class ReverseCE:
    """Reverse cross-entropy (Wang et al. 2019); beside the cross-entropy of SCR, it makes that symmetric."""

    weight: float = 1.0
    class_weights: Float[Tensor, " classes"] | None = None
    name: str = "rce"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """Compare class probabilities with the targets."""
        logits = step.logits
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return self.weight * reverse_cross_entropy(logits, step.batch.targets, class_weights=weights)


@dataclass(frozen=True)
class Lovasz:
    """Lovasz-softmax (Berman et al. 2018): a convex surrogate of 1 - IoU on the targets' points."""

    weight: float = 1.0
    name: str = "lovasz"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """Compare class probabilities with the targets."""
        return self.weight * lovasz_softmax(step.logits, step.batch.targets)


@dataclass(frozen=True)
class StCR:
    """Spatial-temporal consistency (CLIP2Scene, Sec. 3.3, Eq. 2 to 4) within small grid cells.

    Attributes:
        form: Pixel and point features fused per cell (Eq. 3), or the released code's points alone.
        weight: Factor on the term; the paper has 1.
        temperature: lambda of Eq. 4; the paper has 1.
        guard: What rules out the collapse to one vector (:func:`.consistency.guarded`).
        own_head: Whether points go through a projection head of the term's own (Sec. 4.3). Without another
            term that trains the text head, this one trains that head instead.
        name: Key in the log.
    """

    form: Literal["paper", "released-code"] = "paper"
    weight: float = 1.0
    temperature: float = 1.0
    guard: Guard = "centred"
    own_head: bool = True
    name: str = "stcr"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """Compare the features of each cell's points with what its points and pixels have in common."""
        heads, pixels, cells = step.student.local, step.pixels, step.batch.cells
        assert heads is not None and cells is not None
        cells, labels, text = cells[pixels.points], pixels.logits.argmax(1), step.prompts.class_directions()
        points = (heads.points if self.own_head else step.student.head)(step.pair_features)
        if self.form == "released-code":
            return self.weight * packed_consistency(points, labels, cells, text)
        if pixels.embeddings is None:  # class maps: a pixel's feature is its class's text
            pixel_features = heads.pixels(text).index_select(0, labels)
        else:
            pixel_features = heads.pixels(pixels.embeddings)
        return self.weight * spatial_temporal_consistency(
            points, pixel_features, labels, cells, text, temperature=self.temperature, guard=self.guard
        )


@dataclass(frozen=True)
class PPKT:
    """Pixel-point InfoNCE (Liu et al. 2021, Eq. 1) over cosines in -1..1, divided by ``temperature``."""

    temperature: float = 0.07
    name: str = "ppkt"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """InfoNCE of each pair's point with the pixels of all pairs: 0 or more."""
        pixels, heads = step.pixels, step.student.local
        targets = pixels.embeddings
        if targets is None:  # class maps: a pixel's feature is its class's text
            targets = step.prompts.class_directions()[pixels.logits.argmax(1)]
        if heads is None:  # the teacher's embeddings lie in the text space
            points = step.student.embed(step.pair_features)
        else:
            points, targets = heads.points(step.pair_features), heads.pixels(targets)
        return pixel_point_infonce(points, targets, temperature=self.temperature)


@dataclass(frozen=True)
class SLidR:
    """Superpixel-superpoint InfoNCE (Sautier et al. 2022, Eq. 2): dot products over ``temperature``."""

    temperature: float = 0.07
    name: str = "slidr"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """InfoNCE of the mean of each superpixel's points with all superpixels: 0 or more."""
        regions, heads = step.pixels.superpixels, step.student.local
        assert regions is not None
        targets = regions.embeddings
        if heads is None:  # the teacher's embeddings lie in the text space
            points = step.student.embed(step.pair_features)
        else:
            points = heads.points(step.pair_features)
            targets = nn.functional.normalize(heads.pixels(targets), dim=1)
        return superpixel_infonce(points, regions.of_pair, targets, temperature=self.temperature)


@dataclass(frozen=True)
class Similarity:
    """Similarity of features without contrast, through an MLP head (ScaLR, CleverDistiller)."""

    weight: float = 1.0
    name: str = "similarity"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """Average 1 - cosine (0..2) of each pair's point with its pixel; zero without pairs."""
        head, pixels = step.student.similarity, step.pixels.embeddings
        assert head is not None and pixels is not None
        cosines = nn.functional.cosine_similarity(head(step.pair_features), pixels, dim=1)
        return self.weight * (1 - cosines).sum() / max(len(cosines), 1)


@dataclass(frozen=True)
class KL:
    """KL divergence, 0 or more, from the teacher's class distribution (CLIP2Scene, Table 3, baseline)."""

    temperature: float = 1.0
    name: str = "kl"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """Compare the student's logits with the teacher's at each pixel-point pair."""
        student = step.student.compare(step.pair_features, step.prompts.embeddings)
        logits = step.prompts.best_name(student)
        return kl_divergence(logits, step.pixels.logits, temperature=self.temperature)


@dataclass(frozen=True)
class KeepText:
    """Hold point embeddings near those of the student at step 0: the mean of 1 - cosine, in 0..2."""

    weight: float = 1.0
    name: str = "keep_text"

    def __call__(self, step: StepInputs) -> Float[Tensor, ""]:
        """Compare every point's embedding with the anchor's."""
        batch, anchor = step.batch, step.anchor
        assert anchor is not None
        embeddings = step.student.embed(step.point_features)
        with torch.no_grad():
            before = anchor.embed(backbone_features(anchor, batch))
        return self.weight * (1 - nn.functional.cosine_similarity(embeddings, before, dim=1)).mean()
