"""Making a table of text embeddings answer for names that it does not hold."""

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clip2scene.teacher.prompts import TextTable


def add_short_names(table: TextTable) -> TextTable:
    """Let names with an explanation in brackets be called without it: "car" for "car (automobile)".

    A short name that the table holds already, or that two names share, is not added.
    """
    shorts = [name.split(" (")[0] for name in table.names]
    rows = [
        row
        for row, short in enumerate(shorts)
        if short not in table.names and shorts.count(short) == 1  # few names: no need to be clever
    ]
    names = (*table.names, *(shorts[row] for row in rows))
    return TextTable(names, torch.cat([table.vectors, table.vectors[rows]]), table.space)


def add_stand_ins(table: TextTable, names: Sequence[str]) -> TextTable:
    """Give names that the table lacks a direction of their own.

    A stand-in is as far from the table's mean as its rows are on average, in a direction drawn from the
    name alone, so that nothing in the table is near it. It lets a class be learnt and told from the others;
    it says nothing of what the class means.
    """
    missing = [name for name in names if name not in table.names]
    mean = F.normalize(table.vectors.mean(0), dim=0)
    closeness = (table.vectors @ mean).mean().clamp(-1, 1)
    rows = []
    for name in missing:
        drawn = _draw(name, len(mean))
        sideways = F.normalize(drawn - (drawn @ mean) * mean, dim=0)
        rows.append(closeness * mean + (1 - closeness**2).sqrt() * sideways)
    if not rows:
        return table
    vectors = torch.cat([table.vectors, torch.stack(rows)])
    return TextTable((*table.names, *missing), vectors, table.space)


def unrelated_names(names: Sequence[str]) -> TextTable:
    """Make a closed vocabulary: each name at a right angle to all others."""
    return TextTable(tuple(names), torch.eye(len(names)))


def _draw(name: str, channels: int) -> Float[Tensor, " channels"]:
    """Draw a direction that depends on nothing but the name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.randn(channels, generator=torch.Generator().manual_seed(seed))
