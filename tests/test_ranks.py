import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.ranks_in_threads import halves, on_ranks, refusals
from torch import distributed as dist

from clip2scene.ranks import Ranks, RanksError, _store_of_this_start, gather_rows, here, joined


def test_a_process_alone_is_the_first_of_one_and_does_nothing():
    ranks, rows = here(), torch.rand(3, 2)
    before = rows.clone()
    ranks.average_([rows])
    ranks.require_same({"--seed": "0"}, "do nothing")
    assert ranks.leads and ranks.size == 1 and torch.equal(rows, before)
    assert ranks.share({"a": [1]}) == {"a": [1]} and ranks.gather(3) == [3]


def test_gathered_rows_and_their_gradient_are_those_of_one_process():
    torch.manual_seed(0)
    rows, weight = torch.randn(7, 3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)

    def contrast(features):  # every row has to do with every other, as negatives have
        return torch.logsumexp(features @ features.T, 1).sum()

    def alone():
        own, head = rows.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = contrast(own @ head)
        loss.backward()
        return loss, own.grad, head.grad

    def together(part):
        own, head = part.clone().requires_grad_(), weight.clone().requires_grad_()
        loss = contrast(gather_rows(own, [2, 5], here()) @ head)
        loss.backward()
        here().average_([head.grad])
        return loss, own.grad / 2, head.grad  # the mean over ranks of what flows on from here

    loss, of_rows, of_head = alone()
    for number, found in enumerate(on_ranks(2, together, halves(rows))):
        torch.testing.assert_close(found, (loss, halves(of_rows)[number], of_head))


def test_means_over_ranks_keep_shapes():
    def mean(number):
        tensors = [torch.full((2, 3), number), torch.tensor([number, 2 * number])]
        here().average_(tensors)
        return tensors

    for first, second in on_ranks(3, mean, (1.0, 2.0, 6.0)):
        assert torch.equal(first, torch.full((2, 3), 3.0)) and second.tolist() == [3.0, 6.0]


def test_what_the_first_says_and_what_all_say_comes_to_all():
    values = ("short", "longer, in é", "")
    assert on_ranks(3, lambda value: here().share(value), values) == ["short"] * 3
    assert on_ranks(3, lambda value: here().gather(value), values) == [list(values)] * 3


def test_the_rank_that_differs_is_named_to_all():
    def differ(seed):
        here().require_same({"--seed": seed, "--steps": "9"}, "start all by one command")

    said = refusals(3, differ, ("0", "1", "0"))
    assert len(set(said)) == 1
    assert said[0].startswith("rank 1 of 3 on ") and "--seed 1 (there 0); start all by one" in said[0]
    assert refusals(2, differ, ("0", "0")) == [None, None]


def test_only_some_of_many_differences_are_listed():
    def differ(value):
        here().require_same({f"--{name}": value for name in "abcde"}, "start anew")

    assert (
        "--a 2 (there 1), --b 2 (there 1), --c 2 (there 1) and 2 more; start anew"
        in refusals(2, differ, ("1", "2"))[0]
    )


def ranks_of_a_machine(size, number):
    ranks = Ranks()
    ranks.local_size, ranks.local_rank = size, number
    return ranks


def test_each_process_of_a_machine_takes_a_gpu_of_its_own():
    assert ranks_of_a_machine(4, 2).own_device("cuda") == "cuda:2"
    assert ranks_of_a_machine(4, 2).own_device("cpu") == "cpu"
    assert ranks_of_a_machine(1, 0).own_device("cuda:3") == "cuda:3"
    with pytest.raises(RanksError, match="--device cuda:0 is one device for 2 processes; give --device cuda"):
        ranks_of_a_machine(2, 1).own_device("cuda:0")


def test_a_part_of_what_torchrun_sets_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(ValueError, match="WORLD_SIZE is 2, and RANK, MASTER_ADDR, MASTER_PORT not set"),
        joined(),
    ):
        pass


class Watched(dist.HashStore):
    """A store that notes when a rank has said a word."""

    def __init__(self):
        super().__init__()
        self.heard = threading.Event()

    def set(self, key, value):
        super().set(key, value)
        self.heard.set()


def test_those_who_start_anew_take_no_word_of_those_who_have_gone_for_theirs():
    kept = Watched()

    def join(rank):
        if rank == 0:
            kept.heard.wait(5)  # the others have seen what was left, if anything was
        return _store_of_this_start(kept, rank, 3)

    for start in range(3):
        if start:
            kept.heard.clear()
        else:
            kept.heard.set()
        with ThreadPoolExecutor(3) as pool:
            stores = list(pool.map(join, range(3)))
        assert not any(store.check(["address"]) for store in stores)
        stores[0].set("address", str(start))
        assert {store.get("address") for store in stores} == {str(start).encode()}
