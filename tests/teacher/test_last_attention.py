import math

import pytest
import torch
import torch.nn.functional as F

from clip2scene.teacher import last_attention
from clip2scene.teacher.last_attention import (
    NEAR,
    attend,
    gather_by_proxy,
    gather_from_alike_cells,
    nearness,
)

pytestmark = pytest.mark.usefixtures("exact_products")

GRID = (3, 4)
TOKENS = 1 + 3 * 4


def heads(seed, *, views=2, width=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(views, 2, TOKENS, width, generator=generator)


def place(token):
    """Row and column of a token; the class token, which comes first, has none."""
    return None if token == 0 else divmod(token - 1, GRID[1])


def closeness(one, other, width):
    if place(one) is None or place(other) is None:
        return 0.0
    (a, b), (c, d) = place(one), place(other)
    return math.exp(-((a - c) ** 2 + (b - d) ** 2) / (2 * width**2))


def softmax(logits):
    powers = [math.exp(each) for each in logits]
    return [each / sum(powers) for each in powers]


def gathered_plainly(q, k, v, attention, width=NEAR):
    """The equations, view by view, head by head, token by token."""
    out = torch.zeros(len(v), TOKENS, 2 * v.shape[-1])
    for view in range(len(v)):
        for head in range(2):
            for token in range(TOKENS):
                weights = [0.0] * TOKENS
                for x in {"sclip": (q, k), "clearclip": (q,), "naclip": (k,)}[attention]:
                    x = x[view, head]
                    logits = [float(x[token] @ x[other]) / math.sqrt(x.shape[1]) for other in range(TOKENS)]
                    if attention == "naclip":
                        logits = [each + closeness(token, j, width) for j, each in enumerate(logits)]
                    weights = [a + b for a, b in zip(weights, softmax(logits), strict=True)]
                mixed = sum(weight * v[view, head, other] for other, weight in enumerate(weights))
                out[view, token, head * v.shape[-1] : (head + 1) * v.shape[-1]] = mixed
    return out


@pytest.mark.parametrize("attention", ["sclip", "clearclip", "naclip"])
def test_values_are_gathered_as_the_equation_says_head_by_head(attention):
    q, k, v = heads(0), heads(1), heads(2)
    torch.testing.assert_close(attend(q, k, v, attention, GRID), gathered_plainly(q, k, v, attention))


@pytest.mark.parametrize("attention", ["sclip", "clearclip", "naclip"])
def test_tokens_that_are_like_no_other_gather_from_themselves_alone(attention):
    """As MaskCLIP's do; with sclip once for the queries and once for the keys."""
    alone = 40 * torch.eye(TOKENS).expand(2, 2, TOKENS, TOKENS)
    v = heads(2, width=TOKENS)
    own = v.transpose(1, 2).flatten(2) * (2 if attention == "sclip" else 1)
    torch.testing.assert_close(attend(alone, alone, v, attention, GRID), own)


def test_nearness_far_wider_than_the_grid_changes_nothing_and_a_vanishing_one_is_a_tokens_own(monkeypatch):
    """The Gaussian is at most 1: a vanishing width leaves keys that are compared, and 1 more for the own."""
    torch.testing.assert_close(nearness(GRID, 1e-3, torch.zeros(1)), torch.eye(12))
    k, v = heads(1), heads(2)
    monkeypatch.setattr(last_attention, "NEAR", 1e4)
    plain = F.scaled_dot_product_attention(k, k, v)[:, :, 1:]
    wide = attend(k, k, v, "naclip", GRID).unflatten(2, (2, -1)).transpose(1, 2)[:, :, 1:]
    with_bias = gathered_plainly(k, k, v, "naclip", 1e4).unflatten(2, (2, -1)).transpose(1, 2)[:, :, 1:]
    torch.testing.assert_close(wide, with_bias)
    assert 0 < (wide - plain).abs().max() < 0.5  # the class token alone has none of it


def maps(seed, channels, rows, cols, views=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(views, channels, rows, cols, generator=generator)


def cosine(one, other):
    return float(F.cosine_similarity(one, other, dim=0))


def test_near_cells_that_are_alike_share_values_as_the_equation_says(monkeypatch):
    monkeypatch.setattr(last_attention, "_AT_ONCE", 5)  # of twelve
    values, cells = maps(0, 3, *GRID), maps(1, 6, *GRID) + 2
    found = gather_from_alike_cells(values, cells).flatten(2)
    for view in range(2):
        flat = cells[view].flatten(1)
        centred = flat - flat.mean(1, keepdim=True)
        for cell in range(12):
            logits = []
            for other in range(12):
                (a, b), (c, d) = divmod(cell, GRID[1]), divmod(other, GRID[1])
                away = ((a - c) ** 2 + (b - d) ** 2) / (2 * 4**2)
                logits.append(3 * cosine(centred[:, cell], centred[:, other]) - away)
            weights = softmax(logits)
            truth = sum(w * values[view].flatten(1)[:, other] for other, w in enumerate(weights))
            torch.testing.assert_close(found[view, :, cell], truth)


def test_a_proxy_says_which_cells_share_values_and_those_below_the_mean_share_none(monkeypatch):
    monkeypatch.setattr(last_attention, "_AT_ONCE", 5)
    values, features = maps(0, 3, *GRID), maps(1, 6, *GRID) + 0.5
    found, dropped = gather_by_proxy(values, features).flatten(2), 0
    for view in range(2):
        flat = features[view].flatten(1)
        cosines = [[cosine(flat[:, a], flat[:, b]) for b in range(12)] for a in range(12)]
        mean = sum(map(sum, cosines)) / 144
        for cell in range(12):
            m = [3 * (each - 1.2 * mean) for each in cosines[cell]]
            dropped += sum(each < 0 for each in m)
            weights = softmax([each if each >= 0 else -math.inf for each in m])
            truth = sum(w * values[view].flatten(1)[:, other] for other, w in enumerate(weights))
            torch.testing.assert_close(found[view, :, cell], truth)
    assert 0 < dropped < 2 * 144


def test_values_are_resized_to_the_grid_of_the_proxy():
    values, features = maps(0, 3, 2, 2), maps(1, 6, *GRID)
    resized = F.interpolate(values, GRID, mode="bilinear", align_corners=False)
    assert torch.equal(gather_by_proxy(values, features), gather_by_proxy(resized, features))


def test_where_a_proxy_finds_all_cells_alike_they_share_all_and_nothing_is_lost():
    """1.2 means of cosines that are all 1 are more than any: without a bound, nothing would be left."""
    values, features = maps(0, 3, *GRID), torch.ones(2, 6, *GRID)
    torch.testing.assert_close(
        gather_by_proxy(values, features), values.mean((2, 3), keepdim=True).expand_as(values)
    )
