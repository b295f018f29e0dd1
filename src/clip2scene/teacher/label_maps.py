"""Maps on disk as a teacher: the semantic segmentation of a 2D network that was run before.

They are PNG files of class numbers, or files of scores (:mod:`clip2scene.teacher.score_maps`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.images import read_values
from clip2scene.teacher.class_table import ClassTable
from clip2scene.teacher.score_maps import ScoreMaps, check_image_shape, merge_scores, read_score_map
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

    def logit_map(self, view: int, text: Float[Tensor, "names channels"]) -> Float[Tensor, "names rows cols"]:
        """Logits of one view, on the map's own grid: cosine of each label's text embedding and every text."""
        labels = self.labels[view].long()
        logits = F.pad(self.embeddings @ text.T, (0, 0, 0, 1))  # IGNORE_LABEL takes the last row, zeros
        return logits[labels].permute(2, 0, 1)

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
    """A teacher that reads the maps of a sample's images from files: classes, or scores in their place.

    Attributes:
        path_of: Path of the PNG of a sample (by token) and camera (by number); a file of scores has the same
            name but for its ending.
        embeddings: Text embedding of each class, in the order of the PNGs' values; unit rows.
        table: What the classes that scores are of stand for.
        least_score: As :class:`~clip2scene.teacher.score_maps.ScoreMaps` has it.
        ignore: Pixel value of unlabelled pixels.
    """

    path_of: Callable[[str, int], Path]
    embeddings: Float[Tensor, "classes channels"]
    table: ClassTable
    least_score: float = 0.0
    ignore: int = 255

    def __call__(self, sample: Sample) -> LabelMaps | ScoreMaps:
        """Read the maps of every camera of a sample.

        Raises:
            ValueError: If a map is missing, damaged, in two files or of another kind than its neighbours; if
                a PNG is no 8- or 16-bit picture of one channel, or holds a value beyond the classes; or if
                scores are of unknown classes, or of an image of another shape.
        """
        sizes = tuple((camera.height, camera.width) for camera in sample.cameras)
        paths = [find_map(self.path_of(sample.token, view)) for view in range(len(sample.cameras))]
        kinds = {path.suffix == ".png" for path in paths}
        if len(kinds) > 1:
            raise ValueError(
                f"{paths[0].parent} and its neighbours have class maps of some images of sample "
                f"{sample.token} and scores of others; take one kind for all"
            )
        if kinds == {False}:
            scores = tuple(self._read_scores(*each) for each in zip(paths, sizes, strict=True))
            return ScoreMaps(scores, self.embeddings, sizes, self.least_score)
        labels = tuple(read_label_map(path, len(self.embeddings), self.ignore) for path in paths)
        return LabelMaps(labels, self.embeddings, sizes)

    def _read_scores(self, path: Path, size: tuple[int, int]) -> Float[Tensor, "channels rows cols"]:
        found = read_score_map(path)
        check_image_shape(found, size, path)
        return merge_scores(found.scores, self.table.train_ids(found.names), len(self.embeddings))


def find_map(png: Path) -> Path:
    """Find what a 2D network wrote of an image: the PNG itself, or scores in its place.

    Args:
        png: Path of the PNG, be it there or not.

    Returns:
        The file that is there; ``png`` if none is.

    Raises:
        ValueError: If there are several, and it is not known which one counts.
    """
    there = [path for end in (".png", ".safetensors", ".npz") if (path := png.with_suffix(end)).exists()]
    if len(there) > 1:
        raise ValueError(
            f"there are {' and '.join(path.name for path in there)} in {png.parent}, and one map is taken "
            "of an image; move the others away"
        )
    return there[0] if there else png


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
