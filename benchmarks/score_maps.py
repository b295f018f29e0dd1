"""Compare pseudo-labels from coarse soft score maps with those from full class maps.

    python benchmarks/score_maps.py --data-root ../shared/data/pandaset-002 [--cell 8] [--every 4]

The class maps of a PandaSet sequence (PNG, one class a pixel) are averaged over cells of so many pixels
of the image: the share of each class in a cell is its score. Both kinds are lifted onto the points through
the same door. Printed: bytes an image, the share of pairs with the same label, and how often each label is
right where there is a true one.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from clip2scene import build, build_teacher
from clip2scene.classes.tables import PANDASET
from clip2scene.datasets.pandaset.loader import PandaSet
from clip2scene.distill.lift import find_pairs
from clip2scene.recipes import RECIPES
from clip2scene.runs.cost import describe_machine, today
from clip2scene.teacher.label_maps import LabelMapTeacher, read_label_map
from clip2scene.types import IGNORE_LABEL


def soften(png: Path, out: Path, size: tuple[int, int], cell: int) -> None:
    """Write the share of each class in each cell of an image, as uint8."""
    labels = read_label_map(png, len(PANDASET)).long()
    shares = F.one_hot(labels.clamp(min=0), len(PANDASET)) * (labels != IGNORE_LABEL)[..., None]
    grid = (round(size[0] / cell), round(size[1] / cell))
    scores = F.adaptive_avg_pool2d(shares.permute(2, 0, 1).float(), grid)
    tensors = {"scores": (255 * scores).round().byte(), "size": torch.tensor(size)}
    save_file(tensors, out, metadata={"names": "\n".join(PANDASET.classes)})


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--cell", type=int, default=8)
    parser.add_argument("--every", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = RECIPES["pandaset"]
    dataset = PandaSet(options.data_root)
    space = build_teacher.open_text_space(recipe.teacher, None, PANDASET)
    prompts = build_teacher.build_prompts(recipe.teacher, space, PANDASET)
    hard = build_teacher.build_teacher(recipe.teacher, space, prompts, dataset)
    assert isinstance(hard, LabelMapTeacher)
    same, right, judged, pairs_in_all, sizes = 0, np.zeros(2, int), 0, 0, np.zeros(2, int)
    with TemporaryDirectory() as folder:
        soft = replace(hard, path_of=lambda token, view: Path(folder) / f"{token}-{view}.png")
        numbers = range(0, len(dataset), options.every)
        for number in numbers:
            sample = dataset[number]
            for view, camera in enumerate(sample.cameras):
                png, out = (
                    hard.path_of(sample.token, view),
                    Path(folder) / f"{sample.token}-{view}.safetensors",
                )
                soften(png, out, (camera.height, camera.width), options.cell)
                sizes += (png.stat().st_size, out.stat().st_size)
            pairs = find_pairs(sample.cloud.positions, sample, build.pairing_options(recipe.data))
            found = [
                prompts.best_name(each(sample).logits_at(pairs, prompts.embeddings)).argmax(1)
                for each in (hard, soft)
            ]
            truth = sample.labels[pairs.points]
            same += int((found[0] == found[1]).sum())
            right += [int((each == truth).sum()) for each in found]
            judged += int((truth != IGNORE_LABEL).sum())
            pairs_in_all += len(pairs)
    print(f"{describe_machine('cpu')}, {today()}; {len(numbers)} frames, cells of {options.cell} pixels")
    print(f"{pairs_in_all:,} pairs, {100 * same / pairs_in_all:.2f} % with the same label")
    for name, correct, size in zip(("class maps", "score maps"), right, sizes, strict=True):
        print(
            f"{name}: {size / 6 / len(numbers) / 1e3:.0f} kB an image, "
            f"{100 * correct / judged:.2f} % of {judged:,} judged pairs right"
        )


if __name__ == "__main__":
    main()
