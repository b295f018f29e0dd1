import torch

from clip2scene.distill.shares import BLOCK, Shares, shares_of

SHARES = shares_of(["a"] * 6 + ["b"] * 3 + ["a"] * 2, {"a": 1.0, "b": 3.0, "c": 9.0})


def test_a_source_without_samples_is_left_out():
    assert [each.tolist() for each in SHARES.members] == [[0, 1, 2, 3, 4, 5, 9, 10], [6, 7, 8]]
    assert SHARES.weights == (1.0, 3.0)


def test_draws_are_shared_by_weight_from_the_first_steps_on():
    for steps in (10, 50, 700):
        drawn = [each for step in range(steps) for each in SHARES.order(4, step, seed=3)]
        of_b = sum(each in (6, 7, 8) for each in drawn)
        assert abs(of_b - 0.75 * len(drawn)) <= 2


def test_every_sample_of_a_source_is_drawn_before_one_is_drawn_again():
    drawn = [each for step in range(2 * BLOCK) for each in SHARES.order(1, step, seed=0)]
    for members in SHARES.members:
        mine = [each for each in drawn if each in members.tolist()]
        for start in range(0, len(mine) - len(members), len(members)):
            assert sorted(mine[start : start + len(members)]) == members.tolist()


def test_a_step_is_a_function_of_its_number_and_the_seed():
    whole = [SHARES.order(3, step, seed=1) for step in range(400)]
    assert [SHARES.order(3, step, seed=1) for step in reversed(range(400))] == whole[::-1]
    assert sum(whole, []) == SHARES.order(1200, 0, seed=1)
    assert [SHARES.order(3, step, seed=2) for step in range(400)] != whole


def test_quotas_fill_a_block_and_leave_nobody_out():
    members = tuple(torch.tensor([number]) for number in range(7))
    shares = Shares(members, (1000.0, 1.0, 2.0, 3.0, 1.0, 1.0, 1.0))
    assert sum(shares.quotas) == BLOCK and min(shares.quotas) >= 1


def test_what_is_mixed_in_is_drawn_by_weight_too():
    generator = torch.Generator().manual_seed(0)
    drawn = [SHARES.draw(generator) for _ in range(2000)]
    assert abs(sum(each in (6, 7, 8) for each in drawn) / 2000 - 0.75) < 0.03
    assert set(drawn) == set(range(11))
