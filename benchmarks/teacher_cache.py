"""Measure what the teacher cache saves, takes, and costs in answers.

    python benchmarks/teacher_cache.py --data-root demo/toytown [--recipe toytown] [--samples 20]

For both precisions, over the first samples of the validation split, on one core: time to look at an image and
to read what was kept of it, bytes on disk, and the share of pixels whose best class is the one that unrounded
maps give.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from clip2scene import build, build_teacher
from clip2scene.recipes import RECIPES
from clip2scene.runs.cost import describe_machine, today
from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.kept_maps import open_maps
from clip2scene.teacher.maskclip import MaskClip


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--recipe", default="toytown")
    parser.add_argument("--samples", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    recipe = RECIPES[options.recipe]
    dataset = build.open_dataset(recipe.data, options.data_root, split="val", labels=False)
    prompted = build.prompt_classes(recipe.data, options.data_root)
    space = build_teacher.open_text_space(recipe.teacher, None, prompted)
    prompts = build_teacher.build_prompts(recipe.teacher, space, prompted)
    samples = [dataset[number] for number in range(options.samples)]
    print(f"{describe_machine('cpu')}, one of them used, {today()}")
    for precision in ("float16", "int8"):
        teacher = build_teacher.build_teacher(
            replace(recipe.teacher, precision=precision), space, prompts, dataset
        )
        assert isinstance(teacher, MaskClip)
        teacher(samples[0])  # warm
        with TemporaryDirectory() as folder:
            cached = CachedTeacher(teacher, "", open_maps(folder), precision)
            looking, reading, same, pixels, images = 0.0, 0.0, 0, 0, 0
            for sample in samples:
                began = time.perf_counter()
                first = cached(sample)
                middle = time.perf_counter()
                again = cached(sample)
                reading += time.perf_counter() - middle
                looking += middle - began
                exact = teacher(sample)
                for view in range(len(sample.cameras)):
                    assert torch.equal(first.embeddings[view], again.embeddings[view])
                    answers = again.label_map(view, prompts.embeddings)
                    same += int((answers == exact.label_map(view, prompts.embeddings)).sum())
                    pixels += answers.numel()
                    images += 1
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
        print(
            f"{precision:8}  look {1000 * looking / images:6.1f} ms  read {1000 * reading / images:5.1f} ms "
            f"({looking / reading:.1f} times faster)  {size / images / 1000:6.1f} kB an image  "
            f"same class at {100 * same / pixels:.3f} % of {pixels:,} pixels"
        )


if __name__ == "__main__":
    main()
