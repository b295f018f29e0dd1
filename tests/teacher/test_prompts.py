import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from clip2scene.teacher.prompts import (
    TABLE_TEMPLATES,
    TEMPLATES,
    TOYTOWN_TEMPLATES,
    TextTable,
    embed_names,
    embed_prompts,
    read_text_table,
)
from clip2scene.teacher.vocabulary import add_short_names, add_stand_ins


class Letters:
    """A text space that counts letters, and knows no word with a z."""

    def encode_text(self, texts):
        counts = torch.tensor([[float(text.count(letter)) + 0.01 for letter in "abcdefgr"] for text in texts])
        return F.normalize(counts, dim=1)

    def unknown_words(self, text):
        return [word for word in text.split() if "z" in word]


def table():
    vectors = F.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    return TextTable(("car", "minivan", "street sign", "tree"), vectors)


def test_there_are_85_distinct_templates_each_with_one_place_for_the_name():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 85
    for template in (*TEMPLATES, *TOYTOWN_TEMPLATES, *TABLE_TEMPLATES):
        assert template.count("{}") == 1
        assert template.format("car").strip() == template.format("car")


def test_templates_are_averaged_on_the_unit_sphere():
    templates = ["a {}", "bbbbbbbb {}"]
    rows = embed_names(Letters(), ["car", "face"], templates)
    for row, name in zip(rows, ["car", "face"], strict=True):
        total = torch.zeros(8)
        for template in templates:
            embedding = Letters().encode_text([template.format(name)])[0]
            total += embedding / embedding.norm()
        torch.testing.assert_close(row, total / total.norm())


def test_a_name_with_unknown_words_is_refused():
    with pytest.raises(ValueError, match="no meaning for 'zeppelin' in the prompt 'red zeppelin'"):
        embed_names(Letters(), ["car", "red zeppelin"], TEMPLATES)
    with pytest.raises(ValueError, match="no meaning"):
        embed_names(Letters(), ["  "], TEMPLATES)


def test_no_names_and_templates_without_a_place_are_refused():
    with pytest.raises(ValueError, match="at least one name"):
        embed_names(Letters(), [], TEMPLATES)
    with pytest.raises(ValueError, match="no place for the name"):
        embed_names(Letters(), ["car"], ["a photo"])


def test_a_class_is_placed_by_the_names_that_are_known():
    prompts = embed_prompts(
        Letters(), ["vehicle", "animal"], [["car", "zeppelin"], ["crab", "bear"]], TEMPLATES
    )
    assert prompts.classes == ("vehicle", "animal")
    assert prompts.names == ("car", "crab", "bear")
    assert prompts.class_of_name.tolist() == [0, 1, 1]
    torch.testing.assert_close(prompts.embeddings, embed_names(Letters(), prompts.names, TEMPLATES))


def test_a_class_without_any_known_name_is_refused():
    with pytest.raises(ValueError, match="knows no name of class 'airship': it was never taught zeppelin"):
        embed_prompts(Letters(), ["airship"], [["zeppelin"]], TEMPLATES)


def test_a_table_answers_for_its_names_and_offers_near_ones_for_others():
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
    longer = add_stand_ins(add_short_names(marked), ["zebra"])
    assert longer.space == marked.space


def test_bad_tables_are_refused_with_one_clear_message(tmp_path):
    with pytest.raises(ValueError, match=r"table.safetensors cannot be read"):
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
