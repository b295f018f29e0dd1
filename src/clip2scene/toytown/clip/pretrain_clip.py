"""Train a small CLIP from scratch on captioned views: image-level contrastive learning, no pixel labels.

Loss and towers are CLIP's (Radford et al. 2021, Fig. 3). The views come from a function, so nothing here
knows which world they show.

Where other programs use the same cores, set ``OMP_WAIT_POLICY=PASSIVE``: torch's threads otherwise wait for
each other by spinning.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from clip2scene.io import sort_header, write_atomically
from clip2scene.parallel import progress_bar
from clip2scene.teacher.clip.load import Clip, clip_of_resnet, save_clip
from clip2scene.teacher.clip.resnet import ClipResNet, ResNetClipConfig
from clip2scene.teacher.clip.tokenizer import read_tokenizer, word_tokenizer
from clip2scene.teacher.prompts import TOYTOWN_TEMPLATES
from clip2scene.toytown.clip.view_pool import CaptionViews, ViewPool, augment

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
"""Views rendered before the first step, and views kept."""

REPORT_EVERY = 250
"""Steps between reports; the model is written and evaluated at each."""

PROGRESS = "progress.safetensors"

SIDES = (40, 56, 64, 72, 88, 112)
"""A step shows its views at one of these sizes, in pixels, so that scale matters less."""


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


def words_of(captions: Sequence[str]) -> set[str]:
    """Collect the words of captions and of the prompt templates."""
    templates = " ".join(TOYTOWN_TEMPLATES).replace("{}", " ")
    return set(re.findall(r"\w+", " ".join([*captions, templates]).lower()))


def vocabulary_of_run(out: Path, captions: Sequence[str], context_length: int) -> Tokenizer:
    """Take up the tokenizer of an interrupted run, or make one of the captions' words."""
    if (out / "tokenizer.json").exists():
        return read_tokenizer(out, context_length)
    return word_tokenizer(sorted(words_of(captions)), context_length)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm up linearly over the first 200 steps, stay, and decay linearly to 0 over the last 30 % of the run.

    Because it stays level for so long, a run can be lengthened or cut short while it goes: resume it with
    other ``steps``.
    """
    return peak * min(1.0, (step + 1) / 200, (steps - step) / (0.3 * steps))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step move all weights at ``rate``."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def multiplies_bfloat16() -> bool:
    """Tell whether this processor multiplies in bfloat16; emulated, a step takes many times longer.

    Asked at each start, not written into a run: one that goes on elsewhere takes what it finds there.
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def make_optimiser(model: ClipResNet, weight_decay: float) -> torch.optim.AdamW:
    """Make AdamW that decays matrices and kernels only; the pooling's position embedding stays at zero."""
    model.visual.attnpool.positional_embedding.requires_grad_(False).zero_()
    trained = [each for each in model.parameters() if each.requires_grad]
    groups = [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True)


@dataclass(frozen=True)
class ClipTraining:
    """A training run: model, optimiser, and what its progress file must agree with.

    Attributes:
        clip: Towers and tokenizer as the teacher uses them.
        tokenizer: Written beside the weights.
        optimiser: Of all weights.
        batch: Views in a step.
        seed: Of the draws of every step.
    """

    clip: Clip
    tokenizer: Tokenizer
    optimiser: torch.optim.AdamW
    batch: int
    seed: int

    @property
    def settings(self) -> str:
        """What must be the same when a run is resumed."""
        return f"batch={self.batch} seed={self.seed} vocabulary={self.clip.model.config.vocab_size}"

    def step(self, views: ViewPool, number: int, rate: float) -> float:
        """Draw a batch and take step ``number`` at a learning rate; returns the loss before it."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        set_learning_rate(self.optimiser, rate)
        return train_step(self.clip, self.optimiser, *views.sample(self.batch, generator), generator)

    def save(self, out: Path, step: int) -> None:
        """Write everything that a resumed run needs, atomically, and the model itself."""
        model = self.clip.model
        tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            state = self.optimiser.state.get(parameter, {})
            tensors |= {f"{key}.{name}": value for key, value in state.items()}
        contiguous = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        with write_atomically(out / PROGRESS) as temporary:
            save_file(contiguous, temporary, metadata={"step": str(step), "settings": self.settings})
            sort_header(temporary)
        save_clip(self.clip, self.tokenizer, out)

    def resume(self, out: Path) -> int:
        """Load what :meth:`save` wrote; returns the number of steps done, 0 where there is no such file.

        Raises:
            ValueError: If the file was written with other settings.
        """
        path, model = out / PROGRESS, self.clip.model
        if not path.exists():
            return 0
        with safe_open(path, framework="pt") as file:
            if file.metadata()["settings"] != self.settings:
                raise ValueError(
                    f"{path} belongs to a run with other settings; expected {self.settings}, got "
                    f"{file.metadata()['settings']}. Name another folder, or delete that file to start anew"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            step = int(file.metadata()["step"])
        weights = {name: value for name, value in tensors.items() if name.startswith("model.")}
        model.load_state_dict({name.removeprefix("model."): value for name, value in weights.items()})
        for name, parameter in model.named_parameters():
            if f"step.{name}" in tensors:
                # The fused optimiser walks through memory: moments must lie there in the weights' order.
                moments = {
                    key: torch.empty_like(parameter).copy_(tensors[f"{key}.{name}"])
                    for key in ("exp_avg", "exp_avg_sq")
                }
                self.optimiser.state[parameter] = {"step": tensors[f"step.{name}"], **moments}
        return step


def train_step(
    clip: Clip,
    optimiser: torch.optim.AdamW,
    views: UInt8[Tensor, "batch side side 3"],
    captions: list[str],
    generator: torch.Generator,
) -> float:
    """One optimiser step on a batch; returns the loss before it."""
    model = clip.model.train()
    side = SIDES[int(torch.randint(len(SIDES), (), generator=generator))]
    pixels = augment(views, clip, generator, side).contiguous(memory_format=torch.channels_last)
    tokens = clip.tokenize(captions)
    same_text = (tokens[:, None] == tokens[None]).all(-1)
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=multiplies_bfloat16()):
        images, texts = model.encode_image(pixels), model.encode_text(tokens)
    loss = contrastive_loss(images, texts, model.logit_scale, same_text)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    model.eval()
    return loss.item()


def start_training(
    out: Path, captions: Sequence[str], config: ResNetClipConfig, *, batch: int, seed: int
) -> ClipTraining:
    """Make model and optimiser; the vocabulary is that of the captions, or of the interrupted run."""
    tokenizer = vocabulary_of_run(out, captions, config.context_length)
    model = ClipResNet(replace(config, vocab_size=tokenizer.get_vocab_size()))
    grey = torch.full((3,), 0.5)
    clip = clip_of_resnet(model, tokenizer, grey, grey / 2)
    return ClipTraining(clip, tokenizer, make_optimiser(model, weight_decay=0.05), batch, seed)


def pretrain_clip(
    out: Path,
    caption_views: CaptionViews,
    evaluate: Callable[[Clip], dict[str, float]],
    *,
    config: ResNetClipConfig = SMALL,
    steps: int = 8000,
    batch: int = 256,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, float]:
    """Train a small CLIP and write it to a folder; an interrupted run goes on from its last report.

    Args:
        out: Folder of the model and its progress; that of a run with other settings raises ``ValueError``.
        caption_views: Renders captioned views of the training towns; a function that other processes can
            import. The model's words are those of the first captions.
        evaluate: Gives the scores of each report, as fractions by name; has no part in training.
        config: The model's shape; its vocabulary is made from the captions.
        steps: Optimiser steps in all.
        batch: Views in a step.
        seed: Fixes initial weights, towns, and what each step draws from the pool of views.
        workers: Processes that go on rendering views while the model trains; with 0 it trains on the first
            views alone and nothing depends on timing.

    Returns:
        The scores of the last report; empty when the run was complete already.
    """
    torch.manual_seed(seed)
    scores: dict[str, float] = {}
    with ViewPool(caption_views, seed=seed, capacity=MOST_VIEWS, workers=workers) as views:
        views.fill(FIRST_VIEWS)
        training = start_training(out, views.captions, config, batch=batch, seed=seed)
        start = training.resume(out)
        with progress_bar(range(start, steps), initial=start, total=steps, unit="step", mininterval=2) as bar:
            for step in bar:
                loss = training.step(views, step, learning_rate(step, steps, PEAK_LEARNING_RATE))
                views.refresh()
                bar.set_postfix(loss=f"{loss:.2f}", painted=views.num_painted, refresh=False)
                if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
                    training.save(out, step + 1)
                    scores = evaluate(training.clip)
                    report = " ".join(f"{name}={100 * value:.0f}" for name, value in scores.items())
                    bar.write(f"step {step + 1} loss {loss:.2f} {report}")
    return scores
