"""Ranks: the processes that train one student together, as ``torchrun`` starts them.

A process that was started alone is the first of one; then nothing here does anything. What every rank
computes of a step is its part of the samples; the loss is computed by each, over all of them. So a gradient
that flows back through :func:`gather_rows` is that of the sum of as many equal losses as there are ranks, and
its mean over the ranks (:meth:`Ranks.average_`) is that of the loss, whatever the loss is.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch
from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist

from clip2scene.io import in_a_sentence

LONGEST_WAIT = timedelta(days=14)
"""How long ranks wait for one another: while the first lifts pseudo-labels, the others have nothing to do."""

_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # beside WORLD_SIZE, in the environment
_MOST_NAMED = 3  # differences in a message
_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_TO_MEET = 1800  # as torch waits for those who join


class RanksError(ValueError):
    """What all ranks refuse alike."""


class Ranks:
    """The ranks as one of them sees them; on its own, a process alone.

    Attributes:
        rank: Its number, from 0; the first leads: it prepares what is trained on, and writes.
        size: How many there are.
        local_rank: Its number among those of its machine, from 0.
        local_size: How many are on its machine.
    """

    rank, size, local_rank, local_size = 0, 1, 0, 1

    @property
    def leads(self) -> bool:
        """Whether it is the first."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"rank {self.rank} of {self.size} on {socket.gethostname()}"

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor of one shape over all ranks, in place, with the same bits everywhere."""
        return tensor

    def copy_(self, tensor: Tensor, source: int) -> Tensor:
        """Take a tensor's values from the rank ``source``, in place."""
        return tensor

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their means over all ranks, in place."""
        if self.size == 1 or not tensors:
            return
        flat = self.sum_(torch.cat([each.flatten() for each in tensors])) / self.size
        for each, mean in zip(tensors, flat.split([each.numel() for each in tensors]), strict=True):
            each.copy_(mean.view_as(each))

    def share(self, value: Any) -> Any:  # noqa: ANN401 - what fits JSON
        """Give all ranks the first one's value, which must fit JSON; that of the others is left."""
        return json.loads(self._share_text(json.dumps(value), 0))

    def gather(self, value: Any) -> list[Any]:  # noqa: ANN401 - what fits JSON
        """Give all ranks the values of all, in the order of the ranks; they must fit JSON."""
        text = json.dumps(value)
        return [json.loads(self._share_text(text, source)) for source in range(self.size)]

    def _share_text(self, text: str, source: int) -> str:
        if self.size == 1:
            return text
        content = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        length = int(self.copy_(torch.tensor([len(content)]), source))
        given = content if self.rank == source else torch.empty(length, dtype=torch.uint8)
        return self.copy_(given, source).numpy().tobytes().decode()

    def require_same(self, about: Mapping[str, str], remedy: str) -> None:
        """Refuse ranks that differ from the first.

        Args:
            about: What must be the same, by the name that a user knows it by.
            remedy: What to do if it is not.

        Raises:
            RanksError: On all ranks, if one differs; the message names it, and in what.
        """
        everybody = self.gather({"name": self.name, "about": dict(about)})
        first = everybody[0]
        for other in everybody[1:]:
            names = [name for name, value in first["about"].items() if other["about"].get(name) != value]
            if names:
                differences = [
                    f"{name} {other['about'].get(name)} (there {first['about'][name]})"
                    for name in names[:_MOST_NAMED]
                ]
                more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
                raise RanksError(
                    f"{other['name']} differs from the first, {first['name']}: it has "
                    f"{', '.join(differences)}{more}; {remedy}"
                )

    def own_device(self, device: str) -> str:
        """Name the device of this rank: with ``cuda``, each of a machine takes a GPU of its own.

        Raises:
            RanksError: If several ranks of a machine were given one GPU.
        """
        kind, _, number = device.partition(":")
        if self.local_size == 1 or kind == "cpu":
            return device
        if number:
            raise RanksError(
                f"--device {device} is one device for {self.local_size} processes; give --device {kind}, and "
                "each takes its own"
            )
        return f"{kind}:{self.local_rank}"


class TorchRanks(Ranks):
    """Ranks that speak through ``torch.distributed``, whose process group must be there.

    Args:
        store: Where the ranks keep words for one another; None where nobody has any.
    """

    def __init__(self, store: dist.Store | None = None) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_rank = int(os.environ.get("LOCAL_RANK", 0))
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        self._store = store

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over all ranks, in place."""
        with _telling_of_the_lost():
            dist.all_reduce(tensor)
        return tensor

    def copy_(self, tensor: Tensor, source: int) -> Tensor:
        """Take a tensor's values from the rank ``source``, in place."""
        with _telling_of_the_lost():
            dist.broadcast(tensor, source)
        return tensor

    def speaks_first(self) -> bool:
        """Tell whether no other rank has asked this before: the one that has tells the user what is wrong."""
        try:
            return self._store is None or self._store.add("clip2scene spoke", 1) == 1
        except RuntimeError:  # the store was kept by a rank that has gone, and spoken before
            return False


_ALONE = Ranks()
_here: ContextVar[Ranks] = ContextVar("ranks", default=_ALONE)


def here() -> Ranks:
    """Give the ranks as this process sees them."""
    return _here.get()


@contextmanager
def as_rank(ranks: Ranks) -> Iterator[None]:
    """Be one of some ranks within the block, in this thread."""
    token = _here.set(ranks)
    try:
        yield
    finally:
        _here.reset(token)


@contextmanager
def joined() -> Iterator[TorchRanks]:
    """Join the other ranks, as the environment names them, for the block; a process group may be there.

    Numbers on a CPU go through gloo, on a GPU through NCCL. The latter was never run.

    Raises:
        ValueError: If the environment has a part of what ``torchrun`` sets, or no other rank can be reached.
    """
    if dist.is_initialized():
        with as_rank(ranks := TorchRanks()):
            yield ranks
        return
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is {os.environ.get('WORLD_SIZE')}, and {', '.join(missing)} not set; start with "
            "torchrun, which sets them, or unset WORLD_SIZE"
        )
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        kept, rank, size = next(dist.rendezvous("env://"))
        store = _store_of_this_start(kept, rank, size)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(
            f"the other processes cannot be joined ({in_a_sentence(error)}); start all with torchrun"
        ) from None
    with as_rank(ranks := TorchRanks(store)):
        yield ranks
    dist.destroy_process_group()  # after a fault it would wait for ranks that have gone


def _store_of_this_start(kept: dist.Store, rank: int, size: int) -> dist.Store:
    """Agree on a part of the store that nobody has written to.

    When ``torchrun`` starts processes anew, the store still has the addresses of those that have gone; torch
    would call them. The first rank names a part; it is taken by ranks that it has answered, word for word.
    """
    own = uuid4().hex
    if rank == 0:
        kept.set("clip2scene part", own)
        words = [kept.get(f"{own} {other}").decode() for other in range(1, size)]
        kept.set(f"{own} answers", json.dumps(words))
        return dist.PrefixStore(own, kept)
    deadline = time.monotonic() + _SECONDS_TO_MEET
    while time.monotonic() < deadline:
        part = kept.get("clip2scene part").decode()
        kept.set(f"{part} {rank}", own)
        if kept.check([f"{part} answers"]) and own in json.loads(kept.get(f"{part} answers")):
            return dist.PrefixStore(part, kept)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    raise ValueError(f"rank 0 has not answered rank {rank} for {_SECONDS_TO_MEET} s")


@contextmanager
def _telling_of_the_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and NCCL raise where another rank has ended
        raise ValueError(
            f"another process of this training has ended ({in_a_sentence(error)}); the last checkpoint is "
            "whole: the same command goes on from it, and with torchrun --max-restarts it does so by itself"
        ) from None


def gather_rows(
    rows: Float[Tensor, "own channels"], sizes: Sequence[int], ranks: Ranks
) -> Float[Tensor, "rows channels"]:
    """Give all ranks the rows of all, in the order of the ranks, differentiably.

    Args:
        rows: Of this rank.
        sizes: Rows of each rank.
        ranks: This rank, and the others.

    Returns:
        All rows. Each rank's gradient of them must be that of the same loss: then what flows back to its own
        rows is the sum over the ranks, which is their number times its own.
    """
    return _GatherRows.apply(rows, sizes, ranks)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int], ranks: Ranks) -> Tensor:  # noqa: ANN401
        ctx.sizes, ctx.ranks = sizes, ranks
        gathered = rows.new_empty(sum(sizes), rows.shape[1])
        parts = gathered.split(list(sizes))
        parts[ranks.rank].copy_(rows)
        for source, part in enumerate(parts):
            ranks.copy_(part, source)
        return gathered

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return ctx.ranks.size * gradient.split(list(ctx.sizes))[ctx.ranks.rank], None, None
