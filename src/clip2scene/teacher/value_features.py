"""Value features of image-text models: an embedding in the text space for every cell of an image.

A model pools the patch features of an image into one embedding by attention (ResNet, SigLIP) or by the class
token (ViT). MaskCLIP (Zhou et al., ECCV 2022, Sec. 3.2) leaves out the queries and keys of that last
attention and sends the value feature of every patch through the remaining projections alone.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clip2scene.teacher.clip.resnet import ClipResNet


def dense_resnet(
    model: ClipResNet, pixels: Float[Tensor, "views 3 height width"], *, with_keys: bool = True
) -> tuple[Float[Tensor, "views _ rows cols"], ...]:
    """Attention pooling rewritten as 1x1 convolutions (MaskCLIP, Sec. 3.2): value, then output projection.

    Returns:
        Dense embeddings, not normalised; then attention keys, if asked for.
    """
    tower = model.visual
    cells = tower.cells(pixels.contiguous(memory_format=torch.channels_last))
    dense = tower.attnpool.dense(cells)
    return (dense, tower.attnpool.keys(cells)) if with_keys else (dense,)


def dense_vit(
    model: nn.Module, pixels: Float[Tensor, "views 3 height width"]
) -> tuple[Float[Tensor, "views channels rows cols"], Float[Tensor, "views keys rows cols"]]:
    """Value features of the last block of a CLIP vision transformer (MaskCLIP, Sec. 3.2).

    Value and output projection replace the attention. The residual connection and the feed-forward part stay;
    then come the final norm and the projection of the class token.

    Returns:
        Dense embeddings, not normalised, and attention keys (after the output projection, as in MaskCLIP's
        code).
    """
    tower: Any = model.vision_model
    block = tower.encoder.layers[-1]
    tokens = _input_of(block, lambda: tower(pixel_values=pixels, interpolate_pos_encoding=True))
    normed = block.layer_norm1(tokens)
    attention = block.self_attn
    values = attention.out_proj(attention.v_proj(normed))
    keys = attention.out_proj(attention.k_proj(normed))
    values = values + tokens
    values = values + block.mlp(block.layer_norm2(values))
    project: Any = model.visual_projection
    embeddings = project(tower.post_layernorm(values))
    rows = pixels.shape[-2] // tower.config.patch_size
    return _as_map(embeddings[:, 1:], rows), _as_map(keys[:, 1:], rows)


def dense_siglip(
    model: nn.Module, pixels: Float[Tensor, "views 3 height width"]
) -> tuple[Float[Tensor, "views channels rows cols"], Float[Tensor, "views keys rows cols"]]:
    """Value features of SigLIP's attention pooling head: each token is pooled alone, with weight one.

    Returns:
        Dense embeddings, not normalised, and attention keys.
    """
    tower: Any = model.vision_model
    tokens = tower(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    head = tower.head
    _, key_weight, value_weight = head.attention.in_proj_weight.chunk(3)
    _, key_bias, value_bias = head.attention.in_proj_bias.chunk(3)
    pooled = head.attention.out_proj(F.linear(tokens, value_weight, value_bias))
    embeddings = pooled + head.mlp(head.layernorm(pooled))
    rows = pixels.shape[-2] // tower.config.patch_size
    return _as_map(embeddings, rows), _as_map(F.linear(tokens, key_weight, key_bias), rows)


def _as_map(
    tokens: Float[Tensor, "views tokens channels"], rows: int
) -> Float[Tensor, "views channels rows cols"]:
    return tokens.transpose(1, 2).unflatten(2, (rows, -1))


def _input_of(block: nn.Module, run: Callable[[], object]) -> Tensor:
    """Run a model and catch the input of one of its blocks."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(args[0] if args else kwargs["hidden_states"])

    handle = block.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    return caught[0]
