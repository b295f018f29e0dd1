"""Settings to what is minimised."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clip2scene.config import Recipe
from clip2scene.distill.batch import Batch, PixelTargets
from clip2scene.distill.losses import scr as losses
from clip2scene.distill.losses.consistency import packed_consistency, spatial_temporal_consistency
from clip2scene.distill.losses.contrast import kl_divergence, pixel_point_infonce, superpixel_infonce
from clip2scene.student.model import Embedder
from clip2scene.types import Prompts


class Objective:
    """What a recipe minimises.

    Args:
        recipe: Which terms, and how classes weigh.
        histogram: Targets of each class in the whole split, for class balance.
    """

    def __init__(self, recipe: Recipe, histogram: Int[Tensor, " classes"]) -> None:
        self.recipe = recipe
        self.loss = recipe.loss
        balance = recipe.loss.class_balance
        self.weights = losses.class_weights(histogram, balance) if balance else None
        self.contrasts = recipe.loss.form not in ("point-cross-entropy", "class-infonce")
        self.names_classes = not self.contrasts or recipe.loss.backbone is not None

    def semantic(
        self, logits: Float[Tensor, "targets classes"], targets: Int[Tensor, " targets"]
    ) -> Float[Tensor, ""]:
        """Compare logits with the classes asked for: text-anchored semantic consistency (SCR)."""
        if self.loss.form == "class-infonce":
            value = losses.class_infonce(logits, targets, temperature=self.loss.temperature)
        else:
            weights = None if self.weights is None else self.weights.to(logits.device)
            value = losses.point_cross_entropy(logits, targets, class_weights=weights)
        if self.loss.lovasz:
            value = value + self.loss.lovasz * losses.lovasz_softmax(logits, targets)
        return self.loss.weight * value

    def keep_words(
        self, embeddings: Float[Tensor, "points channels"], anchor: Embedder, batch: Batch
    ) -> Float[Tensor, ""]:
        """Hold embeddings near those that the network gave as it began: the mean of 1 - cosine."""
        with torch.no_grad():
            before = anchor.embed(anchor(batch.positions, batch.features, batch.item_of_point))
        near = nn.functional.cosine_similarity(embeddings, before, dim=1)
        return self.recipe.tuning.keep_words * (1 - near).mean()

    def contrast(
        self,
        student: Embedder,
        point_features: Float[Tensor, "points hidden"],
        batch: Batch,
        prompts: Prompts,
    ) -> Float[Tensor, ""]:
        """Compare points with pixels: the rivals PPKT and SLidR, and the KL baseline."""
        pixels = batch.pixels
        assert pixels is not None
        seeing = point_features.index_select(0, pixels.points)
        if self.loss.form == "kl-divergence":
            logits = prompts.best_name(student.compare(seeing, prompts.embeddings))
            return kl_divergence(logits, pixels.logits, temperature=self.loss.kl_temperature)
        temperature, regions = self.loss.contrast_temperature, pixels.superpixels
        seen = _seen_by(pixels, prompts) if regions is None else regions.embeddings
        if student.local is None:  # the pixels are where the words are
            points = student.embed(seeing)
        else:
            points, seen = student.local.points(seeing), student.local.pixels(seen)
        if regions is None:
            return pixel_point_infonce(points, seen, temperature=temperature)
        if student.local is not None:
            seen = nn.functional.normalize(seen, dim=1)
        return superpixel_infonce(points, regions.of_pair, seen, temperature=temperature)

    def consistency(
        self,
        student: Embedder,
        point_features: Float[Tensor, "points hidden"],
        batch: Batch,
        prompts: Prompts,
    ) -> Float[Tensor, ""]:
        """Draw together what lies in one cell: spatial-temporal consistency (StCR); zero if it is off."""
        settings, pixels = self.recipe.consistency, batch.pixels
        if student.local is None or pixels is None or batch.cells is None:
            return point_features.new_zeros(())
        cells, labels = batch.cells[pixels.points], pixels.logits.argmax(1)
        text = prompts.class_directions()
        # With nothing else to teach the layer into the text space, this term does.
        points = (student.local.points if self.loss.weight else student.head)(
            point_features.index_select(0, pixels.points)
        )
        if settings.form == "released-code":
            return settings.weight * packed_consistency(points, labels, cells, text)
        layer = student.local.pixels
        seen = pixels.embeddings
        pixel_features = (
            layer(text).index_select(0, labels) if seen is None else layer(seen)
        )  # class maps have texts alone
        value = spatial_temporal_consistency(
            points,
            pixel_features,
            labels,
            cells,
            text,
            temperature=settings.temperature,
            guard=settings.guard,
        )
        return settings.weight * value


def _seen_by(pixels: PixelTargets, prompts: Prompts) -> Float[Tensor, "pairs channels"]:
    """Give the teacher's embedding at each pair; one that has nothing but classes has their texts."""
    if pixels.embeddings is not None:
        return pixels.embeddings
    return prompts.class_directions()[pixels.logits.argmax(1)]
