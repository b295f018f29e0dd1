"""Prompts: class names in prompt templates, and their embeddings in a text space.

Prompt ensembling as in CLIP (Radford et al. 2021, Sec. 3.1.4): the embeddings of a name in many templates are
averaged.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clip2scene.types import Prompts

_MEDIUMS = (
    "a snapshot of a {}",
    "a clear snapshot of the {}",
    "a grainy snapshot of a {}",
    "a camera frame with a {}",
    "a video frame showing a {}",
    "a dashcam picture of a {}",
    "a dashcam picture of the {}",
    "a wide-angle picture of a {}",
    "a close-up picture of a {}",
    "a close-up picture of the {}",
    "a distant picture of a {}",
    "a sharp image of a {}",
    "a blurred image of a {}",
    "an out-of-focus image of the {}",
    "a low-resolution image of a {}",
    "a high-resolution image of the {}",
    "a compressed image of a {}",
    "a noisy image of a {}",
    "a washed-out image of a {}",
    "an underexposed image of a {}",
    "an overexposed image of the {}",
    "a colourful image of a {}",
    "a black-and-white image of a {}",
    "a cropped image of a {}",
    "a cropped image of the {}",
    "a tilted image of a {}",
    "a plain image of one {}",
    "a rendering of a {}",
    "a computer-made picture of a {}",
    "a sketch of a {}",
    "a painted picture of a {}",
    "a toy version of a {}",
)
_LOOKS = (
    "a small {}",
    "a large {}",
    "a clean {}",
    "a dirty {}",
    "a new {}",
    "an old {}",
    "a strange-looking {}",
    "an ordinary {}",
    "a typical {}",
    "a bright {}",
    "a dark {}",
    "a {} seen from the front",
    "a {} seen from behind",
    "a {} seen from the side",
    "a {} seen from above",
    "a {} nearby",
    "a {} far away",
    "a {} in full view",
    "part of a {}",
    "a half-hidden {}",
    "a {} behind something else",
    "a {} cut off at the edge",
    "many of the {}",
    "several kinds of {}",
    "nothing but a {}",
)
_SCENES = (
    "a street scene with a {}",
    "a street scene with the {}",
    "a city street where a {} can be seen",
    "a {} on the street",
    "a {} beside the road",
    "a {} in front of the car",
    "a {} as a driver sees it",
    "a {} on a sunny day",
    "a {} on a rainy day",
    "a {} on a grey day",
    "a {} in the shade",
    "a {} at dusk",
    "a {} at night",
    "a {} in winter",
    "a {} in town",
    "a {} in the suburbs",
    "a {} in the open",
    "the scene contains a {}",
    "the scene contains the {}",
    "somewhere in the scene there is a {}",
    "one thing in this scene is a {}",
    "here is a {}",
    "here is the {}",
    "this thing is a {}",
    "this region is a {}",
    "these pixels show a {}",
    "what we look at is a {}",
    "you can make out a {}",
)
TEMPLATES = _MEDIUMS + _LOOKS + _SCENES
"""85 prompt templates for models of the language: as many as the paper averages, in words of our own."""

TOYTOWN_TEMPLATES = (
    "{}",
    "a {}",
    "the {}",
    "a photo of a {}",
    "a picture of a {}",
    "a view of the {}",
    "we see a {}",
    "this shows a {}",
    "here we see a {}",
)
"""Prompt templates made of the few words that toytown's own model was trained on."""

TABLE_TEMPLATES = ("{}",)
"""For a :class:`~clip2scene.teacher.text_table.TextTable`: its rows were made with templates already."""

_SAME = 1 - 1e-5
"""Cosine above which two embeddings are one, but for rounding."""


@runtime_checkable
class TextSpace(Protocol):
    """A text encoder: a model with a text tower, or a table of text embeddings."""

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "texts channels"]:
        """Embed texts; unit rows."""

    def unknown_words(self, text: str) -> list[str]:
        """List the parts of a text that are outside the vocabulary."""


def embed_names(
    space: TextSpace, names: Sequence[str], templates: Sequence[str]
) -> Float[Tensor, "names channels"]:
    """Prompt ensembling: each name is embedded in every template, normalised, averaged and normalised again.

    Args:
        space: The text encoder.
        names: Class names.
        templates: Prompt templates, with ``{}`` where the name goes.

    Returns:
        Unit rows, one a name.

    Raises:
        ValueError: If there is nothing to embed, a template has no place for the name, a name holds words
            outside the vocabulary, or what comes is not finite.
    """
    if not names or not templates:
        raise ValueError(
            f"expected at least one name and one template, got {len(names)} and {len(templates)}; "
            "give the names to look for"
        )
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"template {template!r} has no place for the name; write {{}} where it goes")
    for name in names:
        unknown = space.unknown_words(name) if name.strip() else ["(nothing)"]
        if unknown:
            raise ValueError(
                f"the image-text model has no meaning for {', '.join(map(repr, unknown))} in the prompt "
                f"{name!r}; use words it was taught, or a model with a larger vocabulary"
            )
    texts = [template.format(name) for name in names for template in templates]
    rows = space.encode_text(texts).unflatten(0, (len(names), len(templates)))
    embeddings = F.normalize(F.normalize(rows, dim=-1).mean(1), dim=-1)
    if not embeddings.isfinite().all():
        raise ValueError(
            "the image-text model gives text embeddings that are not finite, so its weights are damaged; "
            "fetch them anew"
        )
    return embeddings


def refuse_alike(names: Sequence[str], embeddings: Float[Tensor, "names channels"]) -> None:
    """Refuse words that have one and the same embedding: no point could ever be given the second.

    Raises:
        ValueError: If there are two; the message says whether capitals are all that differs.
    """
    for row in range(len(names) - 1):
        alike = (embeddings[row + 1 :] @ embeddings[row] > _SAME).nonzero()[:, 0]
        if not len(alike):
            continue
        first, second = names[row], names[row + 1 + int(alike[0])]
        why = "it reads the beginning of a text alone, and no punctuation that it was not taught"
        if first.casefold() == second.casefold():
            why = "it does not tell capitals from small letters"
        raise ValueError(
            f"{first!r} and {second!r} are the same to the image-text model ({why}), so no point could be "
            "given the second; leave one of them out"
        )


def embed_prompts(
    space: TextSpace, classes: Sequence[str], names: Sequence[Sequence[str]], templates: Sequence[str]
) -> Prompts:
    """Embed classes, each by those of its names that are in the vocabulary.

    Args:
        space: The text encoder.
        classes: What the classes are called in tables of results.
        names: For each class, the names to prompt with.
        templates: Prompt templates, see :func:`embed_names`.

    Raises:
        ValueError: If none of a class's names is known.
    """
    known = [[name for name in each if not space.unknown_words(name)] for each in names]
    for which, each, kept in zip(classes, names, known, strict=True):
        if not kept:
            raise ValueError(
                f"the image-text model knows no name of class {which!r}: it was never taught "
                f"{', '.join(each)}; name the class in words it knows, or use a model with more of them"
            )
    flat = [name for each in known for name in each]
    class_of_name = torch.tensor([number for number, each in enumerate(known) for _ in each])
    return Prompts(tuple(classes), tuple(flat), class_of_name, embed_names(space, flat, templates))
