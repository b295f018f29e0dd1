import pytest

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.words import clean_words, is_text, split_lines, split_words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("car,tree", ["car", "tree"]),
        (' car , "wall, low" ', ["car", "wall, low"]),
        ('"a ""big"" car",tree', ['a "big" car', "tree"]),
        ('"wall, low"  , "road, wide",car', ["wall, low", "road, wide", "car"]),
        ('a 12" pipe,tree', ['a 12" pipe', "tree"]),
        ("", []),
        ("car,,tree,", ["car", "", "tree", ""]),
    ],
)
def test_words_are_split_at_commas_and_phrases_with_a_comma_stand_in_quotes(written, words):
    assert split_words(written) == words


@pytest.mark.parametrize("written", ['car,"wall, low', '"wall" low, car', "car\ntree", "car\0"])
def test_what_cannot_be_split_is_refused_in_one_sentence(written):
    with pytest.raises(ValueError, match="cannot split|control character") as caught:
        clean_words(split_words(written))
    assert "\n" not in str(caught.value)


def test_a_line_is_a_phrase_with_or_without_quotes():
    assert split_lines('car\r\n\n  wall, low \n"road, wide"\n"\n') == ["car", "wall, low", "road, wide", '"']


@pytest.mark.parametrize("words", [[], [""], ["car", " car "], ["car", "  "]])
def test_no_word_a_blank_one_and_one_twice_are_refused(words):
    with pytest.raises(ValueError, match="all different and not empty"):
        clean_words(words)


ODD = ["car\x00", "car\n2", "a\tcar", "\x1b[31mcar", "car\u202e", "\ufeffcar", "car\udc80", "car\x85"]


@pytest.mark.parametrize("word", ODD)
def test_characters_that_are_no_text_are_refused(word):
    assert not is_text(f"{word}s")
    with pytest.raises(ValueError, match="control character"):
        clean_words([f"{word}s"])
    with pytest.raises(ValueError, match="control character"):
        ClassSet("own", ("a",), ((f"{word}s",),), ((0, 0, 0),), {})


@pytest.mark.parametrize("word", ["Straße", "東京", "می\u200cخواهم", "👩\u200d🚒", "naïve (old)"])
def test_words_of_any_script_are_text(word):
    assert is_text(word) and clean_words([word]) == [word]
