import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from clip2scene.teacher.prompts import TABLE_TEMPLATES, embed_names
from clip2scene.teacher.text_table import (
    TextTable,
    add_random_embeddings,
    add_short_names,
    one_hot_table,
    read_text_table,
)


def table():
    vectors = F.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    return TextTable(("car", "minivan", "street sign", "tree"), vectors)


def test_a_table_embeds_its_names_and_suggests_near_ones_for_others():
    rows = embed_names(table(), ["tree", "car"], TABLE_TEMPLATES)
    torch.testing.assert_close(rows, table().vectors[[3, 0]])
    with pytest.raises(ValueError, match="no row for 'mini van' .* near it are minivan"):
        table().encode_text(["mini van"])
    with pytest.raises(ValueError, match="no meaning for 'lorry'"):
        embed_names(table(), ["lorry"], TABLE_TEMPLATES)


def test_tables_come_back_from_all_three_kinds_of_file(tmp_path):
    table().save(tmp_path / "table.safetensors")
    np.savez(tmp_path / "table.npz", names=np.array(table().names), vectors=3 * table().vectors.numpy())
    np.save(tmp_path / "table.npy", table().vectors.numpy())
    (tmp_path / "names.json").write_text(json.dumps(table().names))
    for name in ("table.safetensors", "table.npz", "table.npy"):
        got = read_text_table(tmp_path / name, tmp_path / "names.json")
        assert got.names == table().names
        torch.testing.assert_close(got.vectors, table().vectors)


def test_a_table_of_one_tensor_for_each_name_is_read(tmp_path):
    rows = dict(zip(table().names, table().vectors, strict=True))
    save_file({name: 2 * row.contiguous() for name, row in rows.items()}, tmp_path / "table.safetensors")
    got = read_text_table(tmp_path / "table.safetensors")
    assert set(got.names) == set(rows)
    assert got.space == ""
    for name, row in zip(got.names, got.vectors, strict=True):
        torch.testing.assert_close(row, rows[name])


def test_a_table_remembers_its_text_space_and_is_always_written_alike(tmp_path):
    marked = replace(table(), space="0123456789abcdef")
    for name in ("one", "two"):
        marked.save(tmp_path / f"{name}.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    assert read_text_table(tmp_path / "one.safetensors").space == marked.space
    longer = add_random_embeddings(add_short_names(marked), ["zebra"])
    assert longer.space == marked.space


def test_bad_tables_are_refused_with_one_clear_message(tmp_path):
    with pytest.raises(ValueError, match=r"table.safetensors is missing"):
        read_text_table(tmp_path / "table.safetensors")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="cannot be read"):
        read_text_table(tmp_path / "broken.npz")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read_text_table(tmp_path / "objects.npy")
    np.save(tmp_path / "table.npy", np.eye(3, dtype=np.float32))
    with pytest.raises(ValueError, match="one vector for each of its distinct names"):
        read_text_table(tmp_path / "table.npy")
    (tmp_path / "names.json").write_text("[1, 2, 3]")
    with pytest.raises(ValueError, match="must name its rows in words"):
        read_text_table(tmp_path / "table.npy", tmp_path / "names.json")
    (tmp_path / "names.json").write_text("3")
    with pytest.raises(ValueError, match="cannot be read"):
        read_text_table(tmp_path / "table.npy", tmp_path / "names.json")
    save_file({"a": torch.ones(3), "b": torch.ones(4)}, tmp_path / "uneven.safetensors")
    with pytest.raises(ValueError, match="cannot be read"):
        read_text_table(tmp_path / "uneven.safetensors")
    np.savez(tmp_path / "zero.npz", names=np.array(["a", "b"]), vectors=np.array([[1.0, 0], [0, 0]]))
    with pytest.raises(ValueError, match="zero or non-finite rows"):
        read_text_table(tmp_path / "zero.npz")
    np.savez(tmp_path / "large.npz", names=np.array(["a", "b"]), vectors=np.array([[1e300, 0], [0, 1.0]]))
    with pytest.raises(ValueError, match="zero or non-finite rows"):
        read_text_table(tmp_path / "large.npz")
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(ValueError, match="is a pipe"):
        read_text_table(tmp_path / "pipe.npy")


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


def test_a_random_embedding_is_as_far_from_the_mean_as_others_and_near_to_none():
    table = make_table([f"word {number}" for number in range(200)])
    made = add_random_embeddings(table, ["road", "sky"])
    assert made.names[-2:] == ("road", "sky")
    mean = F.normalize(table.vectors.mean(0), dim=0)
    torch.testing.assert_close(made.vectors[-2:] @ mean, (table.vectors @ mean).mean().expand(2))
    torch.testing.assert_close(made.vectors.norm(dim=1), torch.ones(202))
    between = made.vectors @ made.vectors.T - 2 * torch.eye(202)
    assert between[-2:].max() < between[:-2, :-2].max()


def test_a_random_embedding_depends_on_its_name_alone():
    table = make_table(["a", "b"])
    one = add_random_embeddings(table, ["road", "sky"]).encode_text(["sky"])
    assert torch.equal(one, add_random_embeddings(table, ["sky"]).encode_text(["sky"]))
    assert not torch.equal(one, add_random_embeddings(table, ["road"]).encode_text(["road"]))


def test_names_in_the_table_keep_their_embedding():
    table = make_table(["a", "b"])
    assert add_random_embeddings(table, ["a", "b"]) is table
    assert add_random_embeddings(table, []) is table


def test_one_hot_embeddings_are_orthogonal():
    table = one_hot_table(("car", "road", "tree"))
    assert torch.equal(table.vectors @ table.vectors.T, torch.eye(3))
