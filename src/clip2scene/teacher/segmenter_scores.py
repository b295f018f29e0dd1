"""The forward pass of each segmenter of transformers: normalised pixels in, scores of classes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from clip2scene.teacher.clip.tokenizer import open_folder_tokenizer
from clip2scene.teacher.prompts import refuse_alike

TASK = "the task is semantic"
"""What OneFormer is told to do; its tokens are an input of the network."""

_TEXTS_AT_ONCE = 8

Scores = Float[Tensor, "sources rows cols"]


@dataclass(frozen=True)
class SegFormerScores:
    """The forward pass of SegFormer: shares of one, on a grid of a quarter of the image's sides."""

    model: Any

    def __call__(self, pixels: Float[Tensor, "1 3 height width"]) -> Scores:
        """Score normalised pixels."""
        return self.model(pixel_values=pixels).logits[0].softmax(0)


def semantic_inference(out: Any) -> Scores:  # noqa: ANN401 - each network has an output class of its own
    """Weight each query's mask by its class probabilities (MaskFormer, Cheng et al. 2021, Sec. 3.4)."""
    classes = out.class_queries_logits[0].softmax(-1)[:, :-1]  # the last one is "no object"
    return torch.einsum("qc,qrk->crk", classes, out.masks_queries_logits[0].sigmoid())


def as_shares(scores: Scores) -> Scores:
    """Divide cells whose scores add up to more than one by their sum, as where several masks overlap."""
    return scores / scores.sum(0).clamp(min=1)


@dataclass(frozen=True)
class Mask2FormerScores:
    """The forward pass of Mask2Former (Cheng et al., CVPR 2022), or of OneFormer (Jain et al., CVPR 2023).

    Attributes:
        model: The network.
        task: Token ids of OneFormer's task, which it takes as numbers; None for Mask2Former.
    """

    model: Any
    task: Float[Tensor, "1 tokens"] | None = None

    def __call__(self, pixels: Float[Tensor, "1 3 height width"]) -> Scores:
        """Score normalised pixels."""
        task = {} if self.task is None else {"task_inputs": self.task}
        return as_shares(semantic_inference(self.model(pixel_values=pixels, **task)))


@dataclass(frozen=True)
class EomtScores:
    """The forward pass of EoMT (Kerssies et al., CVPR 2025) on squares along the longer side of an image.

    Where squares overlap, their scores are averaged, as the published network does it.
    """

    model: Any

    def __call__(self, pixels: Float[Tensor, "1 3 height width"]) -> Scores:
        """Score normalised pixels, whose shorter side is that of the network's square."""
        side = self.model.config.image_size
        upright = pixels.shape[2] > pixels.shape[3]
        lying = pixels.mT if upright else pixels
        longer = lying.shape[3]
        count = -(-longer // side)
        starts = [int(number * (longer - side) / max(count - 1, 1)) for number in range(count)]
        squares = [lying[..., start : start + side] for start in starts]
        found = [
            semantic_inference(self.model(pixel_values=each.mT if upright else each)) for each in squares
        ]
        lying_scores = [each.mT if upright else each for each in found]
        cells = lying_scores[0].shape[2]
        merged = as_shares(_merge(lying_scores, [round(start * cells / side) for start in starts]))
        return merged.mT if upright else merged


def _merge(squares: Sequence[Scores], starts: Sequence[int]) -> Float[Tensor, "sources rows merged"]:
    """Average squares side by side where they overlap; each begins at a column."""
    sources, rows, cols = squares[0].shape
    summed = squares[0].new_zeros(sources, rows, starts[-1] + cols)
    times = squares[0].new_zeros(starts[-1] + cols)
    for square, start in zip(squares, starts, strict=True):
        summed[..., start : start + cols] += square
        times[start : start + cols] += 1
    return summed / times


@dataclass(frozen=True)
class ClipSegScores:
    """The forward pass of CLIPSeg (Lüddecke and Ecker, CVPR 2022): a sigmoid for each text.

    The image is encoded once; the decoder runs once for each text.
    """

    model: Any
    prompts: Float[Tensor, "texts channels"]

    def __call__(self, pixels: Float[Tensor, "1 3 height width"]) -> Scores:
        """Score normalised pixels of a square image."""
        seen = self.model.clip.vision_model(
            pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=True
        ).hidden_states
        layers = [seen[number + 1] for number in self.model.config.extract_layers]
        found = []
        for some in self.prompts.split(_TEXTS_AT_ONCE):
            out = self.model.decoder([each.expand(len(some), -1, -1) for each in layers], some).logits
            found.append(out.reshape(len(some), *pixels.shape[-2:]).sigmoid())
        return torch.cat(found)


@torch.no_grad()
def embed_words(folder: Path, model: Any, words: Sequence[str]) -> Float[Tensor, "texts channels"]:  # noqa: ANN401
    """Embed words; CLIPSeg reads them with CLIP's tokenizer.

    Raises:
        ValueError: If two are the same to it, as where the tokenizer is of another model.
    """
    from transformers import CLIPConfig  # late: slow to import

    text = model.config.text_config
    reader = open_folder_tokenizer(
        folder, CLIPConfig(), length=text.max_position_embeddings, num_tokens=text.vocab_size
    )
    tokens = reader.tokenize(list(words))
    prompts = model.get_conditional_embeddings(batch_size=len(words), input_ids=tokens)
    refuse_alike(words, F.normalize(prompts, dim=1))
    return prompts


def tokenize_task(folder: Path, model: Any) -> Float[Tensor, "1 tokens"]:  # noqa: ANN401
    """Turn OneFormer's task into the numbers that its network takes: token ids, zeros behind their end.

    Raises:
        ValueError: If the folder holds no tokenizer, or one of another model.
    """
    from transformers import CLIPConfig  # late: slow to import

    config = model.config
    length, rows = config.task_seq_len, config.text_encoder_vocab_size
    tokens = open_folder_tokenizer(folder, CLIPConfig(), length=length, num_tokens=rows).tokenize([TASK])
    return F.pad(tokens, (0, length - tokens.shape[1])).float()
