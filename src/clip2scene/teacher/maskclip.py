"""MaskCLIP (Zhou et al. 2022): an image-text model read densely, one embedding for every cell of the image.

Each family pools its cells into one image embedding; the rewrite lets every cell go through that pooling
alone.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from clip2scene.teacher.clip.load import Clip, resize
from clip2scene.teacher.clip.resnet import ClipResNet
from clip2scene.types import Pairs, Sample

INVERSE_TEMPERATURE = 100.0  # of the softmax that both refinements look at (MaskCLIP's code)
NEAR_AND_FAR = (0.4, 0.7, 1.2)
"""Scales that suit the small CLIP on 400 x 224 pixels; chosen among four on towns of the training range."""

WINDOWS_AT_ONCE = 32
"""Windows of an image that go through the model together."""

SILENT = -100.0  # the logit of a class that prompt denoising has silenced (MaskCLIP's code)

Cells = Float[Tensor, "channels _ _"]  # rows and columns differ from view to view
Keys = Float[Tensor, "keys _ _"]
Maps = tuple[Float[Tensor, "_ _ _"], ...]  # embeddings, and keys where they are of use


@dataclass(frozen=True)
class DenseEmbeddings:
    """What an image-text model sees in each part of a sample's images.

    Attributes:
        embeddings: One map a view, unit length in every cell; stretched over the whole image.
        keys: The cells' attention keys, unit length, for key smoothing; None when that is off.
        sizes: Height and width of each full-size image, in pixels.
        key_smoothing: Where a cell's best score is below this, take the scores of cells with like keys
            (MaskCLIP's key smoothing); 0 is off, 1 replaces all.
        prompt_denoising: Where a class's best score in an image is below this, silence it there (MaskCLIP's
            prompt denoising, with 0.5 in its code); 0 is off.
    """

    embeddings: tuple[Cells, ...]
    keys: tuple[Keys, ...] | None
    sizes: tuple[tuple[int, int], ...]
    key_smoothing: float = 0.0
    prompt_denoising: float = 0.0

    def logit_map(self, view: int, text: Float[Tensor, "names channels"]) -> Float[Tensor, "names rows cols"]:
        """Compare every cell of a view with every text: the cosine, then the refinements that are on."""
        logits = torch.einsum("crk,nc->nrk", self.embeddings[view], text)
        if self.prompt_denoising > 0:
            logits = denoise_prompts(logits, self.prompt_denoising)
        if self.key_smoothing > 0 and self.keys is not None:
            logits = smooth_by_keys(logits, self.keys[view], self.key_smoothing)
        return logits

    def logits_at(self, pairs: Pairs, text: Float[Tensor, "names channels"]) -> Float[Tensor, "pairs names"]:
        """Answer at the pixels of ``pairs``: bilinear between the logits of the nearest cells.

        Equal to upsampling the whole logit map to the image's size (bilinear, corners not aligned) and
        reading it there.
        """
        maps = [self.logit_map(view, text) for view in range(len(self.embeddings))]
        return sample_maps(maps, self.sizes, pairs)

    def embeddings_at(self, pairs: Pairs) -> Float[Tensor, "pairs channels"]:
        """Sample the embedding at the pixels of ``pairs``; unit rows."""
        return F.normalize(sample_maps(self.embeddings, self.sizes, pairs), dim=-1)

    def label_map(self, view: int, text: Float[Tensor, "names channels"]) -> Int[Tensor, "height width"]:
        """Name every pixel of a full-size image: the text with the highest upsampled logit."""
        logits = self.logit_map(view, text)[None]
        return F.interpolate(logits, self.sizes[view], mode="bilinear", align_corners=False)[0].argmax(0)


def denoise_prompts(
    logits: Float[Tensor, "names rows cols"], threshold: float
) -> Float[Tensor, "names rows cols"]:
    """Silence the classes that are nowhere likely: whose best score over the image is below ``threshold``."""
    scores = (INVERSE_TEMPERATURE * logits).softmax(0)
    unlikely = scores.flatten(1).amax(1) < threshold
    return logits.masked_fill(unlikely[:, None, None], SILENT)


def smooth_by_keys(
    logits: Float[Tensor, "names rows cols"], keys: Float[Tensor, "channels rows cols"], threshold: float
) -> Float[Tensor, "names rows cols"]:
    """Let unsure cells take over the scores of cells with like keys.

    Scores are a softmax; a cell whose best one is below ``threshold`` gets the sum of all cells' scores
    weighted by the cosine of their keys, not divided by the weights' sum. MaskCLIP's code brings keys to unit
    length along the cells instead of the channels, so its weights are no cosines; here they are, as its paper
    says.

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
    """Read maps that are stretched over images at the pixels of ``pairs``, bilinearly.

    Integer pixels are pixel centres, so column 0 lies half a pixel from the image's border; beyond the
    outermost cells' centres the nearest cell answers.
    """
    result = maps[0].new_empty(len(pairs), maps[0].shape[0])
    for view, (each, (height, width)) in enumerate(zip(maps, sizes, strict=True)):
        here = (pairs.views == view).nonzero()[:, 0]
        size = torch.tensor([width, height], dtype=each.dtype)
        where = (pairs.pixels[here].to(each.dtype) + 0.5) / size * 2 - 1
        sampled = F.grid_sample(each[None], where[None, None], padding_mode="border", align_corners=False)
        result[here] = sampled[0, :, 0].T
    return result


@dataclass(frozen=True)
class MaskClip:
    """A teacher that needs no labels at all: MaskCLIP over any :class:`~clip2scene.teacher.clip.load.Clip`.

    Attributes:
        clip: The image-text model.
        working_size: Height and width at which images are looked at, rounded to whole cells; None keeps each
            image's own size.
        scales: Factors on that size to look at the image in; their answers are averaged. Near things are
            recognised in a small picture, far ones in a large one.
        window: Side in pixels of the square windows that are slid over the image and averaged; None looks at
            the whole image at once, with interpolated position embeddings.
        overlap: Share of a window's side that the next one covers too, in 0..0.9; the last one ends at the
            border and may cover more.
        residual: Vision transformers only: keep the skip past the last attention, as MaskCLIP's code does.
        feed_forward: Vision transformers only: keep the last block's feed-forward part, as MaskCLIP's code
            does.
        positions: ResNets only: keep the pooling's position embedding in the values, as the model's own
            pooling does; MaskCLIP's ResNet head leaves it out.
        key_smoothing: See :class:`DenseEmbeddings`.
        prompt_denoising: See :class:`DenseEmbeddings`.
    """

    clip: Clip
    working_size: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    window: int | None = None
    overlap: float = 0.5
    residual: bool = True
    feed_forward: bool = True
    positions: bool = True
    key_smoothing: float = 0.0
    prompt_denoising: float = 0.0

    def __post_init__(self) -> None:
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

    def __call__(self, sample: Sample) -> DenseEmbeddings:
        """Look at every image of a sample.

        Raises:
            ValueError: If an image cannot be read.
        """
        images = [sample.read_image(view) for view in range(len(sample.cameras))]
        return self.look(images, [(camera.height, camera.width) for camera in sample.cameras])

    @torch.no_grad()
    def look(
        self,
        images: Sequence[UInt8[Tensor, "_ _ 3"]],
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> DenseEmbeddings:
        """Look at images, which may differ in size.

        Args:
            images: RGB.
            sizes: Height and width that pixels of pairs refer to; by default the images' own.
        """
        sizes = sizes or [(image.shape[0], image.shape[1]) for image in images]
        return self.gather([self.look_at(image) for image in images], sizes)

    def gather(self, seen: Sequence[Maps], sizes: Sequence[tuple[int, int]]) -> DenseEmbeddings:
        """Put the maps of several images together.

        Args:
            seen: What :meth:`look_at` gave for each.
            sizes: Height and width that pixels of pairs refer to.
        """
        embeddings = tuple(each[0] for each in seen)
        keys = tuple(each[1] for each in seen) if self.key_smoothing > 0 else None
        return DenseEmbeddings(embeddings, keys, tuple(sizes), self.key_smoothing, self.prompt_denoising)

    @torch.no_grad()
    def look_at(self, image: UInt8[Tensor, "height width 3"]) -> Maps:
        """Look at one image at every scale; the maps of all are laid over the finest one and averaged.

        Returns:
            Embeddings of unit length; and the cells' attention keys, if key smoothing is on.
        """
        height, width = self.working_size or image.shape[:2]
        pixels = self.clip.normalise(image[None])
        looks = []
        for scale in sorted(self.scales, reverse=True):
            rows, cols = (max(1, round(side * scale / self.clip.patch)) for side in (height, width))
            looks.append(self._slide(resize(pixels, (rows * self.clip.patch, cols * self.clip.patch))))
        if len(looks) == 1:
            return looks[0]
        grid = looks[0][0].shape[1:]
        laid = [[F.interpolate(each[None], grid, mode="bilinear")[0] for each in maps] for maps in looks]
        return tuple(F.normalize(torch.stack(maps).sum(0), dim=0) for maps in zip(*laid, strict=True))

    def _slide(self, pixels: Float[Tensor, "1 3 height width"]) -> Maps:
        """Look through windows, or at the whole; maps are averaged where windows meet."""
        patch = self.clip.patch
        rows, cols = pixels.shape[-2] // patch, pixels.shape[-1] // patch
        side = max(rows, cols) if self.window is None else self.window // patch
        step = max(1, round(side * (1 - self.overlap)))
        corners = list(itertools.product(_window_starts(rows, side, step), _window_starts(cols, side, step)))
        sums: tuple[Tensor, ...] = ()
        for first in range(0, len(corners), WINDOWS_AT_ONCE):
            some = corners[first : first + WINDOWS_AT_ONCE]
            reach = side * patch
            crops = [pixels[0, :, y * patch :, x * patch :][:, :reach, :reach] for y, x in some]
            seen = [F.normalize(each, dim=1) for each in self._dense(torch.stack(crops))]  # one vote a window
            sums = sums or tuple(each.new_zeros(each.shape[1], rows, cols) for each in seen)
            for total, maps in zip(sums, seen, strict=True):
                for (top, left), each in zip(some, maps, strict=True):
                    total[:, top : top + side, left : left + side] += each
        return tuple(F.normalize(each, dim=0) for each in sums)

    def _dense(self, pixels: Float[Tensor, "windows 3 height width"]) -> tuple[Tensor, ...]:
        """Give the embeddings, and the keys if they are of use."""
        model, with_keys = self.clip.model, self.key_smoothing > 0
        if self.clip.family == "resnet":
            return dense_resnet(model, pixels, positions=self.positions, with_keys=with_keys)
        if self.clip.family == "vit":
            maps = dense_vit(model, pixels, residual=self.residual, feed_forward=self.feed_forward)
        else:
            maps = dense_siglip(model, pixels)
        return maps if with_keys else maps[:1]


def _window_starts(cells: int, side: int, step: int) -> list[int]:
    """Place windows of ``side`` cells ``step`` apart, so that the last one ends at the border."""
    last = max(0, cells - side)
    return [*range(0, last, step), last]


def dense_resnet(
    model: ClipResNet,
    pixels: Float[Tensor, "views 3 height width"],
    *,
    positions: bool = True,
    with_keys: bool = True,
) -> tuple[Float[Tensor, "views _ rows cols"], ...]:
    """Rewrite attention pooling as 1x1 convolutions: the value projection, then the output projection.

    Returns:
        Embeddings, not normalised, of every cell; and attention keys, if asked for.
    """
    tower = model.visual
    cells = tower.cells(pixels.contiguous(memory_format=torch.channels_last))
    dense = tower.attnpool.dense(cells, positions=positions)
    return (dense, tower.attnpool.keys(cells)) if with_keys else (dense,)


def dense_vit(
    model: nn.Module,
    pixels: Float[Tensor, "views 3 height width"],
    *,
    residual: bool = True,
    feed_forward: bool = True,
) -> tuple[Float[Tensor, "views channels rows cols"], Float[Tensor, "views keys rows cols"]]:
    """Let every patch token attend to itself alone in the last block of a CLIP vision transformer.

    Value and output projection take the place of the attention; the skip past it and the feed-forward part
    are kept, then come the final norm and the projection that the class token goes through.

    Returns:
        Embeddings, not normalised, and keys (after the output projection, as in MaskCLIP's code) of every
        cell.
    """
    tower: Any = model.vision_model
    block = tower.encoder.layers[-1]
    tokens = _input_of(block, lambda: tower(pixel_values=pixels, interpolate_pos_encoding=True))
    normed = block.layer_norm1(tokens)
    attention = block.self_attn
    values = attention.out_proj(attention.v_proj(normed))
    keys = attention.out_proj(attention.k_proj(normed))
    values = values + tokens if residual else values
    if feed_forward:
        values = values + block.mlp(block.layer_norm2(values))
    project: Any = model.visual_projection
    embeddings = project(tower.post_layernorm(values))
    rows = pixels.shape[-2] // tower.config.patch_size
    return _as_map(embeddings[:, 1:], rows), _as_map(keys[:, 1:], rows)


def dense_siglip(
    model: nn.Module, pixels: Float[Tensor, "views 3 height width"]
) -> tuple[Float[Tensor, "views channels rows cols"], Float[Tensor, "views keys rows cols"]]:
    """Apply SigLIP's pooling head to each token alone: its probe then takes that token's value whole.

    Returns:
        Embeddings, not normalised, and attention keys of every cell.
    """
    tower: Any = model.vision_model
    tokens = tower(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    head = tower.head
    _, key_weight, value_weight = head.attention.in_proj_weight.chunk(3)
    _, key_bias, value_bias = head.attention.in_proj_bias.chunk(3)
    pooled = head.attention.out_proj(F.linear(tokens, value_weight, value_bias))
    embeddings = pooled + head.mlp(head.layernorm(pooled))
    rows = pixels.shape[-2] // tower.config.patch_size
    return _as_map(embeddings, rows), _as_map(F.linear(tokens, key_weight, key_bias), rows)


def _as_map(
    tokens: Float[Tensor, "views tokens channels"], rows: int
) -> Float[Tensor, "views channels rows cols"]:
    return tokens.transpose(1, 2).unflatten(2, (rows, -1))


def _input_of(block: nn.Module, run: Callable[[], object]) -> Tensor:
    """Run a model and catch what one of its blocks is given."""
    caught: list[Tensor] = []

    def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append(args[0] if args else kwargs["hidden_states"])

    handle = block.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    return caught[0]
