"""Compare ``--teacher.refine`` with maps as they are: the small CLIP on towns nobody trained on or chose by.

    python benchmarks/refinement.py [--towns 5]

mIoU of pixels on six camera images of 400 x 224 in each town (numbers from 1,900,000 on), with the scales and
windows of the recipe ``toytown`` and without any vote; for each read-out of the last layer and each
refinement with its defaults. Beside it, the processor time of the refinement alone.
"""

import argparse
import time
from dataclasses import replace

import torch
import torch.nn.functional as F

from clip2scene import build
from clip2scene.build import SMALL_CLIP
from clip2scene.evaluation.metrics import Confusion
from clip2scene.evaluation.small_clip import hold_out
from clip2scene.experiments.provenance import describe_machine, today
from clip2scene.recipes import named
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.prompts import TOYTOWN_TEMPLATES, embed_prompts

METHODS = ("none", "pamr", "guided", "superpixels")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--towns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    clip, held_out = load_clip(SMALL_CLIP), hold_out(num_towns=options.towns, views_per_class=1)
    prompts = embed_prompts(clip, held_out.classes, held_out.names, TOYTOWN_TEMPLATES)
    print(f"{describe_machine('cpu')}, one of them used, {today()}\n")
    print("| read-out | refinement | mIoU | ms an image |\n|---|---|---:|---:|")
    for attention in ("maskclip", "cells"):
        settings = replace(named("toytown").teacher, attention=attention)
        teacher = build.build_mask_clip(settings, clip)
        confusions = {method: Confusion(len(prompts.classes)) for method in METHODS}
        spent = dict.fromkeys(METHODS, 0.0)
        for image, truth in zip(held_out.images, held_out.labels, strict=True):
            logits = teacher.embed_images([image]).logit_map(0, prompts.embeddings)
            logits = prompts.best_name(logits.flatten(1).T).T.unflatten(1, logits.shape[1:])
            for method, confusion in confusions.items():
                began = time.process_time()
                refinement = build.build_refinement(replace(settings, refine=method))
                found = logits if refinement is None else refinement.of_image(image, logits)
                spent[method] += time.process_time() - began
                labels = F.interpolate(found[None], truth.shape, mode="bilinear")[0].argmax(0)
                confusion.update(labels.flatten(), truth.flatten())
        for method, confusion in confusions.items():
            miou, ms = (
                100 * confusion.scores(prompts.classes).miou,
                1000 * spent[method] / len(held_out.images),
            )
            print(f"| `{attention}` | `{method}` | {miou:.1f} | {ms:.0f} |", flush=True)


if __name__ == "__main__":
    main()
