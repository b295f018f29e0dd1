"""Which cells gather from which in the last layer of an image tower: dense read-outs of a frozen CLIP.

CLIP's last attention serves its class token and mixes far parts of an image. MaskCLIP leaves it out; what
came later puts another in its place, which compares tokens of one kind with each other. In the equations, q,
k and v are the projections of the last block's normalised tokens, d is the width of a head, S a matrix of
cosines.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Attention = Literal["maskclip", "sclip", "clearclip", "naclip", "cells"]

OF_VIT = ("maskclip", "sclip", "clearclip", "naclip")
OF_RESNET = ("maskclip", "cells")
KEEPS_BLOCK = ("maskclip", "sclip")
"""Those that keep the residual connection and the feed-forward part of a transformer's last block."""

NEAR = 5.0
"""NACLIP: standard deviation of its Gaussian, in cells."""
CELLS_SHARPNESS, CELLS_NEAR = 3.0, 4.0
"""``cells``: factor on the cosines, standard deviation in cells; how they were chosen: docs/teachers.md."""
PROXY_SHARPNESS, PROXY_SHIFT = 3.0, 1.2
"""ProxyCLIP: factor on the cosines; least cosine that counts, in means over all pairs of cells."""
_HIGHEST_LEAST = 0.99  # where all cells are alike, 1.2 means are more than any two have in common
_AT_ONCE = 1024  # rows of a matrix of cosines

Heads = Float[Tensor, "views heads tokens width"]
Cosines = Float[Tensor, "views some cells"]  # of some cells with all of them


def attend(
    q: Heads, k: Heads, v: Heads, attention: Attention, grid: tuple[int, int]
) -> Float[Tensor, "views tokens channels"]:
    """Gather values in a vision transformer's last attention, as ``sclip``, ``clearclip`` or ``naclip`` does.

    =============  ====================================================================================
    ``sclip``      softmax(qq'/sqrt d) v + softmax(kk'/sqrt d) v (Wang et al., ECCV 2024)
    ``clearclip``  softmax(qq'/sqrt d) v (Lan et al., ECCV 2024)
    ``naclip``     softmax(kk'/sqrt d + w) v, w_ij = exp(-|p_i - p_j|^2 / 2 s^2) between places in cells, 0
                   for the class token (Hajimiri et al., WACV 2025)
    =============  ====================================================================================

    Args:
        q: Queries; the class token comes first, then the cells row by row.
        k: Keys.
        v: Values.
        attention: Which.
        grid: Rows and columns of the cells.

    Returns:
        The heads side by side, before the output projection.
    """
    if attention == "sclip":
        gathered = F.scaled_dot_product_attention(q, q, v) + F.scaled_dot_product_attention(k, k, v)
    elif attention == "clearclip":
        gathered = F.scaled_dot_product_attention(q, q, v)
    else:
        near = F.pad(nearness(grid, NEAR, v), (1, 0, 1, 0))
        gathered = F.scaled_dot_product_attention(k, k, v, attn_mask=near)
    return gathered.transpose(1, 2).flatten(2)


def nearness(grid: tuple[int, int], width: float, like: Tensor) -> Float[Tensor, "cells cells"]:
    """Compute NACLIP's Gaussian of the distance between any two cells of a grid.

    Args:
        grid: Rows and columns.
        width: Standard deviation, in cells.
        like: Gives device and number format.
    """
    cells = torch.arange(grid[0] * grid[1], device=like.device)
    return torch.exp(-_squared_distances(cells, grid, like) / (2 * width**2))


def gather_from_alike_cells(
    values: Float[Tensor, "views channels rows cols"], cells: Float[Tensor, "views features rows cols"]
) -> Float[Tensor, "views channels rows cols"]:
    """Average each cell's values over near cells with like features: softmax(3 S - |p_i - p_j|^2 / 2 s^2).

    For attention pooling, whose keys were trained for the one query of the whole image. S are cosines of what
    the pooling is given, its mean over the cells taken off; places p are counted in cells, s = 4. Ours, not
    published.

    Args:
        values: What is averaged. Projections that are linear may be applied before as well as after.
        cells: The pooling's input.
    """
    centred = cells - cells.mean((2, 3), keepdim=True)
    grid = (cells.shape[2], cells.shape[3])

    def weigh(cosines: Cosines, some: Int[Tensor, " some"]) -> Cosines:
        return CELLS_SHARPNESS * cosines - _squared_distances(some, grid, cosines) / (2 * CELLS_NEAR**2)

    return _gather(values, _unit_rows(centred), weigh)


def gather_by_proxy(
    values: Float[Tensor, "views channels _ _"], features: Float[Tensor, "views features rows cols"]
) -> Float[Tensor, "views channels rows cols"]:
    """Gather values by the features of another model (ProxyCLIP, Lan et al., ECCV 2024): softmax(M) v.

    M = 3 (S - 1.2 mean S), and what is negative does not count. Where all cells are so alike that nothing
    would be left, as in an image of one colour, the equation has no value; here a cell always keeps itself.

    Args:
        values: On a grid of their own; resized to that of ``features``.
        features: Of the proxy.
    """
    unit = _unit_rows(features)
    least = (PROXY_SHIFT * unit.mean(1).square().sum(-1)).clamp(max=_HIGHEST_LEAST)

    def weigh(cosines: Cosines, _: Int[Tensor, " some"]) -> Cosines:
        return (PROXY_SHARPNESS * cosines).masked_fill(cosines < least[:, None, None], -torch.inf)

    return _gather(resize_map(values, features.shape[-2:]), unit, weigh)


def resize_map(
    cells: Float[Tensor, "views channels _ _"], grid: tuple[int, ...]
) -> Float[Tensor, "views channels rows cols"]:
    """Resize maps bilinearly to another grid over the same image; corners are not aligned."""
    if cells.shape[2:] == grid:
        return cells
    return F.interpolate(cells, grid, mode="bilinear", align_corners=False)


def _unit_rows(cells: Float[Tensor, "views features rows cols"]) -> Float[Tensor, "views cells features"]:
    return F.normalize(cells.flatten(2).transpose(1, 2), dim=-1)


def _squared_distances(
    some: Int[Tensor, " some"], grid: tuple[int, int], like: Tensor
) -> Float[Tensor, "some cells"]:
    """Square the distances of some cells of a grid, by number, to all of them, in cells."""
    rows, cols = (torch.arange(side, device=like.device, dtype=like.dtype) for side in grid)
    down, right = rows - (some // grid[1])[:, None], cols - (some % grid[1])[:, None]
    return (down.square()[:, :, None] + right.square()[:, None]).flatten(1)


def _gather(
    values: Float[Tensor, "views channels rows cols"],
    unit: Float[Tensor, "views cells features"],
    weigh: Callable[[Cosines, Int[Tensor, " some"]], Cosines],
) -> Float[Tensor, "views channels rows cols"]:
    """Average values with the softmax of what ``weigh`` makes of cosines; some cells at a time."""
    flat, gathered = values.flatten(2).transpose(1, 2), []
    for some in torch.arange(unit.shape[1], device=unit.device).split(_AT_ONCE):
        cosines = unit[:, some] @ unit.transpose(1, 2)
        gathered.append(weigh(cosines, some).softmax(-1) @ flat)
    return torch.cat(gathered, 1).transpose(1, 2).view_as(values)
