import pytest
import torch
import torch.nn.functional as F

from clip2scene.teacher.prompts import (
    TABLE_TEMPLATES,
    TEMPLATES,
    TOYTOWN_TEMPLATES,
    embed_names,
    embed_prompts,
    refuse_alike,
)


class Letters:
    """A text space that counts letters, and knows no word with a z."""

    def encode_text(self, texts):
        counts = torch.tensor([[float(text.count(letter)) + 0.01 for letter in "abcdefgr"] for text in texts])
        return F.normalize(counts, dim=1)

    def unknown_words(self, text):
        return [word for word in text.split() if "z" in word]


def test_there_are_85_distinct_templates_each_with_one_place_for_the_name():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 85
    for template in (*TEMPLATES, *TOYTOWN_TEMPLATES, *TABLE_TEMPLATES):
        assert template.count("{}") == 1
        assert template.format("car").strip() == template.format("car")


def test_prompt_ensembling_averages_on_the_unit_sphere():
    templates = ["a {}", "bbbbbbbb {}"]
    rows = embed_names(Letters(), ["car", "face"], templates)
    for row, name in zip(rows, ["car", "face"], strict=True):
        total = torch.zeros(8)
        for template in templates:
            embedding = Letters().encode_text([template.format(name)])[0]
            total += embedding / embedding.norm()
        torch.testing.assert_close(row, total / total.norm())


def test_a_name_outside_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="no meaning for 'zeppelin' in the prompt 'red zeppelin'"):
        embed_names(Letters(), ["car", "red zeppelin"], TEMPLATES)
    with pytest.raises(ValueError, match="no meaning"):
        embed_names(Letters(), ["  "], TEMPLATES)


def test_no_names_and_templates_without_a_place_are_refused():
    with pytest.raises(ValueError, match="at least one name"):
        embed_names(Letters(), [], TEMPLATES)
    with pytest.raises(ValueError, match="no place for the name"):
        embed_names(Letters(), ["car"], ["a photo"])


def test_a_class_is_embedded_by_its_names_in_the_vocabulary():
    prompts = embed_prompts(
        Letters(), ["vehicle", "animal"], [["car", "zeppelin"], ["crab", "bear"]], TEMPLATES
    )
    assert prompts.classes == ("vehicle", "animal")
    assert prompts.names == ("car", "crab", "bear")
    assert prompts.class_of_name.tolist() == [0, 1, 1]
    torch.testing.assert_close(prompts.embeddings, embed_names(Letters(), prompts.names, TEMPLATES))


def test_a_class_without_any_name_in_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="knows no name of class 'airship': it was never taught zeppelin"):
        embed_prompts(Letters(), ["airship"], [["zeppelin"]], TEMPLATES)


def test_a_model_whose_texts_are_not_finite_is_refused():
    class Damaged(Letters):
        def encode_text(self, texts):
            return super().encode_text(texts) * float("nan")

    with pytest.raises(ValueError, match="text embeddings that are not finite"):
        embed_names(Damaged(), ["car"], ["a {}"])


def test_words_that_are_the_same_to_the_model_are_told_and_why():
    rows = embed_names(Letters(), ["car", "crab", "Car"], ["{}"])
    refuse_alike(["car", "crab"], rows[:2])
    with pytest.raises(ValueError, match=r"'car' and 'CAR' .* does not tell capitals from small"):
        refuse_alike(["car", "crab", "CAR"], rows[[0, 1, 0]])
    with pytest.raises(ValueError, match=r"'a b' and 'a b c' .* reads the beginning of a text alone"):
        refuse_alike(["crab", "a b", "a b c"], rows[[1, 0, 0]])
