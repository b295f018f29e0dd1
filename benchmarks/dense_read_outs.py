"""Measure what each read-out of a CLIP ViT-B/16 costs: milliseconds and megabytes an image.

    python benchmarks/dense_read_outs.py [--repeats 3]

Models have their full size and random weights, which changes no cost. An image of 400 x 224 pixels is taken
whole and through windows of 224; the proxy is a DINOv2 ViT-B/14, which is shown the same pixels. Each
measurement has a process of its own, with one thread: the least processor time of some passes after one to
warm up, and the highest memory above that of the models.
"""

import argparse
import multiprocessing
import resource
import time
from dataclasses import replace
from typing import Any

import torch

from clip2scene.runs.cost import describe_machine, today
from clip2scene.teacher.backbone import ImageBackbone
from clip2scene.teacher.clip.load import Clip
from clip2scene.teacher.clip.tokenizer import WholeTokenizer, word_tokenizer
from clip2scene.teacher.maskclip import MaskClip

PATCH = 14  # of the proxy


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(0)
    plain = MaskClip(make_clip())
    teachers = {name: replace(plain, attention=name) for name in ("maskclip", "sclip", "clearclip", "naclip")}
    teachers["proxy"] = replace(plain, proxy=make_proxy())
    image = torch.randint(0, 256, (224, 400, 3)).byte()
    print(f"{describe_machine('cpu')}, one of them used, {today()}")
    for name, teacher in teachers.items():
        for window in (None, 224):
            seconds, megabytes = measure(replace(teacher, window=window), image, options.repeats)
            how = "whole" if window is None else f"windows of {window}"
            print(f"{name:10} {how:15} {1000 * seconds:7.0f} ms  {megabytes:5.0f} MB", flush=True)


def make_clip() -> Clip:
    """Make a CLIP ViT-B/16 whose text tower has one block."""
    import transformers

    text = {"num_hidden_layers": 1, "vocab_size": 100}
    config = transformers.CLIPConfig(text_config=text, vision_config={"patch_size": 16}, projection_dim=512)
    words = WholeTokenizer(word_tokenizer(["a"], 77))
    model = transformers.CLIPModel(config).eval().requires_grad_(False)
    return Clip("vit", model, words, torch.zeros(3), torch.ones(3), 224, 16)


def make_proxy() -> ImageBackbone:
    """Make a DINOv2 ViT-B/14."""
    import transformers

    config = transformers.Dinov2Config(image_size=518, patch_size=PATCH)
    model = transformers.Dinov2Model(config).eval().requires_grad_(False)

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        rows = pixels.shape[2] // PATCH
        return model(pixel_values=pixels).last_hidden_state[:, 1:].transpose(1, 2).unflatten(2, (rows, -1))

    return ImageBackbone(forward, config.hidden_size, PATCH, torch.zeros(3), torch.ones(3))


def measure(teacher: MaskClip, image: torch.Tensor, repeats: int) -> tuple[float, float]:
    """Measure the forward pass of an image: processor time in seconds, memory in megabytes."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(teacher, image, repeats, theirs))
    child.start()
    found = ours.recv()
    child.join()
    return found


def _measure(teacher: MaskClip, image: torch.Tensor, repeats: int, answer: Any) -> None:  # noqa: ANN401 - a pipe
    torch.set_num_threads(1)
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(1 + repeats):
        began = time.process_time()
        teacher.embed_image(image)
        times.append(time.process_time() - began)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.send((min(times[1:]), (after - before) * 1024 / 1e6))


if __name__ == "__main__":
    main()
