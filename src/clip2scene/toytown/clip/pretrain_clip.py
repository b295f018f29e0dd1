"""Train a small CLIP from scratch on captioned views: whole images against whole captions, no pixel label.

Loss and towers are CLIP's (Radford et al. 2021, Fig. 3). The views come from a function, so nothing here
knows which world they show.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from clip2scene.io import write_atomically
from clip2scene.parallel import progress_bar
from clip2scene.teacher.clip.load import Clip, clip_of_resnet, save_clip
from clip2scene.teacher.clip.resnet import ClipResNet, ResNetClipConfig
from clip2scene.teacher.clip.tokenizer import read_tokenizer, word_tokenizer
from clip2scene.teacher.maskclip import NEAR_AND_FAR, MaskClip
from clip2scene.teacher.prompts import TOYTOWN_TEMPLATES, embed_prompts
from clip2scene.toytown.clip.view_pool import CaptionViews, ViewPool, disguise
from clip2scene.types import IGNORE_LABEL, Prompts

SMALL = ResNetClipConfig(
    embed_dim=128,
    image_size=64,
    layers=(2, 2, 3),
    strides=(1, 2, 1),
    width=32,
    image_heads=1,
    vocab_size=0,
    context_length=32,
    text_width=128,
    text_heads=4,
    text_layers=2,
)
"""The model that ships with the package; ``vocab_size`` is filled in from the captions.

One head pools the image, so every cell's value is a word in the same sentence; 8 pixels a cell.
"""

PEAK_LEARNING_RATE = 1.5e-3
FIRST_VIEWS, MOST_VIEWS = 8_000, 60_000
"""Views painted before the first step, and views kept."""

REPORT_EVERY = 250
"""Steps between judgements; the model is written at each."""

SIDES = (40, 56, 64, 72, 88, 112)
"""A step shows its views at one of these sizes, in pixels, so that scale matters less."""


@dataclass(frozen=True)
class HeldOut:
    """Pictures of towns that training never sees, with true labels; only looked at, never learnt from.

    Attributes:
        classes: The classes, in the order of train ids.
        names: Words that stand for each class.
        views: Views of one thing each.
        view_labels: Train id of that thing.
        images: Whole camera images.
        labels: Train id of each pixel, or ``IGNORE_LABEL``.
    """

    classes: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    views: UInt8[Tensor, "views side side 3"]
    view_labels: Int[Tensor, " views"]
    images: UInt8[Tensor, "images height width 3"]
    labels: Int[Tensor, "images height width"]


def contrastive_loss(
    images: Float[Tensor, "batch channels"],
    texts: Float[Tensor, "batch channels"],
    logit_scale: Float[Tensor, ""],
    same_text: Bool[Tensor, "batch batch"],
) -> Float[Tensor, ""]:
    """CLIP's symmetric cross-entropy over all image-text pairs of a batch (Radford et al. 2021, Fig. 3).

    Args:
        images: Image embeddings, of any length.
        texts: Text embeddings, row for row the images' captions.
        logit_scale: Logarithm of the inverse temperature; at most 100 is used, as in CLIP (section 2.5).
        same_text: Which captions are equal word for word: such a pair is no negative and is left out.
    """
    images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    logits = logit_scale.exp().clamp(max=100) * images @ texts.T
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same_text & ~itself, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def evaluate_dense(
    clip: Clip,
    images: UInt8[Tensor, "images height width 3"],
    labels: Int[Tensor, "images height width"],
    prompts: Prompts,
    *,
    scales: tuple[float, ...] = (1.0,),
    window: int | None = None,
) -> dict[str, float]:
    """Judge MaskCLIP's raw dense answer per pixel.

    Args:
        clip: The model.
        images: Pictures of one size.
        labels: Train id of each pixel; ``IGNORE_LABEL`` is not judged.
        prompts: The classes in words.
        scales: See :class:`~clip2scene.teacher.maskclip.MaskClip`; by default the images' own.
        window: See there; by default the whole image at once.

    Returns:
        IoU (a fraction) of each class that is present, by name; their mean as ``miou``; ``accuracy``.
    """
    teacher = MaskClip(clip, scales=scales, window=window)
    num_classes = len(prompts.classes)
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for image, truth in zip(images, labels, strict=True):
        guess = prompts.class_of_name[teacher.embed_images([image]).label_map(0, prompts.embeddings)]
        judged = truth != IGNORE_LABEL
        cell = truth[judged] * num_classes + guess[judged]
        confusion += torch.bincount(cell, minlength=confusion.numel()).view_as(confusion)
    hits, union = confusion.diagonal(), confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    present = (confusion.sum(1) > 0).nonzero()[:, 0].tolist()
    iou = {prompts.classes[i]: float(hits[i] / union[i]) for i in present}
    return {**iou, "miou": sum(iou.values()) / len(iou), "accuracy": float(hits.sum() / confusion.sum())}


def evaluate_views(
    clip: Clip, views: UInt8[Tensor, "views side side 3"], labels: Int[Tensor, " views"], prompts: Prompts
) -> dict[str, float]:
    """Judge zero-shot classification: the fraction of views whose own class is nearest.

    Only the classes that some view is of take part: the ground that a thing stands on is in its view too, and
    naming it would be no mistake.

    Returns:
        The fraction for each class by name, and ``accuracy`` over all views.
    """
    present = labels.unique().tolist()
    logits = prompts.class_logits(clip.encode_image(views))[:, present]
    hits = logits.argmax(1) == torch.searchsorted(labels.unique(), labels)
    right = {prompts.classes[label]: float(hits[labels == label].float().mean()) for label in present}
    return {**right, "accuracy": float(hits.float().mean())}


def judge(clip: Clip, held_out: HeldOut) -> dict[str, float]:
    """Judge views and dense answers on towns that training never sees.

    Returns:
        ``views <class>`` and ``views accuracy`` of :func:`evaluate_views`; ``dense <class>``, ``dense miou``
        and ``dense accuracy`` of :func:`evaluate_dense` at the images' own size, through windows of the size
        that the model was trained on; ``whole ...`` the same without windows; ``scales ...`` without
        windows at three scales, averaged.
    """
    prompts = embed_prompts(clip, held_out.classes, held_out.names, TOYTOWN_TEMPLATES)
    images, labels = held_out.images, held_out.labels
    judged = {
        "views": evaluate_views(clip, held_out.views, held_out.view_labels, prompts),
        "dense": evaluate_dense(clip, images, labels, prompts, window=clip.image_size),
        "whole": evaluate_dense(clip, images, labels, prompts),
        "scales": evaluate_dense(clip, images, labels, prompts, scales=NEAR_AND_FAR),
    }
    return {f"{kind} {name}": value for kind, scores in judged.items() for name, value in scores.items()}


def words_of(captions: Sequence[str]) -> set[str]:
    """Collect the words of captions, and those of the templates that classes will be asked with."""
    templates = " ".join(TOYTOWN_TEMPLATES).replace("{}", " ")
    return set(re.findall(r"\w+", " ".join([*captions, templates]).lower()))


def vocabulary_of_run(out: Path, captions: Sequence[str], context_length: int) -> Tokenizer:
    """Take up the tokenizer of an interrupted run, or make one of the captions' words."""
    if (out / "tokenizer.json").exists():
        return read_tokenizer(out, context_length)
    return word_tokenizer(sorted(words_of(captions)), context_length)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Rise over the first 200 steps, stay, and fall linearly to nothing over the last 30 % of the run.

    Because it stays level for so long, a run can be lengthened or cut short while it goes: resume it with
    other ``steps``.
    """
    return peak * min(1.0, (step + 1) / 200, (steps - step) / (0.3 * steps))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step move all weights at ``rate``."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def make_optimiser(model: ClipResNet, weight_decay: float) -> torch.optim.AdamW:
    """Make AdamW that decays matrices and kernels only, and leaves the pooling's positions at rest (zero)."""
    model.visual.attnpool.positional_embedding.requires_grad_(False).zero_()
    learnt = [each for each in model.parameters() if each.requires_grad]
    groups = [
        {"params": [each for each in learnt if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in learnt if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)


def save_progress(
    path: Path, model: ClipResNet, optimiser: torch.optim.AdamW, step: int, settings: str
) -> None:
    """Write everything a resumed run needs, atomically."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors |= {f"{key}.{name}": value for key, value in optimiser.state.get(parameter, {}).items()}
    with write_atomically(path) as temporary:
        contiguous = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata={"step": str(step), "settings": settings})


def load_progress(path: Path, model: ClipResNet, optimiser: torch.optim.AdamW, settings: str) -> int:
    """Take up a run where :func:`save_progress` left it.

    Raises:
        ValueError: If the file was written with other settings.
    """
    with safe_open(path, framework="pt") as file:
        if file.metadata()["settings"] != settings:
            raise ValueError(
                f"{path} belongs to a run with other settings; expected {settings}, got "
                f"{file.metadata()['settings']}. Name another folder, or delete that file to start anew"
            )
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        step = int(file.metadata()["step"])
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    for name, parameter in model.named_parameters():
        if f"step.{name}" in tensors:
            # The fused optimiser walks through memory: moments must lie there in the same order as weights.
            timestamps = {
                key: torch.empty_like(parameter).copy_(tensors[f"{key}.{name}"])
                for key in ("exp_avg", "exp_avg_sq")
            }
            optimiser.state[parameter] = {"step": tensors[f"step.{name}"], **timestamps}
    return step


def train_step(
    clip: Clip,
    optimiser: torch.optim.AdamW,
    views: UInt8[Tensor, "batch side side 3"],
    captions: list[str],
    generator: torch.Generator,
) -> float:
    """Show one batch to both towers and move their weights; returns the loss before."""
    model = clip.model.train()
    side = SIDES[int(torch.randint(len(SIDES), (), generator=generator))]
    pixels = disguise(views, clip, generator, side).contiguous(memory_format=torch.channels_last)
    tokens = clip.tokenize(captions)
    same_text = (tokens[:, None] == tokens[None]).all(-1)
    with torch.autocast(pixels.device.type, torch.bfloat16):
        images, texts = model.encode_image(pixels), model.encode_text(tokens)
    loss = contrastive_loss(images, texts, model.logit_scale, same_text)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    model.eval()
    return loss.item()


def pretrain_clip(
    out: Path,
    caption_views: CaptionViews,
    held_out: HeldOut,
    *,
    config: ResNetClipConfig = SMALL,
    steps: int = 8000,
    batch: int = 256,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, float]:
    """Train a small CLIP and write it to a folder; an interrupted run goes on from its last report.

    Where other programs use the same cores, set ``OMP_WAIT_POLICY=PASSIVE``: torch's threads otherwise wait
    for each other by spinning.

    Args:
        out: Folder of the model, as :func:`~clip2scene.teacher.clip.load.load_clip` reads it, and of
            ``progress.safetensors``.
        caption_views: Paints captioned views of the training towns; a function that other processes can
            import. The model's words are those of the first captions.
        held_out: What to judge by, now and then; never learnt from.
        config: The model's shape; its vocabulary is made from the captions.
        steps: Optimiser steps in all.
        batch: Views in a step.
        seed: Fixes initial weights, towns, and what each step draws from the pool of views.
        workers: Processes that go on painting views while the model learns; with 0 it learns from the first
            views alone and nothing depends on timing.

    Returns:
        The last judgement: ``dense miou``, ``dense <class>``, ``views accuracy``, ``views <class>``; empty
        when the run was complete already.

    Raises:
        ValueError: If ``out`` holds the progress of a run with other settings.
    """
    torch.manual_seed(seed)
    progress = out / "progress.safetensors"
    scores: dict[str, float] = {}
    with ViewPool(caption_views, seed=seed, capacity=MOST_VIEWS, workers=workers) as views:
        views.fill(FIRST_VIEWS)
        tokenizer = vocabulary_of_run(out, views.captions, config.context_length)
        model = ClipResNet(replace(config, vocab_size=tokenizer.get_vocab_size()))
        grey = torch.full((3,), 0.5)
        clip = clip_of_resnet(model, tokenizer, grey, grey / 2)
        optimiser = make_optimiser(model, weight_decay=0.05)
        settings = f"batch={batch} seed={seed} vocabulary={model.config.vocab_size}"
        start = load_progress(progress, model, optimiser, settings) if progress.exists() else 0
        with progress_bar(range(start, steps), initial=start, total=steps, unit="step", mininterval=2) as bar:
            for step in bar:
                generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
                set_learning_rate(optimiser, learning_rate(step, steps, PEAK_LEARNING_RATE))
                loss = train_step(clip, optimiser, *views.sample(batch, generator), generator)
                views.refresh()
                bar.set_postfix(loss=f"{loss:.2f}", painted=views.num_painted, refresh=False)
                if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
                    save_progress(progress, model, optimiser, step + 1, settings)
                    save_clip(clip, tokenizer, out)
                    scores = judge(clip, held_out)
                    report = " ".join(f"{name}={100 * value:.0f}" for name, value in scores.items())
                    bar.write(f"step {step + 1} loss {loss:.2f} {report}")
    return scores
