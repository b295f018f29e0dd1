"""Compare ``--teacher.attention cells`` with plain MaskCLIP: the small CLIP on towns nobody trained on.

    python benchmarks/alike_cells.py [--towns 5]

mIoU of pixels on six camera images of 400 x 224 in each town, without any vote: as toytown's
recipe has it (three scales, windows of 64) and whole at one scale.
"""

import argparse

import torch

from clip2scene.build import SMALL_CLIP
from clip2scene.evaluation.metrics import Confusion
from clip2scene.evaluation.small_clip import hold_out
from clip2scene.experiments.provenance import describe_machine, today
from clip2scene.recipes import named
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.prompts import TOYTOWN_TEMPLATES, embed_prompts


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--towns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    clip, held_out = load_clip(SMALL_CLIP), hold_out(num_towns=options.towns, views_per_class=1)
    prompts = embed_prompts(clip, held_out.classes, held_out.names, TOYTOWN_TEMPLATES)
    recipe = named("toytown").teacher
    ways = {"recipe": {"scales": recipe.scales, "window": recipe.window, "overlap": recipe.window_overlap}}
    print(f"{describe_machine('cpu')}, one of them used, {today()}")
    for way, settings in {**ways, "whole": {}}.items():
        for attention in ("maskclip", "cells"):
            teacher, confusion = (
                MaskClip(clip, attention=attention, **settings),
                Confusion(len(prompts.classes)),
            )
            for image, truth in zip(held_out.images, held_out.labels, strict=True):
                names = teacher.embed_images([image]).label_map(0, prompts.embeddings)
                confusion.update(prompts.class_of_name[names].flatten(), truth.flatten())
            print(
                f"{way:7} {attention:9} {100 * confusion.scores(prompts.classes).miou:5.1f} mIoU", flush=True
            )


if __name__ == "__main__":
    main()
