"""Refinement of a teacher's maps in the image: the maps are coarse, and the image knows the edges.

Logits become scores of the classes, scores are refined on a grid of pixels, and points read them there. It
works on any teacher whose answer has :class:`LogitMaps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from clip2scene.teacher.maskclip import INVERSE_TEMPERATURE, sample_maps
from clip2scene.teacher.score_maps import FLOOR
from clip2scene.teacher.superpixels import slic_superpixels
from clip2scene.types import Pairs, Prompts, Sample

_ABSENT = 1e-3  # a class that has this score nowhere in an image is left out there
_KNOWN = 0.5  # share of a place's score that must come from pixels with a class


@runtime_checkable
class LogitMaps(Protocol):
    """A teacher's logits for one sample's images, as maps that cover them."""

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """Give height and width of each image, in pixels."""

    def logit_map(self, view: int, text: Float[Tensor, "names channels"]) -> Float[Tensor, "names rows cols"]:
        """Give the logits of one view, on the scale of cosines; zeros where the teacher has no class."""


@runtime_checkable
class Method(Protocol):
    """A change of the scores of an image's pixels, given its colours."""

    def __call__(
        self, image: Float[Tensor, "3 height width"], scores: Float[Tensor, "classes height width"]
    ) -> Float[Tensor, "classes height width"]:
        """Give scores, none below zero, from an RGB image in 0..1 and the scores before."""


@dataclass(frozen=True)
class SuperpixelMean:
    """Every superpixel has the mean score of its pixels.

    Attributes:
        segments: Approximate number of superpixels in an image.
    """

    segments: int = 400

    def __call__(
        self, image: Float[Tensor, "3 height width"], scores: Float[Tensor, "classes height width"]
    ) -> Float[Tensor, "classes height width"]:
        """Average scores within superpixels (:func:`~clip2scene.teacher.superpixels.slic_superpixels`).

        Args:
            image: RGB in 0..1.
            scores: Of each class at each pixel.

        Raises:
            ValueError: If scikit-image is not installed.
        """
        picture = (255 * image).round().byte().permute(1, 2, 0)
        regions = slic_superpixels(picture, num_segments=self.segments, sigma=1.0).flatten()
        number = int(regions.max()) + 1
        sums = scores.new_zeros(number, len(scores)).index_add_(0, regions, scores.flatten(1).T.contiguous())
        means = sums / torch.bincount(regions, minlength=number)[:, None]
        return means[regions].T.reshape(scores.shape)


@dataclass(frozen=True)
class Refinement:
    """How maps are refined.

    Attributes:
        method: What is done to the scores.
        pixels: An image with more pixels than this is made smaller first, for the work grows with them.
    """

    method: Method
    pixels: int = 100_000

    def of_sample(self, maps: LogitMaps, sample: Sample, prompts: Prompts) -> "RefinedMaps":
        """Refine the maps of all images of a sample.

        Args:
            maps: The teacher's answer.
            sample: Whose images they are of.
            prompts: The classes; of the names of each, the best counts.

        Raises:
            ValueError: If an image cannot be read.
        """
        refined = []
        for view in range(len(maps.sizes)):
            logits = maps.logit_map(view, prompts.embeddings)
            logits = prompts.best_name(logits.flatten(1).T).T.unflatten(1, logits.shape[1:])
            refined.append(self.of_image(sample.read_image(view), logits))
        return RefinedMaps(tuple(refined), tuple(maps.sizes))

    def of_image(
        self, image: UInt8[Tensor, "height width 3"], logits: Float[Tensor, "classes rows cols"]
    ) -> Float[Tensor, "classes _ _"]:
        """Refine the map of one image.

        Args:
            image: RGB.
            logits: On the scale of cosines, on any grid that covers the image; zeros without a class.

        Returns:
            Scores of the classes at the working size. They sum to the share of pixels that had a class.
        """
        height, width = image.shape[:2]
        scale = min(1.0, (self.pixels / (height * width)) ** 0.5)
        size = (max(1, int(height * scale)), max(1, int(width * scale)))
        colours = _resize(image.permute(2, 0, 1).float() / 255, size)
        scores = (INVERSE_TEMPERATURE * logits).softmax(0) * logits.any(0)
        present = scores.flatten(1).amax(1) >= _ABSENT
        refined = scores.new_zeros(len(scores), *size)
        refined[present] = self.method(colours, _resize(scores[present], size))
        return refined


@dataclass(frozen=True)
class RefinedMaps:
    """Refined scores of a sample's images.

    Attributes:
        scores: One map a view, which covers the whole image; as :meth:`Refinement.of_image` gives it.
        sizes: Height and width of each full-size image, in pixels.
    """

    scores: tuple[Float[Tensor, "classes _ _"], ...]
    sizes: tuple[tuple[int, int], ...]

    def logits_at(self, pairs: Pairs) -> Float[Tensor, "pairs classes"]:
        """Logits of the classes at the pixels of ``pairs``, of scores bilinear between the nearest pixels.

        Returns:
            A hundredth of the logarithm of the score, on the scale of cosines: a softmax gives it back.
            Zeros where most of the score would come from pixels without a class.
        """
        scores = sample_maps(self.scores, self.sizes, pairs)
        known = scores.sum(1, keepdim=True)
        shares = scores / known.clamp(min=_KNOWN)
        return torch.where(known >= _KNOWN, shares.clamp(min=FLOOR).log() / INVERSE_TEMPERATURE, 0.0)


def _resize(
    maps: Float[Tensor, "channels _ _"], size: tuple[int, int]
) -> Float[Tensor, "channels height width"]:
    """Scale maps up bilinearly, or down by averaging."""
    if maps.shape[1] * maps.shape[2] > size[0] * size[1]:
        return F.interpolate(maps[None], size, mode="area")[0]
    return F.interpolate(maps[None], size, mode="bilinear")[0]
