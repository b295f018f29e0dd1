"""Compare read-outs and refinements of the teacher's maps: the small CLIP on towns nobody chose by.

    python benchmarks/teacher_maps.py [--towns 5]

mIoU of pixels on six camera images of 400 x 224 in each town (numbers from 1,900,000 on), without any vote:
with the scales and windows of the recipe ``toytown``, and whole at one scale; for each
``--teacher.attention`` that the small CLIP has and each ``--teacher.refine`` with its defaults. Beside it,
the processor time of the refinement alone.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F

from clip2scene import build_teacher
from clip2scene.build_teacher import SMALL_CLIP
from clip2scene.evaluation.metrics import Confusion
from clip2scene.evaluation.small_clip import HeldOut, hold_out
from clip2scene.recipes import named
from clip2scene.runs.cost import describe_machine, today
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.prompts import TOYTOWN_TEMPLATES, embed_prompts
from clip2scene.teacher.refine import Refinement
from clip2scene.types import Prompts

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
    print("| images | read-out | refinement | mIoU | ms an image |\n|---|---|---|---:|---:|")
    recipe = named("toytown").teacher
    for way, base in (("recipe", recipe), ("whole", replace(recipe, scales=(1.0,), window=None))):
        for attention in ("maskclip", "cells"):
            settings = replace(base, attention=attention)
            teacher = build_teacher.build_mask_clip(settings, clip)
            refinements = {
                each: build_teacher.build_refinement(replace(settings, refine=each)) for each in METHODS
            }
            for method, (miou, ms) in measure(teacher, refinements, held_out, prompts).items():
                print(f"| {way} | `{attention}` | `{method}` | {miou:.1f} | {ms:.0f} |", flush=True)


def measure(
    teacher: MaskClip, refinements: Mapping[str, Refinement | None], held_out: HeldOut, prompts: Prompts
) -> dict[str, tuple[float, float]]:
    """Give for each refinement the mIoU in percent, and its processor time an image in milliseconds."""
    confusions = {method: Confusion(len(prompts.classes)) for method in refinements}
    spent = dict.fromkeys(refinements, 0.0)
    for image, truth in zip(held_out.images, held_out.labels, strict=True):
        logits = teacher.embed_images([image]).logit_map(0, prompts.embeddings)
        logits = prompts.best_name(logits.flatten(1).T).T.unflatten(1, logits.shape[1:])
        for method, refinement in refinements.items():
            began = time.process_time()
            found = logits if refinement is None else refinement.of_image(image, logits)
            spent[method] += time.process_time() - began
            labels = F.interpolate(found[None], truth.shape, mode="bilinear")[0].argmax(0)
            confusions[method].update(labels.flatten(), truth.flatten())
    return {
        method: (100 * each.scores(prompts.classes).miou, 1000 * spent[method] / len(held_out.images))
        for method, each in confusions.items()
    }


if __name__ == "__main__":
    main()
