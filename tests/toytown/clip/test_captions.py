"""Captions: they name what is there, in few words, and give nothing else away."""

import numpy as np

from clip2scene.toytown.clip.captions import (
    MIN_SHARE,
    SYNONYMS,
    Mention,
    caption_views,
    centred_views,
    compose,
    plural,
    visible_mentions,
)
from clip2scene.toytown.clip.views import FOCAL_CLASSES, NO_FOCUS, aim
from clip2scene.toytown.sensors import render_views
from clip2scene.toytown.town import things
from clip2scene.toytown.town.world import build_town

IMAGES, CAPTIONS, FOCAL = caption_views(700, 256, size=48)


def words_of(noun: str) -> set[str]:
    forms = set(SYNONYMS[noun]) | {plural(word) for word in SYNONYMS[noun]}
    return forms


def test_as_many_views_as_asked_for_all_with_a_caption():
    assert IMAGES.shape == (256, 48, 48, 3) and IMAGES.dtype == np.uint8
    assert len(CAPTIONS) == 256 == len(FOCAL) and all(CAPTIONS)
    assert [len(part) for part in caption_views(1, 0)] == [0, 0, 0]


def test_views_and_captions_are_the_same_again():
    images, captions, focal = caption_views(700, 70, size=48)
    assert np.array_equal(images[:64], IMAGES[:64]) and captions[:64] == CAPTIONS[:64]
    assert np.array_equal(focal[:64], FOCAL[:64])
    assert caption_views(701, 8, size=48)[1] != captions[:8]


def test_most_views_are_pointed_at_things_each_class_about_equally_often():
    share = np.mean(FOCAL != NO_FOCUS)
    assert 0.5 < share < 0.75
    counts = [np.sum(FOCAL == label) for label in FOCAL_CLASSES]
    assert min(counts) > 8 and max(counts) < 2.5 * min(counts)


def test_the_vocabulary_is_small_and_plain():
    words = set(" ".join(CAPTIONS).replace(",", "").split())
    assert 50 < len(words) < 130
    assert all(word.isalpha() and word.islower() for word in words)


def test_captions_are_short_enough_for_a_text_model_of_32_tokens():
    assert max(len(caption.replace(",", " ,").split()) for caption in CAPTIONS) <= 30


def test_only_visible_things_are_named_and_the_one_pointed_at_comes_first():
    rng = np.random.default_rng(0)
    snapshot = build_town(71).at(1.0)
    poses, intrinsics, targets = aim(snapshot, 60, 48, rng)
    pictures = render_views(snapshot, poses, intrinsics, (48, 48), rng)
    nouns, firsts = snapshot.town.instances.nouns, 0
    for picture, target in zip(pictures, targets, strict=True):
        mentions = visible_mentions(snapshot, picture.labels, picture.instances)
        shares = {
            noun: np.isin(picture.instances, [i for i, other in enumerate(nouns) if other == noun]).mean()
            for noun in {mention.noun for mention in mentions}
        }
        assert all(share >= MIN_SHARE for share in shares.values())
        caption = compose(mentions, int(target), rng)
        visible = set().union(*(words_of(mention.noun) for mention in mentions)) if mentions else set()
        hidden = set().union(*(words_of(noun) for noun in SYNONYMS)) - visible
        padded = f" {caption.replace(',', '')} "
        allowed = " ".join(visible)
        assert not [word for word in hidden if f" {word} " in padded and word not in allowed]
        if target >= 0 and any(target in mention.instances for mention in mentions):
            positions = [(padded.find(f" {w} "), w) for w in words_of(nouns[target]) if f" {w} " in padded]
            others = [padded.find(f" {w} ") for w in visible - words_of(nouns[target]) if f" {w} " in padded]
            assert positions and min(positions)[0] <= min(others, default=10**6) + 8
            firsts += 1
    assert firsts > 20


def test_colours_and_numbers_are_true():
    rng = np.random.default_rng(0)
    two_red = Mention("car", "red", 2, 0.3, (4, 5))
    mixed = Mention("cone", "", 3, 0.1, (6, 7, 8))
    for _ in range(100):
        caption = compose([two_red, mixed], 4, rng)
        assert "cars" in caption and "one" not in caption.replace("cone", "").split()
        for colour in things.PALETTE:
            assert colour == "red" or colour not in caption.split()
        assert not {"three", "four"} & set(caption.split("cars")[0].split())


def test_a_view_of_nothing_names_the_sky():
    assert "sky" in compose([], -1, np.random.default_rng(0))


def test_colour_words_are_used_for_about_six_nouns_of_ten():
    rng = np.random.default_rng(0)
    blue = [Mention("bus", "blue", 1, 0.5, (1,))]
    share = np.mean(["blue" in compose(blue, 1, rng) for _ in range(400)])
    assert 0.5 < share < 0.7


def test_centred_views_hold_each_class_equally_often_alone_or_in_company():
    for alone in (True, False):
        images, labels = centred_views(900, 1, size=24, alone=alone)
        assert images.shape == (len(FOCAL_CLASSES), 24, 24, 3)
        assert np.array_equal(labels, FOCAL_CLASSES)
    assert np.array_equal(images, centred_views(900, 1, size=24, alone=False)[0])
