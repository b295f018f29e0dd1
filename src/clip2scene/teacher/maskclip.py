"""MaskCLIP (Zhou et al., ECCV 2022) and its successors: dense embeddings of a frozen image-text model.

The value features of the image tower (:mod:`clip2scene.teacher.value_features`) lie in the text space, so
their cosine with a class's text embedding is a logit for each cell of the image. Successors put another
attention into the last layer (:mod:`clip2scene.teacher.last_attention`). Key smoothing and prompt denoising
(Sec. 3.3) refine these logits.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from clip2scene.teacher.backbone import ImageBackbone
from clip2scene.teacher.clip.load import Clip, resize
from clip2scene.teacher.last_attention import Attention, resize_map
from clip2scene.teacher.value_features import check_last_layer, dense_maps
from clip2scene.types import Pairs, Sample

INVERSE_TEMPERATURE = 100.0  # of the softmax in both refinements (MaskCLIP's code)
NEAR_AND_FAR = (0.4, 0.7, 1.2)
"""Scales that suit the small CLIP on 400 x 224 pixels; chosen among four on towns of the training range."""

WINDOWS_AT_ONCE = 32
"""Batch size of the forward pass: windows of one image."""

SILENT = -100.0  # the logit of a class that prompt denoising has removed (MaskCLIP's code)

Cells = Float[Tensor, "channels _ _"]  # rows and columns differ from view to view
Keys = Float[Tensor, "keys _ _"]
Maps = tuple[Float[Tensor, "_ _ _"], ...]  # dense embeddings, and attention keys for key smoothing


@dataclass(frozen=True)
class DenseEmbeddings:
    """Dense image embeddings of a sample: one map a view, which covers the whole image.

    Attributes:
        embeddings: One map a view, ``(channels, rows, cols)``, unit length in every cell.
        keys: Attention keys of the cells, unit length, for key smoothing; None when that is off.
        sizes: Height and width of each full-size image, in pixels.
        key_smoothing: Threshold of :func:`smooth_by_keys`, a score in 0..1; 0 is off, 1 smooths every cell.
        prompt_denoising: Threshold of :func:`denoise_prompts`, a score in 0..1; 0 is off.
    """

    embeddings: tuple[Cells, ...]
    keys: tuple[Keys, ...] | None
    sizes: tuple[tuple[int, int], ...]
    key_smoothing: float = 0.0
    prompt_denoising: float = 0.0

    def logit_map(self, view: int, text: Float[Tensor, "names channels"]) -> Float[Tensor, "names rows cols"]:
        """Logits of one view: cosine of cells and texts, refined where that is on.

        Args:
            view: Number of the camera.
            text: Text embeddings, unit rows.
        """
        logits = torch.einsum("crk,nc->nrk", self.embeddings[view], text)
        if self.prompt_denoising > 0:
            logits = denoise_prompts(logits, self.prompt_denoising)
        if self.key_smoothing > 0 and self.keys is not None:
            logits = smooth_by_keys(logits, self.keys[view], self.key_smoothing)
        return logits

    def logits_at(self, pairs: Pairs, text: Float[Tensor, "names channels"]) -> Float[Tensor, "pairs names"]:
        """Logits at the pixels of ``pairs``, bilinear between the nearest cells.

        Equal to upsampling the logit map to the image's size (bilinear, corners not aligned) and indexing it.
        """
        maps = [self.logit_map(view, text) for view in range(len(self.embeddings))]
        return sample_maps(maps, self.sizes, pairs)

    def embeddings_at(self, pairs: Pairs) -> Float[Tensor, "pairs channels"]:
        """Bilinear embeddings at the pixels of ``pairs``; unit rows."""
        return F.normalize(sample_maps(self.embeddings, self.sizes, pairs), dim=-1)

    def label_map(self, view: int, text: Float[Tensor, "names channels"]) -> Int[Tensor, "height width"]:
        """Segment a full-size image: for each pixel the text with the highest upsampled logit."""
        logits = self.logit_map(view, text)[None]
        return F.interpolate(logits, self.sizes[view], mode="bilinear", align_corners=False)[0].argmax(0)


def denoise_prompts(
    logits: Float[Tensor, "names rows cols"], threshold: float
) -> Float[Tensor, "names rows cols"]:
    """Prompt denoising (MaskCLIP, Sec. 3.3): remove classes that are not in the image.

    A class goes whose highest softmax score over all cells is below ``threshold`` (0..1; 0.5 in MaskCLIP's
    code): its logits become -100.
    """
    scores = (INVERSE_TEMPERATURE * logits).softmax(0)
    unlikely = scores.flatten(1).amax(1) < threshold
    return logits.masked_fill(unlikely[:, None, None], SILENT)


def smooth_by_keys(
    logits: Float[Tensor, "names rows cols"], keys: Float[Tensor, "channels rows cols"], threshold: float
) -> Float[Tensor, "names rows cols"]:
    """Key smoothing (MaskCLIP, Sec. 3.3, Eq. 4): average the scores of cells with similar attention keys.

    Only cells whose highest softmax score is below ``threshold`` (0..1) are smoothed. They get the sum of all
    cells' scores weighted by the cosine similarity of keys; the weights are not normalised. MaskCLIP's code
    normalises keys along the cells, so its weights are no cosines; here they are, as in the paper.

    Returns:
        Scores, no longer logits: only their order within a cell means something.
    """
    scores = (INVERSE_TEMPERATURE * logits).softmax(0).flatten(1)
    keys = F.normalize(keys.flatten(1), dim=0)
    smoothed = scores @ (keys.T @ keys)
    unsure = scores.amax(0) < threshold
    return torch.where(unsure, smoothed, scores).view_as(logits)


def sample_maps(
    maps: Sequence[Cells], sizes: Sequence[tuple[int, int]], pairs: Pairs
) -> Float[Tensor, "pairs channels"]:
    """Sample maps bilinearly at the pixels of ``pairs``; each map covers its whole image.

    Integer pixels are pixel centres, so column 0 lies half a pixel from the image's border. Beyond the
    centres of the outermost cells the value of the nearest cell is held.

    Args:
        maps: One map ``(channels, rows, cols)`` a view.
        sizes: Height and width of each image, in pixels.
        pairs: Where to sample.
    """
    result = maps[0].new_empty(len(pairs), maps[0].shape[0])
    for view, (each, (height, width)) in enumerate(zip(maps, sizes, strict=True)):
        here = (pairs.views == view).nonzero()[:, 0]
        size = torch.tensor([width, height], dtype=each.dtype)
        where = (pairs.pixels[here].to(each.dtype) + 0.5) / size * 2 - 1
        sampled = F.grid_sample(each[None], where[None, None], padding_mode="border", align_corners=False)
        result[here] = sampled[0, :, 0].T
    return result


def cells_read(maps: DenseEmbeddings, pairs: Pairs) -> list[Bool[Tensor, "_ _"]]:
    """Tell which cells of each map :meth:`DenseEmbeddings.embeddings_at` reads for some pairs.

    Args:
        maps: One map a view.
        pairs: Where they are read.
    """
    grids = [torch.ones(1, *each.shape[1:], requires_grad=True) for each in maps.embeddings]
    with torch.enable_grad():  # what a cell's value changes was read from it
        sample_maps(grids, maps.sizes, pairs).sum().backward()
    return [
        torch.zeros(each.shape[1:], dtype=torch.bool) if each.grad is None else each.grad[0] != 0
        for each in grids
    ]


@dataclass(frozen=True)
class MaskClip:
    """A label-free teacher: MaskCLIP over any :class:`~clip2scene.teacher.clip.load.Clip`.

    For vision transformers the residual connection and the feed-forward part of the last block stay, as in
    MaskCLIP's code. For ResNets the position embedding of the attention pooling stays in the values, as in
    CLIP itself; MaskCLIP's ResNet head drops it.

    Attributes:
        clip: The image-text model.
        working_size: Height and width that images are resized to, in pixels, rounded to whole cells; None
            keeps each image's own size.
        scales: Factors on that size (multi-scale inference); the embeddings of all scales are averaged. Near
            things are recognised at a small scale, far ones at a large scale.
        window: Side of the square windows of sliding-window inference, in pixels; windows are averaged. None
            takes the whole image in one forward pass, with interpolated position embeddings.
        overlap: Fraction of a window's side that the next one covers too, in 0..0.9; the last one ends at the
            border and may overlap more.
        key_smoothing: See :class:`DenseEmbeddings`.
        prompt_denoising: See :class:`DenseEmbeddings`.
        attention: Of the last layer, see :mod:`clip2scene.teacher.last_attention`; not every family has each.
        proxy: The second model of ProxyCLIP, in place of an attention of the model's own. Maps are as many
            times finer than the model's as its cells are smaller, rounded.
    """

    clip: Clip
    working_size: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    window: int | None = None
    overlap: float = 0.5
    key_smoothing: float = 0.0
    prompt_denoising: float = 0.0
    attention: Attention = "maskclip"
    proxy: ImageBackbone | None = None

    def __post_init__(self) -> None:
        check_last_layer(self.clip.family, self.attention, with_proxy=self.proxy is not None)
        for name in ("key_smoothing", "prompt_denoising"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} is a score, expected 0 (off) to 1, got {getattr(self, name)}; correct it"
                )
        if self.working_size is not None and min(self.working_size) <= 0:
            raise ValueError(
                f"working_size must be a positive height and width in pixels, got {self.working_size}; "
                "None keeps each image's own"
            )
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(
                f"scales must be one or more positive factors, got {self.scales}; (1.0,) is plain"
            )
        if not 0 <= self.overlap <= 0.9:
            raise ValueError(
                f"overlap must lie in 0..0.9 of a window's side, got {self.overlap}; 0.5 is half"
            )
        if self.window is not None and self.window < self.clip.patch:
            raise ValueError(
                f"window must be at least one cell of the model ({self.clip.patch} pixels), got "
                f"{self.window}; the size it was trained on ({self.clip.image_size}) is a good choice"
            )

    @property
    def fineness(self) -> int:
        """Cells of its maps along one cell of the model: 1, or more with a proxy whose cells are smaller."""
        return 1 if self.proxy is None else max(1, round(self.clip.patch / self.proxy.stride))

    def __call__(self, sample: Sample) -> DenseEmbeddings:
        """Embed every image of a sample.

        Raises:
            ValueError: If an image cannot be read.
        """
        images = [sample.read_image(view) for view in range(len(sample.cameras))]
        return self.embed_images(images, [(camera.height, camera.width) for camera in sample.cameras])

    def embed_images(
        self,
        images: Sequence[UInt8[Tensor, "_ _ 3"]],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> DenseEmbeddings:
        """Embed images, which may differ in size.

        Args:
            images: RGB.
            sizes: Height and width that pixels of pairs refer to; by default the images' own.
        """
        sizes = sizes or [(image.shape[0], image.shape[1]) for image in images]
        return self.dense_embeddings([self.embed_image(image) for image in images], sizes)

    def dense_embeddings(self, maps: Sequence[Maps], sizes: Sequence[tuple[int, int]]) -> DenseEmbeddings:
        """Collect the maps of several images, together with the refinements that are on.

        Args:
            maps: The result of :meth:`embed_image` for each image.
            sizes: Height and width that pixels of pairs refer to.
        """
        embeddings = tuple(each[0] for each in maps)
        keys = tuple(each[1] for each in maps) if self.key_smoothing > 0 else None
        return DenseEmbeddings(embeddings, keys, tuple(sizes), self.key_smoothing, self.prompt_denoising)

    @property
    def device(self) -> torch.device:
        """Where the forward pass is run."""
        return self.clip.device

    def to(self, device: torch.device) -> "MaskClip":
        """Run the forward pass on a device; maps come back to the processor. Never run on a GPU."""
        proxy = None if self.proxy is None else self.proxy.to(device)
        return replace(self, clip=self.clip.to(device), proxy=proxy)

    @torch.no_grad()
    def embed_image(self, image: UInt8[Tensor, "height width 3"]) -> Maps:
        """Run the forward pass at every scale; upsample all to the finest grid and average.

        Returns:
            Dense embeddings ``(channels, rows, cols)``, unit length; then attention keys, if key smoothing is
            on.

        Raises:
            ValueError: If the model gives numbers that are not finite.
        """
        maps = tuple(each.cpu() for each in self._embed_at_scales(image))
        if not all(bool(each.isfinite().all()) for each in maps):
            which = "image-text model" if self.proxy is None else "image-text model, or its proxy,"
            raise ValueError(
                f"the {which} gives embeddings of an image that are not finite, so its weights are "
                "damaged; fetch them anew"
            )
        return maps

    def _embed_at_scales(self, image: UInt8[Tensor, "height width 3"]) -> Maps:
        height, width = self.working_size or image.shape[:2]
        pixels = self.clip.normalise(image[None])
        by_scale = []
        for scale in sorted(self.scales, reverse=True):
            rows, cols = (max(1, round(side * scale / self.clip.patch)) for side in (height, width))
            by_scale.append(self._slide(resize(pixels, (rows * self.clip.patch, cols * self.clip.patch))))
        if len(by_scale) == 1:
            return by_scale[0]
        grid = by_scale[0][0].shape[1:]
        fine = [[F.interpolate(each[None], grid, mode="bilinear")[0] for each in maps] for maps in by_scale]
        return tuple(F.normalize(torch.stack(maps).sum(0), dim=0) for maps in zip(*fine, strict=True))

    def _slide(self, pixels: Float[Tensor, "1 3 height width"]) -> Maps:
        """Sliding-window inference, or one pass over the whole image; overlapping windows are averaged."""
        patch = self.clip.patch
        rows, cols = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        side = max(rows, cols) if self.window is None else self.window // patch
        step = max(1, round(side * (1 - self.overlap)))
        corners = list(itertools.product(_window_starts(rows, side, step), _window_starts(cols, side, step)))
        fine = self.fineness
        sums: tuple[Tensor, ...] = ()
        for first in range(0, len(corners), WINDOWS_AT_ONCE):
            some = corners[first : first + WINDOWS_AT_ONCE]
            reach = side * patch
            crops = [pixels[0, :, y * patch :, x * patch :][:, :reach, :reach] for y, x in some]
            batch = [F.normalize(each, dim=1) for each in self._forward(torch.stack(crops))]  # equal weights
            sums = sums or tuple(each.new_zeros(each.shape[1], rows * fine, cols * fine) for each in batch)
            for total, maps in zip(sums, batch, strict=True):
                for (top, left), each in zip(some, maps, strict=True):
                    down, right = each.shape[1:]
                    total[:, top * fine :, left * fine :][:, :down, :right] += each
        return tuple(F.normalize(each, dim=0) for each in sums)

    def _forward(self, pixels: Float[Tensor, "windows 3 height width"]) -> tuple[Tensor, ...]:
        """Dense embeddings of a batch, and attention keys for key smoothing."""
        clip, proxy = self.clip, None
        if self.proxy is not None:
            proxy = self.proxy.cells(pixels * clip.std.view(3, 1, 1) + clip.mean.view(3, 1, 1))
        with_keys = self.key_smoothing > 0
        maps = dense_maps(clip, pixels, attention=self.attention, proxy=proxy, with_keys=with_keys)
        grid = tuple(side // clip.patch * self.fineness for side in pixels.shape[2:])
        return tuple(resize_map(each, grid) for each in maps)


def _window_starts(cells: int, side: int, step: int) -> list[int]:
    """Place windows of ``side`` cells ``step`` apart, so that the last one ends at the border."""
    last = max(0, cells - side)
    return [*range(0, last, step), last]
