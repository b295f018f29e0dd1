"""Value features of image-text models: an embedding in the text space for every cell of an image.

A model pools the patch features of an image into one embedding by attention (ResNet, SigLIP) or by the class
token (ViT). MaskCLIP (Zhou et al., ECCV 2022, Sec. 3.2) leaves out the queries and keys of that last
attention and sends the value feature of every patch through the remaining projections alone. Others put
another attention in its place (:mod:`clip2scene.teacher.last_attention`).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clip2scene.teacher.clip.load import Clip, Family
from clip2scene.teacher.clip.resnet import ClipResNet
from clip2scene.teacher.last_attention import (
    KEEPS_BLOCK,
    OF_RESNET,
    OF_VIT,
    Attention,
    attend,
    gather_by_proxy,
    gather_from_alike_cells,
)

Proxy = Float[Tensor, "views features _ _"] | None  # feature maps of a second model, on a grid of their own

ATTENTIONS: dict[Family, tuple[str, ...]] = {
    "vit": OF_VIT,
    "resnet": OF_RESNET,
    "siglip": ("maskclip",),
    "tips": ("maskclip",),
}
"""Which attentions the last layer of each family can have."""
_SPOKEN: dict[Family, str] = {
    "vit": "a CLIP ViT",
    "resnet": "a CLIP ResNet",
    "siglip": "a SigLIP",
    "tips": "a TIPSv2",
}


def check_last_layer(family: Family, attention: Attention, *, with_proxy: bool) -> None:
    """Refuse an attention, or a proxy, that a family of models has no place for.

    Args:
        family: Of the image-text model.
        attention: Of its last layer.
        with_proxy: Whether cells are gathered by another model.

    Raises:
        ValueError: If it has none, or both are asked for; the message names the options.
    """
    known, spoken = ATTENTIONS[family], _SPOKEN[family]
    if attention not in known:
        raise ValueError(
            f"--teacher.attention must be {' or '.join(known)} for {spoken}, got {attention!r}; correct that "
            "option, or name another model as --teacher-weights"
        )
    if with_proxy and len(known) == 1:
        raise ValueError(
            f"--teacher.proxy goes with a CLIP ViT or ResNet, got {spoken}; leave it out, or name another "
            "model as --teacher-weights"
        )
    if with_proxy and attention != "maskclip":
        raise ValueError(
            f"--teacher.proxy takes the place of an attention, got --teacher.attention {attention} beside "
            "it; leave one of them out"
        )


def dense_maps(
    clip: Clip,
    pixels: Float[Tensor, "views 3 height width"],
    *,
    attention: Attention = "maskclip",
    proxy: Proxy = None,
    with_keys: bool = False,
) -> tuple[Float[Tensor, "views _ _ _"], ...]:
    """Read an image-text model densely.

    Args:
        clip: The model.
        pixels: Normalised images, whose sides are multiples of the model's cells.
        attention: Of its last layer, one of its family's ``ATTENTIONS``.
        proxy: Feature maps of ProxyCLIP's second model, by which cells are gathered instead.
        with_keys: Whether attention keys are wanted.

    Returns:
        Dense embeddings, not normalised, on the grid of the proxy if there is one; then attention keys, if
        asked for.
    """
    if clip.family == "resnet":
        return dense_resnet(clip.model, pixels, attention=attention, proxy=proxy, with_keys=with_keys)
    if clip.family == "vit":
        maps = dense_vit(clip.model, pixels, attention=attention, proxy=proxy)
    else:
        maps = (dense_siglip if clip.family == "siglip" else dense_tips)(clip.model, pixels)
    return maps if with_keys else maps[:1]


def dense_resnet(
    model: ClipResNet,
    pixels: Float[Tensor, "views 3 height width"],
    *,
    attention: Attention = "maskclip",
    proxy: Proxy = None,
    with_keys: bool = True,
) -> tuple[Float[Tensor, "views _ _ _"], ...]:
    """Attention pooling rewritten as 1x1 convolutions (MaskCLIP, Sec. 3.2): value, then output projection.

    Both are linear, so cells are gathered after them, where there are fewest channels.

    Args:
        model: The model.
        pixels: Normalised images.
        attention: ``maskclip``, or ``cells``.
        proxy: Feature maps of ProxyCLIP's second model, by which cells are gathered instead.
        with_keys: Whether attention keys are wanted.

    Returns:
        Dense embeddings, not normalised, on the grid of the proxy if there is one; then attention keys, if
        asked for.
    """
    tower = model.visual
    cells = tower.cells(pixels.contiguous(memory_format=torch.channels_last))
    dense = tower.attnpool.dense(cells)
    if proxy is not None:
        dense = gather_by_proxy(dense, proxy)
    elif attention == "cells":
        dense = gather_from_alike_cells(dense, cells)
    return (dense, tower.attnpool.keys(cells)) if with_keys else (dense,)


def dense_vit(
    model: nn.Module,
    pixels: Float[Tensor, "views 3 height width"],
    *,
    attention: Attention = "maskclip",
    proxy: Proxy = None,
) -> tuple[Float[Tensor, "views channels _ _"], Float[Tensor, "views keys rows cols"]]:
    """Value features of the last block of a CLIP vision transformer (MaskCLIP, Sec. 3.2).

    Value and output projection replace the attention, or another attention does. The residual connection and
    the feed-forward part stay for those of ``KEEPS_BLOCK``, and are left out for the others and with a proxy;
    then come the final norm and the projection of the class token.

    Args:
        model: The model.
        pixels: Normalised images.
        attention: One of ``OF_VIT``.
        proxy: Feature maps of ProxyCLIP's second model, by which cells are gathered instead.

    Returns:
        Dense embeddings, not normalised, on the grid of the proxy if there is one; and attention keys (after
        the output projection, as in MaskCLIP's code).
    """
    tower: Any = model.vision_model
    block = tower.encoder.layers[-1]
    tokens = _input_of(block, lambda: tower(pixel_values=pixels, interpolate_pos_encoding=True))
    normed = block.layer_norm1(tokens)
    rows = pixels.shape[-2] // tower.config.patch_size
    last = block.self_attn
    values, keys = last.v_proj(normed), last.k_proj(normed)
    key_map = _as_map(last.out_proj(keys)[:, 1:], rows)
    if proxy is not None:
        gathered = gather_by_proxy(_as_map(values[:, 1:], rows), proxy)
        rows, values = gathered.shape[2], gathered.flatten(2).transpose(1, 2)
    elif attention != "maskclip":
        q, k, v = (_by_head(each, last.num_heads) for each in (last.q_proj(normed), keys, values))
        values = attend(q, k, v, attention, (rows, key_map.shape[3]))
    values = last.out_proj(values)
    if proxy is None and attention in KEEPS_BLOCK:
        values = values + tokens
        values = values + block.mlp(block.layer_norm2(values))
    project: Any = model.visual_projection
    embeddings = project(tower.post_layernorm(values))
    return _as_map(embeddings if proxy is not None else embeddings[:, 1:], rows), key_map


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


def dense_tips(
    model: nn.Module, pixels: Float[Tensor, "views 3 height width"]
) -> tuple[Float[Tensor, "views channels rows cols"], Float[Tensor, "views keys rows cols"]]:
    """Value features of the last block of a TIPSv2 (Cao et al. 2026): every token attends to itself.

    With ls for the scales of layers and Pr for the output projection, x1 = x + ls1 Pr(v), and the embedding
    is norm(x1 + ls2 MLP(LN x1)). The class token and the registers are left out.

    Returns:
        Dense embeddings, not normalised, and attention keys (after the output projection).
    """
    tower: Any = model.vision_model
    block = tower.encoder.layer[-1]
    tokens = _input_of(block, lambda: tower(pixel_values=pixels))
    normed, last = block.norm1(tokens), block.attention
    mixed = tokens + block.layer_scale1(last.o_proj(last.v_proj(normed)))
    mixed = mixed + block.layer_scale2(block.mlp(block.norm2(mixed)))
    rows, special = pixels.shape[-2] // tower.config.patch_size, 1 + tower.config.num_register_tokens
    keys = last.o_proj(last.k_proj(normed))
    return _as_map(tower.layernorm(mixed)[:, special:], rows), _as_map(keys[:, special:], rows)


def _by_head(
    tokens: Float[Tensor, "views tokens channels"], heads: int
) -> Float[Tensor, "views heads tokens width"]:
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


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
