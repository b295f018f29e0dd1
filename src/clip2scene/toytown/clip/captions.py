"""Captioned views of towns: what a small image-text model learns from.

A view is a small square picture; its caption names one to four things that are really in it, in plain words.
Nothing else leaves this module: no pixel labels, no boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from clip2scene.toytown.clip.views import FOCAL_CLASSES, NO_FOCUS, aim, aim_at_classes
from clip2scene.toytown.sensors import Render, render_camera, render_views
from clip2scene.toytown.town import things
from clip2scene.toytown.town.world import Snapshot, Town, build_town
from clip2scene.types import IGNORE_LABEL

VIEWS_PER_TOWN = 64


MIN_SHARE = 0.015
"""Share of a picture's pixels above which a thing may be named."""


SYNONYMS: dict[str, tuple[str, ...]] = {
    "barrier": ("barrier", "barrier", "road barrier"),
    "bicycle": ("bicycle", "bicycle", "bike"),
    "bus": ("bus",),
    "car": ("car",),
    "person": ("person", "pedestrian", "pedestrian"),
    "cone": ("traffic cone", "traffic cone", "cone"),
    "truck": ("truck", "truck", "lorry"),
    "road": ("road", "road", "street"),
    "sidewalk": ("sidewalk", "sidewalk", "pavement"),
    "grass": ("grass", "grass", "lawn"),
    "building": ("building",),
    "house": ("house", "building", "building"),
    "wall": ("wall",),
    "pole": ("pole", "lamp"),
    "sign": ("sign", "traffic sign"),
    "tree": ("tree",),
    "bush": ("bush", "hedge"),
}
"""Words for each kind of thing; a word said twice is used twice as often."""


PLURALS = {
    "bus": "buses",
    "person": "people",
    "bush": "bushes",
    "bicycle": "bicycles",
    "lorry": "lorries",
}


UNCOUNTED = frozenset({"road", "sidewalk", "grass"})


NUMBERS = ("", "one", "two", "three", "four")


OPENINGS = (
    "",
    "",
    "",
    "",
    "a photo of ",
    "a picture of ",
    "a view of ",
    "we see ",
    "this shows ",
    "here we see ",
)


@dataclass(frozen=True)
class Mention:
    """A kind of thing that one picture shows.

    Attributes:
        noun: Kind.
        colour: Word true of all those seen, or empty.
        count: How many are seen.
        share: Of the picture's pixels.
        instances: Which ones.
    """

    noun: str
    colour: str
    count: int
    share: float
    instances: tuple[int, ...]


def caption_views(
    seed: int, num_views: int, size: int = 64
) -> tuple[UInt8[np.ndarray, "views size size 3"], list[str], Int[np.ndarray, " views"]]:
    """Take captioned pictures in the towns that follow from a seed, 64 in each.

    About six of ten are pointed at an object, each class equally often, from near and far and with many
    angular resolutions; the others look anywhere from a vehicle's or a walker's height.

    Args:
        seed: Gives the towns; seeds whose towns must differ should lie apart by the number of towns used,
            ``ceil(num_views / 64)``.
        num_views: How many.
        size: Width and height, pixels.

    Returns:
        The pictures, a caption for each, and the class each was pointed at (:data:`NO_FOCUS` for the others).
    """
    images, captions, focal = [], [], []
    for first in range(0, num_views, VIEWS_PER_TOWN):
        number = min(VIEWS_PER_TOWN, num_views - first)
        town_seed = seed + first // VIEWS_PER_TOWN
        rng = np.random.default_rng((town_seed, 1))
        snapshot = build_town(town_seed).at(float(rng.uniform(0, Town.duration_s)))
        poses, intrinsics, targets = aim(snapshot, number, size, rng)
        pictures = render_views(snapshot, poses, intrinsics, (size, size), rng)
        for picture, target in zip(pictures, targets, strict=True):
            mentions = visible_mentions(snapshot, picture.labels, picture.instances)
            captions.append(compose(mentions, int(target), rng))
            images.append(picture.rgb)
        labels = snapshot.town.instances.labels
        focal.append(np.where(targets >= 0, labels[targets], NO_FOCUS))
    if not images:
        return np.zeros((0, size, size, 3), np.uint8), [], np.zeros(0, np.int64)
    return np.stack(images), captions, np.concatenate(focal)


def centred_views(
    seed: int, num_per_class: int, size: int = 64, *, alone: bool = True
) -> tuple[UInt8[np.ndarray, "views size size 3"], Int[np.ndarray, " views"]]:
    """Take pictures of single things, each in the middle and filling much of the picture.

    Args:
        seed: Of the first town; further towns follow until there are enough.
        num_per_class: Pictures per class of :data:`~clip2scene.toytown.clip.views.FOCAL_CLASSES`.
        size: Width and height, pixels.
        alone: Show each thing on the bare ground; otherwise among whatever else stands around it, with other
            countable classes on less than 5 % of the picture.

    Returns:
        The pictures and the class of each one's thing, class by class.
    """
    found: dict[int, list[np.ndarray]] = {label: [] for label in FOCAL_CLASSES}
    town_seed = seed
    while min(len(pictures) for pictures in found.values()) < num_per_class:
        rng = np.random.default_rng((town_seed, 2))
        snapshot = build_town(town_seed).at(0.0)
        town_seed += 1
        missing = [label for label, pictures in found.items() if len(pictures) < num_per_class]
        poses, intrinsics, targets = aim_at_classes(snapshot, np.repeat(missing, 16), size, rng, close=True)
        for pose, matrix, target in zip(poses, intrinsics, targets, strict=True):
            label = int(snapshot.town.instances.labels[target])
            if len(found[label]) == num_per_class:
                continue
            scene = snapshot.town.alone(int(target), 0.0) if alone else snapshot
            picture = render_camera(scene, pose, matrix, size, size, rng)
            if is_clear_view(picture, int(target), label):
                found[label].append(picture.rgb)
    return np.stack([image for images in found.values() for image in images]), np.repeat(
        FOCAL_CLASSES, num_per_class
    )


def is_clear_view(picture: Render, target: int, label: int) -> bool:
    """Tell whether a thing fills enough of a picture, and things of other countable classes little of it."""
    others = np.isin(picture.labels, [other for other in things.COUNTABLE if other != label])
    return bool((picture.instances == target).mean() >= _LEAST_CENTRED[label] and others.mean() < 0.05)


_LEAST_CENTRED = dict.fromkeys(FOCAL_CLASSES, 0.12) | {
    things.BICYCLE: 0.05,
    things.PEDESTRIAN: 0.06,
    things.CONE: 0.06,
    things.MANMADE: 0.25,
    things.VEGETATION: 0.15,
}
"""Least share of a picture that a thing of each class must fill to be its subject."""


def visible_mentions(
    snapshot: Snapshot, labels: Int[np.ndarray, "height width"], instances: Int[np.ndarray, "height width"]
) -> list[Mention]:
    """List the kinds of things a picture shows enough of, largest first."""
    table = snapshot.town.instances
    numbers, pixels = np.unique(instances[labels != IGNORE_LABEL], return_counts=True)
    kinds: dict[str, list[tuple[int, int]]] = {}
    for number, count in zip(numbers.tolist(), pixels.tolist(), strict=True):
        kinds.setdefault(table.nouns[number], []).append((count, number))
    mentions = []
    for noun, members in kinds.items():
        members.sort(reverse=True)
        share = sum(count for count, _ in members) / labels.size
        if share < MIN_SHARE:
            continue
        clear = [
            (count, number)
            for count, number in members
            if count >= max(0.004 * labels.size, members[0][0] / 8)
        ]
        clear = clear or members[:1]
        colours = {table.colours[number] for _, number in clear}
        colour = colours.pop() if len(colours) == 1 else ""
        mentions.append(Mention(noun, colour, len(clear), share, tuple(number for _, number in clear)))
    return sorted(mentions, key=lambda mention: -mention.share)


def compose(mentions: Sequence[Mention], target: int, rng: np.random.Generator) -> str:
    """Say what a picture shows: the thing it was pointed at first, then up to three others.

    Args:
        mentions: What it shows.
        target: Instance it was pointed at, negative for none.
        rng: Draws the words.
    """
    if not mentions:
        return ("the sky", "nothing but sky", "a view of the sky")[int(rng.integers(3))]
    focal = [mention for mention in mentions if target in mention.instances]
    others = [mention for mention in mentions if target not in mention.instances]
    rng.shuffle(others)
    wanted = int(rng.choice([1, 2, 3, 4], p=[0.25, 0.35, 0.25, 0.15]))
    named = (focal + others)[:wanted]
    phrases = [_phrase(mention, rng) for mention in named]
    opening = OPENINGS[int(rng.integers(len(OPENINGS)))]
    return opening + _link(named, phrases, rng)


def _phrase(mention: Mention, rng: np.random.Generator) -> str:
    noun = SYNONYMS[mention.noun][int(rng.integers(len(SYNONYMS[mention.noun])))]
    adjective = mention.colour + " " if mention.colour and rng.random() < 0.6 else ""
    if mention.noun in UNCOUNTED:
        article = "the " if rng.random() < 0.2 else ""
        if noun in ("grass",):
            return article + adjective + noun
        return (article or _article(adjective + noun)) + adjective + noun
    if mention.count == 1:
        return _article(adjective + noun) + adjective + noun
    many = plural(noun)
    if mention.count < len(NUMBERS) and rng.random() < 0.7:
        return f"{NUMBERS[mention.count]} {adjective}{many}"
    return f"{'some' if rng.random() < 0.5 else 'many' if mention.count > 3 else 'several'} {adjective}{many}"


def plural(noun: str) -> str:
    """Say a noun of more than one thing."""
    return PLURALS.get(noun, noun + "s")


def _article(phrase: str) -> str:
    return "an " if phrase[0] in "aeio" else "a "


_GROUND = {"road": ("on", "on"), "sidewalk": ("on", "on"), "grass": ("on", "near")}


def _link(named: Sequence[Mention], phrases: Sequence[str], rng: np.random.Generator) -> str:
    """Join phrases; ground goes last, with a word that is likely true."""
    first, rest = phrases[0], list(zip(named[1:], phrases[1:], strict=True))
    grounds = [phrase for mention, phrase in rest if mention.noun in UNCOUNTED]
    solids = [phrase for mention, phrase in rest if mention.noun not in UNCOUNTED]
    text = first
    if solids:
        if len(solids) == 1 and rng.random() < 0.4:
            text += (" near ", " beside ", " with ")[int(rng.integers(3))] + solids[0]
        elif len(solids) == 1:
            text += " and " + solids[0]
        else:
            text += ", " + ", ".join(solids[:-1]) + " and " + solids[-1]
    if grounds:
        word = (
            (" on ", " with ", " and ", " near ")[int(rng.integers(4))]
            if named[0].noun not in UNCOUNTED
            else " and "
        )
        text += word + " and ".join(grounds)
    return text
