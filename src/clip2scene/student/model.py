"""The student as a whole: a 3D backbone and the linear layer into the text space."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clip2scene.geometry.superpoints import average_within, find_superpoints
from clip2scene.types import Prompts

HEIGHT_UNIT = 2.0  # metres: brings heights to about the size of intensities


class ProjectionHeads(nn.Module):
    """Second layers of points and of pixels, for a term that is not to share the first one (StCR).

    The paper found that the two terms need different learnable layers (Sec. 4.3). The released code's pixel
    layer is never trained; here both learn.

    Args:
        point_channels: Features of the backbone.
        pixel_channels: The teacher's.
        channels: Size of the space that both are brought to, that of the texts.
    """

    def __init__(self, point_channels: int, pixel_channels: int, channels: int) -> None:
        super().__init__()
        self.points = nn.Linear(point_channels, channels)
        self.pixels = nn.Linear(pixel_channels, channels)
        if pixel_channels == channels:  # a pixel starts where the teacher sees it
            nn.init.eye_(self.pixels.weight)
            nn.init.zeros_(self.pixels.bias)


@dataclass(frozen=True)
class Answers:
    """What a student says of one cloud.

    Attributes:
        embeddings: Every point in the text space.
        by_words: Logit of each class, by what its names say.
        by_classifier: The same by the classifier that labels taught; None if there is none.
    """

    embeddings: Float[Tensor, "points text"]
    by_words: Float[Tensor, "points classes"]
    by_classifier: Float[Tensor, "points taught"] | None = None

    @property
    def logits(self) -> Float[Tensor, "points classes"]:
        """Give the classifier's logits, where there is one."""
        return self.by_words if self.by_classifier is None else self.by_classifier


class Embedder(nn.Module):
    """Give every point an embedding that can be compared with words (paper, Sec. 3.2).

    Args:
        backbone: A network of this package: ``backbone(positions, features, batch_of_point)`` gives
            ``backbone.out_channels`` features a point.
        text_channels: Size of the text space.
        cosine_temperature: None compares by plain dot product, as the released code does; a number
            compares unit vectors and divides by it.
        sees_height: Whether a point's height over the sensor is one more input. Convolutions know where
            things are relative to each other only.
        settles: Whether :meth:`embed_cloud` gives the points of a superpoint their common mean.
        local: Second layers of the points and of the pixels, for a loss that is not to share the first one
            (paper, Sec. 4.3); used in learning only.
        num_classes: Outputs of a linear classifier beside the layer into the text space, for learning from
            labels; None has none.
    """

    def __init__(
        self,
        backbone: nn.Module,
        text_channels: int,
        *,
        cosine_temperature: float | None = None,
        sees_height: bool = False,
        settles: bool = False,
        local: ProjectionHeads | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.out_channels), text_channels)  # type: ignore[arg-type]
        self.cosine_temperature = cosine_temperature
        self.sees_height = sees_height
        self.settles = settles
        self.local = local
        self.classifier = None if num_classes is None else nn.Linear(self.head.in_features, num_classes)

    def forward(
        self,
        positions: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        batch_of_point: Int[Tensor, " points"],
    ) -> Float[Tensor, "points hidden"]:
        """Describe points by the backbone's features, before the layer into the text space."""
        if self.sees_height:
            features = torch.cat([features, positions[:, 2:] / HEIGHT_UNIT], dim=1)
        return self.backbone(positions, features, batch_of_point)

    def embed(self, point_features: Float[Tensor, "points hidden"]) -> Float[Tensor, "points text"]:
        """Place described points in the text space; the dot product with a text embedding is its logit."""
        embeddings = self.head(point_features)
        if self.cosine_temperature is None:
            return embeddings
        return nn.functional.normalize(embeddings, dim=1) / self.cosine_temperature

    def compare(
        self, point_features: Float[Tensor, "points hidden"], text: Float[Tensor, "names text"]
    ) -> Float[Tensor, "points names"]:
        """Give the logit of each name: ``embed(described) @ text.T``, at a fraction of its cost.

        Without normalisation the two products are one linear map, and names are far fewer than channels.
        """
        if self.cosine_temperature is None:
            return nn.functional.linear(point_features, text @ self.head.weight, text @ self.head.bias)
        return self.embed(point_features) @ text.T

    @torch.inference_mode()
    def embed_cloud(
        self, positions: Float[Tensor, "points 3"], features: Float[Tensor, "points channels"]
    ) -> Float[Tensor, "points text"]:
        """Embed one cloud, as judged: batch statistics frozen, nothing kept for gradients."""
        return self._superpoint_mean(positions, self.embed(self._describe(positions, features)).cpu())

    @torch.inference_mode()
    def answer(
        self,
        positions: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        prompts: Prompts,
    ) -> Answers:
        """Answer for every point of one cloud, as judged."""
        point_features = self._describe(positions, features)
        outputs = [self.embed(point_features).cpu()]
        if self.classifier is not None:
            outputs.append(self.classifier(point_features).cpu())
        embeddings, *taught = self._superpoint_mean(positions, torch.cat(outputs, dim=1)).split(
            [each.shape[1] for each in outputs], dim=1
        )
        return Answers(embeddings, prompts.class_logits(embeddings), *taught)

    def _describe(
        self, positions: Float[Tensor, "points 3"], features: Float[Tensor, "points channels"]
    ) -> Float[Tensor, "points hidden"]:
        self.eval()
        device = self.head.weight.device
        batch_of_point = torch.zeros(len(positions), dtype=torch.long, device=device)
        return self(positions.to(device), features.to(device), batch_of_point)

    def _superpoint_mean(
        self, positions: Float[Tensor, "points 3"], values: Float[Tensor, "points channels"]
    ) -> Float[Tensor, "points channels"]:
        return average_within(find_superpoints(positions), values) if self.settles else values
