"""The student as a whole: a 3D backbone and the linear layer into the text space."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Embedder(nn.Module):
    """Give every point an embedding that can be compared with words (paper, Sec. 3.2).

    Args:
        backbone: A network of this package: ``backbone(positions, features, batch_of_point)`` gives
            ``backbone.out_channels`` features a point.
        text_channels: Size of the text space.
        cosine_temperature: None compares by plain dot product, as the released code does; a number
            compares unit vectors and divides by it.
    """

    def __init__(
        self, backbone: nn.Module, text_channels: int, *, cosine_temperature: float | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.out_channels), text_channels)  # type: ignore[arg-type]
        self.cosine_temperature = cosine_temperature

    def forward(
        self,
        positions: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        batch_of_point: Int[Tensor, "points"],
    ) -> Float[Tensor, "points text"]:
        """Embed points; the dot product with a class's text embedding is the logit of that class."""
        embeddings = self.head(self.backbone(positions, features, batch_of_point))
        if self.cosine_temperature is None:
            return embeddings
        return nn.functional.normalize(embeddings, dim=1) / self.cosine_temperature

    @torch.inference_mode()
    def embed_cloud(
        self, positions: Float[Tensor, "points 3"], features: Float[Tensor, "points channels"]
    ) -> Float[Tensor, "points text"]:
        """Embed one cloud, as judged: batch statistics frozen, nothing kept for gradients."""
        self.eval()
        device = self.head.weight.device
        batch_of_point = torch.zeros(len(positions), dtype=torch.long, device=device)
        return self(positions.to(device), features.to(device), batch_of_point).cpu()
