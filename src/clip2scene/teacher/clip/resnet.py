"""CLIP with a residual network for images: OpenAI's RN50 family and the small model of toytown, one class.

The names of the weights are OpenAI's (``visual.layer1.0.conv1.weight``, ``transformer.resblocks.0...``), so
a published state dict loads as it is. What is free here and fixed there: the number of stages and the stride
of each.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class ResNetClipConfig:
    """The shape of a :class:`ClipResNet`; the defaults are OpenAI's RN50.

    Attributes:
        embed_dim: Channels of the space that images and text share.
        image_size: Height and width of the images it was trained on, in pixels.
        layers: Residual blocks in each stage; OpenAI's models have four stages.
        strides: Downsampling of each stage, after the stem's four.
        width: Channels of the first stage; each later stage doubles them.
        image_heads: Attention heads of the image's pooling.
        vocab_size: Number of tokens; the last one ends a text.
        context_length: Longest text, in tokens.
        text_width: Channels of the text transformer.
        text_heads: Its attention heads.
        text_layers: Its blocks.
    """

    embed_dim: int = 1024
    image_size: int = 224
    layers: tuple[int, ...] = (3, 4, 6, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    width: int = 64
    image_heads: int = 32
    vocab_size: int = 49408
    context_length: int = 77
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12

    def __post_init__(self) -> None:
        if len(self.layers) != len(self.strides) or not self.layers:
            raise ValueError(
                f"every stage needs a number of blocks and a stride, got layers={self.layers} and "
                f"strides={self.strides}; give two lists of one length"
            )
        if self.features % self.image_heads or self.text_width % self.text_heads:
            raise ValueError(
                f"attention heads must divide the channels, got {self.image_heads} heads for {self.features} "
                f"channels (image) and {self.text_heads} for {self.text_width} (text); change one of a pair"
            )

    @property
    def features(self) -> int:
        """Channels of the last feature map, before the pooling."""
        return self.width * 4 * 2 ** (len(self.layers) - 1)

    @property
    def stride(self) -> int:
        """Pixels per cell of the last feature map."""
        total = 4
        for stride in self.strides:
            total *= stride
        return total


class Bottleneck(nn.Module):
    """Bottleneck residual block whose stride is an average pooling (anti-aliased)."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = planes * 4
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            shortcut = [
                ("-1", nn.AvgPool2d(stride) if stride > 1 else nn.Identity()),
                ("0", nn.Conv2d(inputs, outputs, 1, bias=False)),
                ("1", nn.BatchNorm2d(outputs)),
            ]
            self.downsample = nn.Sequential(OrderedDict(shortcut))

    def forward(self, x: Float[Tensor, "views inputs h w"]) -> Float[Tensor, "views outputs h2 w2"]:
        """Add the block's residual to its input, average-pooled and projected where the shapes differ."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(self.avgpool(y)))
        return F.relu(y + self.downsample(x), inplace=True)


class AttentionPool(nn.Module):
    """Pool a feature map with one query, the mean of its cells (CLIP, section 2.4).

    Every cell, and the mean before them, gets its position embedding; the values that the query gathers go
    through ``v_proj`` and ``c_proj``. Because both are linear, gathering first and projecting once is the
    same and far cheaper; because both are linear, they also turn every single cell into an embedding, see
    :meth:`dense`.
    """

    def __init__(self, side: int, channels: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = _normal((side**2 + 1, channels), channels**-0.5)
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed_dim)

    def tokens(self, x: Float[Tensor, "views channels rows cols"]) -> Float[Tensor, "views tokens channels"]:
        """Return the mean of all cells, then the cells row by row, each with its position embedding."""
        cells = x.flatten(2).transpose(1, 2)
        cells = torch.cat([cells.mean(1, keepdim=True), cells], dim=1)
        rows, cols = x.shape[-2:]
        return cells + resize_positions(self.positional_embedding, rows, cols).to(cells.dtype)

    def attention(
        self, tokens: Float[Tensor, "views tokens channels"]
    ) -> Float[Tensor, "views heads tokens"]:
        """Attention weights of the mean's query over all tokens, once per head; they sum to one."""
        views, _, channels = tokens.shape
        query = self.q_proj(tokens[:, 0]).view(views, self.heads, -1) * (channels // self.heads) ** -0.5
        # A key's bias adds the same to every token's logit, which the softmax ignores.
        keys = self.k_proj.weight.view(self.heads, -1, channels).to(query.dtype)
        mixed = torch.einsum("vhd,hdc->vhc", query, keys)
        return (mixed @ tokens.transpose(1, 2)).float().softmax(-1).to(tokens.dtype)

    def forward(self, x: Float[Tensor, "views channels rows cols"]) -> Float[Tensor, "views embed"]:
        """Pool each view to one embedding, not normalised."""
        tokens = self.tokens(x)
        gathered = self.attention(tokens) @ tokens
        values = self.v_proj.weight.view(self.heads, -1, tokens.shape[-1]).to(tokens.dtype)
        pooled = torch.einsum("vhc,hdc->vhd", gathered, values).flatten(1)
        return self.c_proj(pooled + self.v_proj.bias.to(pooled.dtype))

    def dense(self, x: Float[Tensor, "views channels rows cols"]) -> Float[Tensor, "views embed rows cols"]:
        """Embed every cell as the pooling would if all its attention were on that cell (MaskCLIP).

        Both projections are linear, so they are multiplied once, and applied to the positions before those
        are interpolated to the map's size.

        Args:
            x: The last feature map. The position embedding stays in the values, as in :meth:`forward`;
                MaskCLIP's published ResNet head leaves it out.
        """
        rows, cols = x.shape[-2:]
        weight = self.c_proj.weight @ self.v_proj.weight
        bias = self.c_proj.weight @ self.v_proj.bias + self.c_proj.bias
        dense = F.conv2d(x, weight[:, :, None, None], bias)
        if self.positional_embedding.any():
            grid = resize_positions(self.positional_embedding @ weight.T, rows, cols)[1:]
            dense = dense + grid.T.unflatten(1, (rows, cols))
        return dense

    def keys(self, x: Float[Tensor, "views channels rows cols"]) -> Float[Tensor, "views channels rows cols"]:
        """Project every cell to its attention key."""
        return self.k_proj(self.tokens(x)[:, 1:]).transpose(1, 2).unflatten(2, x.shape[-2:])


def _normal(shape: tuple[int, int], deviation: float) -> nn.Parameter:
    """Make a parameter of normal numbers."""
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=deviation))


def resize_positions(
    embedding: Float[Tensor, "tokens channels"], rows: int, cols: int
) -> Float[Tensor, "new_tokens channels"]:
    """Interpolate learned position embeddings, one special token and then a square grid, to another grid.

    Bicubic with ``align_corners=False``, as MaskCLIP does; the special token's is kept as it is.
    """
    side = round((len(embedding) - 1) ** 0.5)
    if (rows, cols) == (side, side):
        return embedding
    grid = embedding[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid.float(), (rows, cols), mode="bicubic", align_corners=False).to(embedding.dtype)
    return torch.cat([embedding[:1], grid[0].flatten(1).T])


class ImageTower(nn.Module):
    """CLIP's residual network: three convolutions, residual stages, attention pooling."""

    def __init__(self, config: ResNetClipConfig) -> None:
        super().__init__()
        width = config.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.num_stages = len(config.layers)
        inputs = width
        for stage, (blocks, stride) in enumerate(zip(config.layers, config.strides, strict=True)):
            planes = width * 2**stage
            layer = [Bottleneck(inputs, planes, stride)]
            inputs = planes * 4
            layer += [Bottleneck(inputs, planes, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layer))
        side = config.image_size // config.stride
        self.attnpool = AttentionPool(side, inputs, config.image_heads, config.embed_dim)

    def cells(
        self, images: Float[Tensor, "views 3 height width"]
    ) -> Float[Tensor, "views channels rows cols"]:
        """Compute the last feature map, before the pooling."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        x = F.avg_pool2d(x, 2)
        for stage in range(self.num_stages):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views embed"]:
        """Embed normalised images, one vector each."""
        return self.attnpool(self.cells(images))


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the activation OpenAI trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation elementwise."""
        return x * torch.sigmoid(1.702 * x)


class CausalAttention(nn.Module):
    """Causal multi-head self-attention; weights are named as in torch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = _normal((3 * width, width), width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "texts tokens width"]) -> Float[Tensor, "texts tokens width"]:
        """Attend from each token to itself and those before it."""
        texts, tokens, width = x.shape
        mixed = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(texts, tokens, 3, self.heads, -1)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        logits = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5
        future = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).triu(1)
        weights = logits.float().masked_fill(future, float("-inf")).softmax(-1).to(value.dtype)
        return self.out_proj((weights @ value).transpose(1, 2).reshape(texts, tokens, width))


class TextBlock(nn.Module):
    """A pre-norm transformer block of CLIP's text tower."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = CausalAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        mlp = [
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", QuickGELU()),
            ("c_proj", nn.Linear(4 * width, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict(mlp))

    def forward(self, x: Float[Tensor, "texts tokens width"]) -> Float[Tensor, "texts tokens width"]:
        """Apply self-attention, then the feed-forward part, each with its residual connection."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class TextTransformer(nn.Module):
    """The blocks of CLIP's text tower."""

    def __init__(self, config: ResNetClipConfig) -> None:
        super().__init__()
        blocks = [TextBlock(config.text_width, config.text_heads) for _ in range(config.text_layers)]
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x: Float[Tensor, "texts tokens width"]) -> Float[Tensor, "texts tokens width"]:
        """Run all blocks."""
        for block in self.resblocks:
            x = block(x)
        return x


class ClipResNet(nn.Module):
    """CLIP: an image tower and a text tower with one embedding space (Radford et al. 2021)."""

    def __init__(self, config: ResNetClipConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = ImageTower(config)
        self.transformer = TextTransformer(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.text_width)
        self.positional_embedding = _normal((config.context_length, config.text_width), 0.01)
        self.ln_final = nn.LayerNorm(config.text_width)
        self.text_projection = _normal((config.text_width, config.embed_dim), config.text_width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_image(self, images: Float[Tensor, "views 3 height width"]) -> Float[Tensor, "views embed"]:
        """Embed normalised images; rows are not of unit length."""
        return self.visual(images)

    def encode_text(self, tokens: Int[Tensor, "texts tokens"]) -> Float[Tensor, "texts embed"]:
        """Embed token ids, padded after the end token; rows are not of unit length.

        The end token has the highest id, and the text's embedding is read there.
        """
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        x = self.ln_final(self.transformer(x))
        ends = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
        return ends @ self.text_projection.to(ends.dtype)
