"""Class names in sentences, and their place in a text space."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from clip2scene.io import read_json, write_atomically
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
"""85 sentences for models that know the language: as many as the paper averages, in words of our own."""

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
"""Sentences made of the few words that toytown's own model was taught."""

TABLE_TEMPLATES = ("{}",)
"""For a :class:`TextTable`, whose rows were made with sentences around the names already."""


@runtime_checkable
class TextSpace(Protocol):
    """What places texts on the unit sphere: a model with a text tower, or a :class:`TextTable`."""

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "texts channels"]:
        """Embed texts; unit rows."""

    def unknown_words(self, text: str) -> list[str]:
        """List the parts of a text that it has no meaning for."""


def embed_names(
    space: TextSpace, names: Sequence[str], templates: Sequence[str]
) -> Float[Tensor, "names channels"]:
    """Place names in the text space: each in every template, averaged on the unit sphere.

    The embedding of each sentence is brought to unit length before the mean is taken, and the mean again.

    Raises:
        ValueError: If there is nothing to embed, a template has no place for the name, or a name holds words
            that the space has no meaning for.
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
    return F.normalize(F.normalize(rows, dim=-1).mean(1), dim=-1)


def embed_prompts(
    space: TextSpace, classes: Sequence[str], names: Sequence[Sequence[str]], templates: Sequence[str]
) -> Prompts:
    """Place classes in the text space, each by those of its names that the space has meanings for.

    Args:
        space: An image-text model or a table.
        classes: What the classes are called in tables.
        names: Words that may stand for each class.
        templates: Sentences around the names.

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


@dataclass(frozen=True)
class TextTable:
    """A text space without its text tower: the vectors of a fixed list of names.

    Attributes:
        names: What the rows stand for; distinct.
        vectors: Unit rows.
        space: Fingerprint of the text space (:attr:`clip2scene.teacher.clip.load.Clip.space`); empty if not
            known.
    """

    names: tuple[str, ...]
    vectors: Float[Tensor, "names channels"]
    space: str = ""

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "texts channels"]:
        """Look names up; unit rows.

        Raises:
            ValueError: If a name is not in the table; the message offers the nearest ones.
        """
        row_of_name = {name: row for row, name in enumerate(self.names)}
        for text in texts:
            if text not in row_of_name:
                near = difflib.get_close_matches(text, self.names, n=3)
                hint = f"; near it are {', '.join(near)}" if near else ""
                raise ValueError(
                    f"the text table has no row for {text!r} among its {len(self.names)} names{hint}. "
                    "Ask for a name that it has"
                )
        return self.vectors[[row_of_name[text] for text in texts]]

    def unknown_words(self, text: str) -> list[str]:
        """Return the text itself if the table lacks it."""
        return [] if text in self.names else [text]

    def save(self, path: Path) -> None:
        """Write the table as one safetensors file, atomically; the names travel in its header.

        The same table gives the same bytes: a header of more than one entry would be written in any order.
        """
        tensors = {"vectors": self.vectors.contiguous()}
        if self.space:
            tensors["space"] = torch.tensor(list(self.space.encode()), dtype=torch.uint8)
        with write_atomically(path) as temporary:
            save_file(tensors, temporary, metadata={"names": "\n".join(self.names)})


def read_text_table(path: Path, names_path: Path | None = None) -> TextTable:
    """Read a table of text embeddings; rows are brought to unit length.

    Args:
        path: A ``.safetensors`` file of :meth:`TextTable.save`, or of one tensor for each name; an ``.npz``
            with ``names`` and ``vectors``; or an ``.npy`` of vectors, with the names in ``names_path``.
        names_path: A JSON list of names, one a row, for ``.npy``.

    Raises:
        ValueError: If the file is missing or damaged, or names and rows do not match.
    """
    space = ""
    try:
        if path.suffix == ".safetensors":
            names, vectors, space = _read_safetensors(path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                vectors, names = torch.from_numpy(file["vectors"]), [str(name) for name in file["names"]]
        else:
            vectors = torch.from_numpy(np.load(path, allow_pickle=False))
            names = list(read_json(names_path)) if names_path is not None else []
    except Exception as error:  # the readers raise many kinds, and all mean that the file is bad
        raise ValueError(
            f"text table {path} cannot be read ({error}); expected .safetensors, .npz or .npy with names"
        ) from None
    if vectors.ndim != 2 or len(names) != len(vectors) or len(set(names)) != len(names):
        raise ValueError(
            f"text table {path} must hold one vector for each of its distinct names, got "
            f"{tuple(vectors.shape)} numbers for {len(set(names))} distinct names; "
            "give the list of names that belongs to it"
        )
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"text table {path} must name its rows in words; correct the list of names")
    if not bool(vectors.isfinite().all()) or bool((vectors == 0).all(1).any()):
        raise ValueError(f"text table {path} holds zero or non-finite rows; export it anew")
    return TextTable(tuple(names), F.normalize(vectors.float(), dim=-1), space)


def _read_safetensors(path: Path) -> tuple[list[str], Tensor, str]:
    with safe_open(path, framework="pt") as file:
        header, keys = file.metadata() or {}, list(file.keys())
        if "names" not in header:
            return keys, torch.stack([file.get_tensor(name) for name in keys]), ""
        space = bytes(file.get_tensor("space").tolist()).decode() if "space" in keys else ""
        return header["names"].split("\n"), file.get_tensor("vectors"), space
