"""Score maps: how sure a 2D network, run before and elsewhere, was of each class in each part of an image.

A file holds the scores of one image on a coarse grid, under the names of the network's own classes. So a
network that cannot be imported here (SAM 3, a company's own) teaches from an environment of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clip2scene.classes.words import is_text
from clip2scene.io import in_a_sentence, read_arrays, regular_file
from clip2scene.teacher.maskclip import INVERSE_TEMPERATURE, sample_maps
from clip2scene.types import IGNORE_LABEL, Pairs

FLOOR = 1e-4
"""A score of 0 counts as this, so that its logarithm is a number."""

_MOST_SCORES = 1 << 26
"""Of one image: 268 MB in single precision."""

_MOST_CLASSES = 4096
_KINDS = ("U8", "F16", "BF16", "F32")
_STRETCH = 0.01  # what the shape of an image may be off by, for rounding to whole pixels


@dataclass(frozen=True)
class ScoreMaps:
    """Soft semantic segmentation of a sample's images.

    Attributes:
        scores: One map a view, of any size, which covers the whole image: for each class how sure the network
            is of it, 0..1; in the last channel, the best of what is none of the classes.
        embeddings: Text embeddings of the classes, unit rows.
        sizes: Height and width of each full-size image, in pixels.
        least_score: Where no class has this score (0..1), nothing is predicted.
    """

    scores: tuple[Float[Tensor, "channels _ _"], ...]
    embeddings: Float[Tensor, "classes text"]
    sizes: tuple[tuple[int, int], ...]
    least_score: float = 0.0

    def logit_map(self, view: int, text: Float[Tensor, "names text"]) -> Float[Tensor, "names rows cols"]:
        """Logits of one view: a hundredth of the logarithm of a score, so that a softmax gives shares back.

        Args:
            view: Number of the camera.
            text: Text embeddings, unit rows; each has the score of the class nearest to it.

        Returns:
            Logits on the scale of cosines; zeros where nothing is predicted.
        """
        cells = self.scores[view]
        return self._logits(cells.flatten(1).T, text).T.unflatten(1, cells.shape[1:])

    def logits_at(self, pairs: Pairs, text: Float[Tensor, "names text"]) -> Float[Tensor, "pairs names"]:
        """Logits at the pixels of ``pairs``, of scores bilinear between the nearest cells; zeros as above."""
        return self._logits(sample_maps(self.scores, self.sizes, pairs), text)

    def _logits(
        self, scores: Float[Tensor, "places channels"], text: Float[Tensor, "names text"]
    ) -> Float[Tensor, "places names"]:
        known, others = scores[:, :-1], scores[:, -1:]
        best = known.amax(1, keepdim=True)
        predicted = (best > others) & (best >= self.least_score)
        logits = known.clamp(min=FLOOR).log() / INVERSE_TEMPERATURE
        class_of_name = (text @ self.embeddings.T).argmax(1)
        return torch.where(predicted, logits, 0.0)[:, class_of_name]


@dataclass(frozen=True)
class ImageScores:
    """What a file of scores holds.

    Attributes:
        names: Of the network's classes.
        scores: Of each class in each cell, 0..1, presence counted in.
        size: Height and width of the image that they are of, in pixels.
    """

    names: tuple[str, ...]
    scores: Float[Tensor, "classes rows cols"]
    size: tuple[int, int]


def merge_scores(
    scores: Float[Tensor, "sources rows cols"],
    class_of_source: Int[Tensor, " sources"],
    num_classes: int,
    *,
    shares: bool = False,
) -> Float[Tensor, "channels rows cols"]:
    """Give each class the highest score of the network's classes that stand for it, or their sum.

    Args:
        scores: Of the network's classes.
        class_of_source: Train id of each; ``IGNORE_LABEL`` for what is none of ours.
        num_classes: Of ours.
        shares: Whether scores are shares of one, which add up: three trees of 0.2 outdo a house of 0.4. Of
            what is none of ours the best counts, for it is never one thing.

    Returns:
        A channel a class, zeros where nothing stands for it; the last one is what is none of ours.
    """
    nothing = scores.new_zeros(1, *scores.shape[1:])
    groups = [
        torch.cat([nothing, scores[class_of_source == number]])
        for number in (*range(num_classes), IGNORE_LABEL)
    ]
    ours = [each.sum(0) if shares else each.amax(0) for each in groups[:-1]]
    return torch.stack([*ours, groups[-1].amax(0)])


def check_image_shape(scores: ImageScores, size: tuple[int, int], path: Path) -> None:
    """Refuse scores of an image of another shape: they would lie on other things.

    Args:
        scores: Of any copy of the image, large or small.
        size: Height and width of the camera's images, in pixels.
        path: The file, for the message.

    Raises:
        ValueError: If one is wider for its height than the other.
    """
    (height, width), (rows, cols) = size, scores.size
    if abs(cols * height / (rows * width) - 1) > _STRETCH:
        raise ValueError(
            f"score map {path} is of an image of {cols}x{rows}, and the camera's images are {width}x{height}"
            ", which is another shape; run the network on the whole image, neither cut nor turned"
        )


def read_score_map(path: Path) -> ImageScores:
    """Read the scores of one image from a ``.safetensors`` or ``.npz`` file.

    Args:
        path: It holds ``scores``, classes x rows x columns on a grid that covers the whole image, as uint8
            (0..255) or float (0..1); ``size``, height and width of the image; maybe ``presence``, how sure
            the network is that each class is in the image at all (0..1), which scores are multiplied by; and
            the classes' ``names``: an array of texts, or a text of one a line in the header of safetensors.

    Raises:
        ValueError: If the file is missing, damaged or too large, lacks something, or holds scores that are
            out of range or not finite.
    """
    try:
        read = _read_safetensors if path.suffix == ".safetensors" else _read_npz
        names, tensors = read(regular_file(path))
        return _checked(names, tensors)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"score map {path} cannot be used: {in_a_sentence(error)}") from None


def _read_safetensors(path: Path) -> tuple[list[str], dict[str, Tensor]]:
    """Read names and tensors, whose shapes are looked at before they take memory."""
    with safe_open(path, framework="pt") as file:
        header, keys = file.metadata() or {}, set(file.keys())
        _require({"scores", "size"} - keys | {"names"} - header.keys())
        chosen = [name for name in ("scores", "size", "presence") if name in keys]
        slices = {name: file.get_slice(name) for name in chosen}
        kind = slices["scores"].get_dtype()
        if kind not in _KINDS:
            raise ValueError(f"scores are of type {kind}, expected uint8 or float; write them anew")
        for name, each in slices.items():
            _check_shape(name, each.get_shape())
        return header["names"].split("\n"), {name: file.get_tensor(name) for name in chosen}


def _read_npz(path: Path) -> tuple[list[str], dict[str, Tensor]]:
    arrays = read_arrays(path, ("scores", "size"), perhaps=("presence",), texts=("names",))
    names: Any = arrays.pop("names")
    kind = arrays["scores"].dtype
    if kind not in (np.uint8, np.float16, np.float32):
        raise ValueError(f"scores are of type {kind}, expected uint8 or float; write them anew")
    for name, each in arrays.items():
        _check_shape(name, each.shape)
    return names.ravel().tolist(), {name: torch.from_numpy(each) for name, each in arrays.items()}


def _require(lacking: set[str]) -> None:
    if lacking:
        raise ValueError(
            f"it lacks {', '.join(sorted(lacking))}; expected scores, size and names, see docs/teachers.md"
        )


def _check_shape(name: str, shape: Sequence[int]) -> None:
    """Refuse what is no map, no pair, no list, or beyond all measure."""
    dimensions = {"scores": 3, "size": 1, "presence": 1}[name]
    numbers = int(np.prod(shape, dtype=object)) if len(shape) == dimensions else 0
    most = _MOST_SCORES if name == "scores" else _MOST_CLASSES
    if not 0 < numbers <= most or (name == "size" and numbers != 2):
        expected = {"scores": "classes x rows x columns", "size": "height and width", "presence": "classes"}
        raise ValueError(
            f"{name} has shape {tuple(shape)}, expected {expected[name]}, {most:,} numbers at most; "
            "write it anew"
        )


def _checked(names: list[str], tensors: dict[str, Tensor]) -> ImageScores:
    """Make scores of 0..1 of what a file holds."""
    scores, size = tensors["scores"], tensors["size"]
    if len(names) != len(scores) or len(set(names)) != len(names):
        raise ValueError(
            f"it has {len(scores)} maps for {len(set(names))} distinct names; give each map a name of its own"
        )
    if not all(name.strip() and is_text(name) for name in names):
        raise ValueError("a name of a class is empty or no text; correct the names")
    if size.is_floating_point() or int(size.min()) < 1:
        raise ValueError(
            f"size is {size.tolist()}, expected height and width of the image in pixels; correct it"
        )
    shares = scores.float() / 255 if scores.dtype == torch.uint8 else scores.float()
    presence = tensors.get("presence", torch.ones(len(names))).float()
    if len(presence) != len(names):
        raise ValueError(f"presence has {len(presence)} numbers for {len(names)} classes; give one a class")
    for what, each in (("scores", shares), ("presence", presence)):
        if not bool(((each >= 0) & (each <= 1)).all()):  # NaN is neither
            low, high = float(each.min()), float(each.max())
            raise ValueError(
                f"{what} are {low:g} to {high:g}, expected 0 to 1 (or whole numbers of 0 to 255 as uint8); "
                "write probabilities, not logits"
            )
    height, width = size.tolist()
    return ImageScores(tuple(names), shares * presence[:, None, None], (height, width))
