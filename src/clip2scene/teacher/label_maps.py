"""Label maps as a teacher: the semantic segmentation of a 2D network that was run before, as PNG files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.images import read_values
from clip2scene.types import IGNORE_LABEL, Pairs, Sample


@dataclass(frozen=True)
class LabelMaps:
    """Semantic segmentation of a sample's images.

    Attributes:
        labels: One map a view, of any size, which covers the whole image; a row of ``embeddings``, or
            ``IGNORE_LABEL``.
        embeddings: Text embeddings of the segmenter's classes, unit rows.
        sizes: Height and width of each full-size image, in pixels.
    """

    labels: tuple[Int[Tensor, "_ _"], ...]
    embeddings: Float[Tensor, "classes channels"]
    sizes: tuple[tuple[int, int], ...]

    def labels_at(self, pairs: Pairs) -> Int[Tensor, " pairs"]:
        """Nearest-neighbour labels at the pixels of ``pairs``: of the cell that a pixel's centre lies in."""
        result = torch.full((len(pairs),), IGNORE_LABEL)
        for view, (labels, (height, width)) in enumerate(zip(self.labels, self.sizes, strict=True)):
            here = (pairs.views == view).nonzero()[:, 0]
            rows, cols = labels.shape
            u, v = pairs.pixels[here].unbind(1)
            # Integer pixels are pixel centres, so the image spans -0.5 to its width - 0.5.
            col = ((u + 0.5) * cols / width).long().clamp(0, cols - 1)
            row = ((v + 0.5) * rows / height).long().clamp(0, rows - 1)
            result[here] = labels[row, col].long()
        return result

    def embeddings_at(self, pairs: Pairs) -> Float[Tensor, "pairs channels"]:
        """Text embedding of the label at the pixels of ``pairs``; zero for ``IGNORE_LABEL``."""
        labels = self.labels_at(pairs)
        known = (labels != IGNORE_LABEL)[:, None]
        return torch.where(known, self.embeddings[labels.clamp(min=0)], 0.0)

    def logits_at(self, pairs: Pairs, text: Float[Tensor, "names channels"]) -> Float[Tensor, "pairs names"]:
        """Logits at the pixels of ``pairs``: cosine of the label's text embedding and every text."""
        return self.embeddings_at(pairs) @ text.T

    def label_map(self, view: int, text: Float[Tensor, "names channels"]) -> Int[Tensor, "height width"]:
        """Segment a full-size image by the text nearest to each label; ``IGNORE_LABEL`` stays."""
        height, width = self.sizes[view]
        rows, cols = self.labels[view].shape
        row = ((torch.arange(height) + 0.5) * rows / height).long()
        col = ((torch.arange(width) + 0.5) * cols / width).long()
        labels = self.labels[view][row][:, col].long()
        name_of_class = (self.embeddings @ text.T).argmax(1)
        return torch.where(labels == IGNORE_LABEL, IGNORE_LABEL, name_of_class[labels.clamp(min=0)])


@dataclass(frozen=True)
class LabelMapTeacher:
    """A teacher that reads the label maps of a sample's images from files.

    Attributes:
        path_of: Path of the map of a sample (by token) and camera (by number).
        embeddings: Text embedding of each class that the maps may hold, in the order of their pixel values;
            unit rows.
        ignore: Pixel value of unlabelled pixels.
    """

    path_of: Callable[[str, int], Path]
    embeddings: Float[Tensor, "classes channels"]
    ignore: int = 255

    def __call__(self, sample: Sample) -> LabelMaps:
        """Read the maps of every camera of a sample.

        Raises:
            ValueError: If a map is missing, is no 8- or 16-bit picture of one channel, or holds a value
                beyond the classes.
        """
        paths = [self.path_of(sample.token, view) for view in range(len(sample.cameras))]
        labels = tuple(read_label_map(path, len(self.embeddings), self.ignore) for path in paths)
        sizes = tuple((camera.height, camera.width) for camera in sample.cameras)
        return LabelMaps(labels, self.embeddings, sizes)


def read_label_map(path: Path, num_classes: int, ignore: int = 255) -> Int[Tensor, "rows cols"]:
    """Read one label map.

    Args:
        path: A PNG of one channel, whose values are class numbers; a palette's colours do not matter.
        num_classes: Values must lie below this.
        ignore: The value of unlabelled pixels.

    Returns:
        Class numbers, ``IGNORE_LABEL`` for ``ignore``.

    Raises:
        ValueError: If the file is missing, is no such PNG, or holds a value that is no class.
    """
    values = read_values(path, f"class map {path}", "run the segmenter on that image")
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise ValueError(
            f"class map {path} must hold one whole number per pixel, got {values.dtype} of shape "
            f"{values.shape}; save class numbers, not colours"
        )
    classes = values.astype(np.int64)
    known = classes[classes != ignore]
    highest = known.max() if known.size else 0
    if highest >= num_classes:
        raise ValueError(
            f"class map {path} holds class {highest} but there are names for {num_classes} classes (0 to "
            f"{num_classes - 1}); name the missing classes, or say which value means 'unknown'"
        )
    return torch.from_numpy(np.where(classes == ignore, IGNORE_LABEL, classes).astype(np.int32))
