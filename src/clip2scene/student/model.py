"""The student as a whole: a 3D backbone, the text head, and what training or labels add."""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor, nn

from clip2scene.student.inputs import InputOptions
from clip2scene.student.minkunet import MinkUNet


class ProjectionHeads(nn.Module):
    """Projection heads of points and of pixels, for a loss term that does not share the text head.

    The paper found that its two terms need different learnable layers (Sec. 4.3). The released code's pixel
    layer is never trained; here both are.

    Args:
        point_channels: Features a point that the backbone gives.
        pixel_channels: Features a pixel that the image model gives.
        channels: Size of the common space.
    """

    def __init__(self, point_channels: int, pixel_channels: int, channels: int) -> None:
        super().__init__()
        self.points = nn.Linear(point_channels, channels)
        self.pixels = nn.Linear(pixel_channels, channels)
        if pixel_channels == channels:  # a pixel starts where the teacher places it
            nn.init.eye_(self.pixels.weight)
            nn.init.zeros_(self.pixels.bias)


def similarity_head(point_channels: int, channels: int) -> nn.Module:
    """Make an MLP of two layers, for a loss that compares points with pixels in the space of the latter."""
    return nn.Sequential(nn.Linear(point_channels, channels), nn.GELU(), nn.Linear(channels, channels))


class Embedder(nn.Module):
    """Embed every point in the text space of the teacher (paper, Sec. 3.2).

    ``similarity`` is None, or a head (:func:`similarity_head`) that is used in training only.

    Args:
        backbone: A network of this package: ``backbone(positions, features, batch_of_point)`` gives
            ``backbone.out_channels`` features a point.
        text_channels: Size of the text space, the outputs of the text head.
        cosine_temperature: None makes a logit of the plain dot product, as the released code does; a number
            divides the cosine of embedding and text by it.
        inputs: What it is given of a cloud (:func:`clip2scene.student.inputs.prepare_cloud`).
        superpoint_mean: Whether logits and embeddings are averaged within superpoints at inference
            (:func:`clip2scene.inference.predict.predict`).
        viewpoint: Where the lidar stands in the clouds' frame, in metres, for these.
        local: Projection heads of points and pixels, for a loss that does not share the text head (paper,
            Sec. 4.3); used in training only.
        num_classes: Outputs of a linear classifier beside the text head, for training on labels; None has
            no classifier.
    """

    def __init__(
        self,
        backbone: nn.Module,
        text_channels: int,
        *,
        cosine_temperature: float | None = None,
        inputs: InputOptions = InputOptions(),  # noqa: B008 - frozen
        superpoint_mean: bool = False,
        viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
        local: ProjectionHeads | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.out_channels), text_channels)  # type: ignore[arg-type]
        self.cosine_temperature = cosine_temperature
        self.inputs = inputs
        self.superpoint_mean = superpoint_mean
        self.viewpoint = viewpoint
        self.local = local
        self.similarity: nn.Module | None = None
        self.classifier = None if num_classes is None else nn.Linear(self.head.in_features, num_classes)

    def forward(
        self,
        positions: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        batch_of_point: Int[Tensor, " points"],
    ) -> Float[Tensor, "points hidden"]:
        """Give the backbone's features of each point, which the heads take.

        Args:
            positions: Metres, each cloud in its own frame, as ``inputs`` has them.
            features: What the sensor measured, and the height where ``inputs`` has it.
            batch_of_point: Which cloud each point belongs to, from 0.
        """
        return self.backbone(positions, features, batch_of_point)

    def forward_to(
        self,
        head: Callable[[Float[Tensor, "rows hidden"]], Float[Tensor, "rows outputs"]],
        positions: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        batch_of_point: Int[Tensor, " points"],
    ) -> Float[Tensor, "points outputs"]:
        """Apply a head to the backbone's features of each point; :meth:`forward` has the rest.

        Where the points of a voxel share its features, the head is applied to voxels: of a dense map, these
        are far fewer.

        Args:
            head: What it gives for a row follows from that row alone.
            positions: In metres.
            features: What the sensor measured.
            batch_of_point: Which cloud each point belongs to.
        """
        if not isinstance(self.backbone, MinkUNet):
            return head(self(positions, features, batch_of_point))
        points, voxels = self.backbone.voxel_features(positions, features, batch_of_point)
        return points.nearest(voxels.replace(head(voxels.features)))

    def embed(self, point_features: Float[Tensor, "points hidden"]) -> Float[Tensor, "points text"]:
        """Apply the text head: the dot product of an embedding and a text embedding is the name's logit.

        With a cosine temperature, embeddings have the length ``1 / cosine_temperature``.
        """
        embeddings = self.head(point_features)
        if self.cosine_temperature is None:
            return embeddings
        return nn.functional.normalize(embeddings, dim=1) / self.cosine_temperature

    def compare(
        self, point_features: Float[Tensor, "points hidden"], text: Float[Tensor, "names text"]
    ) -> Float[Tensor, "points names"]:
        """Give the logit of each name: ``embed(point_features) @ text.T``, at a fraction of its cost.

        Without normalisation the two products are one linear map, and names are far fewer than channels.
        """
        if self.cosine_temperature is None:
            return nn.functional.linear(point_features, text @ self.head.weight, text @ self.head.bias)
        return self.embed(point_features) @ text.T
