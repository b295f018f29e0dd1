import torch
import torch.nn.functional as F

from clip2scene.teacher.prompts import TextTable
from clip2scene.teacher.vocabulary import add_short_names, add_stand_ins, unrelated_names


def make_table(names, channels=64):
    """Rows that lean the same way, as text embeddings do."""
    rows = torch.randn(len(names), channels, generator=torch.Generator().manual_seed(1)) * 0.1
    return TextTable(tuple(names), F.normalize(rows + torch.eye(channels)[0], dim=1))


def test_a_short_name_has_the_row_of_its_long_one():
    table = add_short_names(make_table(["car (automobile)", "bat (animal)", "bat (club)", "jeep"]))
    assert table.names == ("car (automobile)", "bat (animal)", "bat (club)", "jeep", "car")
    assert torch.equal(table.encode_text(["car"]), table.encode_text(["car (automobile)"]))
    assert table.unknown_words("bat") == ["bat"]  # two things share it


def test_a_name_that_is_there_already_keeps_its_row():
    table = make_table(["car", "car (railway)"])
    assert add_short_names(table).names == table.names


def test_a_stand_in_is_as_far_from_the_mean_as_others_and_near_to_none():
    table = make_table([f"word {number}" for number in range(200)])
    made = add_stand_ins(table, ["road", "sky"])
    assert made.names[-2:] == ("road", "sky")
    mean = F.normalize(table.vectors.mean(0), dim=0)
    torch.testing.assert_close(made.vectors[-2:] @ mean, (table.vectors @ mean).mean().expand(2))
    torch.testing.assert_close(made.vectors.norm(dim=1), torch.ones(202))
    between = made.vectors @ made.vectors.T - 2 * torch.eye(202)
    assert between[-2:].max() < between[:-2, :-2].max()


def test_a_stand_in_depends_on_its_name_alone():
    table = make_table(["a", "b"])
    one = add_stand_ins(table, ["road", "sky"]).encode_text(["sky"])
    assert torch.equal(one, add_stand_ins(table, ["sky"]).encode_text(["sky"]))
    assert not torch.equal(one, add_stand_ins(table, ["road"]).encode_text(["road"]))


def test_known_names_need_no_stand_in():
    table = make_table(["a", "b"])
    assert add_stand_ins(table, ["a", "b"]) is table
    assert add_stand_ins(table, []) is table


def test_unrelated_names_are_at_right_angles():
    table = unrelated_names(("car", "road", "tree"))
    assert torch.equal(table.vectors @ table.vectors.T, torch.eye(3))
