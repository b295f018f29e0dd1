"""Ranks that are threads of one process: quick to start, and what they send is exact."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from clip2scene.ranks import Ranks, as_rank


class ThreadRanks(Ranks):
    """One of several threads; what they send one another lies on a table between two barriers."""

    def __init__(self, rank, size, table, barrier):
        self.rank, self.size, self.local_rank, self.local_size = rank, size, rank, size
        self._table, self._barrier = table, barrier

    def _exchange(self, tensor):
        self._table[self.rank] = tensor.clone()
        self._barrier.wait(60)
        tensors = list(self._table)
        self._barrier.wait(60)
        return tensors

    def sum_(self, tensor):
        return tensor.copy_(sum(self._exchange(tensor)))

    def copy_(self, tensor, source):
        return tensor.copy_(self._exchange(tensor)[source])


def on_ranks(size, work, *each):
    """Do ``work(...)`` as each of some ranks, with its own of ``each``; the results, or the first error."""
    table, barrier = [None] * size, threading.Barrier(size)

    def one(rank):
        with as_rank(ThreadRanks(rank, size, table, barrier)):
            try:
                return work(*(parts[rank] for parts in each))
            except BaseException:
                barrier.abort()
                raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(one, rank) for rank in range(size)]
    errors = [each.exception() for each in futures if each.exception() is not None]
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    assert not errors
    return [each.result() for each in futures]


def refusals(size, work, *each):
    """The errors that ``work(...)`` ends with on every rank."""

    def refused(*parts):
        try:
            work(*parts)
        except ValueError as error:
            return str(error)
        return None

    return on_ranks(size, refused, *each)


def halves(tensor):
    """Two uneven parts of a tensor's rows."""
    return torch.tensor_split(tensor, [len(tensor) // 3])
