"""What turns and superpoint means cost and gain: mIoU and processor time a sweep, of a run on a split.

``python benchmarks/quality.py RUN --data-root TOWN``, of towns that no result is told of:
``clip2scene make-toytown --out TOWN --scenes 1 --val-scenes 16 --keyframes 1 --sweeps 1 --seed 77``.
"""

import argparse
import time
from pathlib import Path

import torch

from clip2scene import build
from clip2scene.evaluation.metrics import Confusion
from clip2scene.inference.predict import TURNS, predict
from clip2scene.runs.run import open_run


def main() -> None:
    """Parse, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("medium")
    run = open_run(args.run)
    student, prompts, mapping = run.student(), run.prompts, run.class_mapping
    dataset = build.open_dataset(run.recipe.data, args.data_root, split=args.split, labels=True, sweeps=1)
    samples = [dataset[number] for number in range(len(dataset.tokens))]
    predict(student, prompts, samples[0].cloud)
    print("| quality | mIoU | accuracy | before superpoint means | accuracy | CPU ms a sweep |")
    print("|---|---:|---:|---:|---:|---:|")
    for quality in TURNS:
        confusions, spent = [Confusion(len(mapping.classes)) for _ in range(2)], 0.0
        for sample in samples:
            began = time.process_time()
            found = predict(student, prompts, sample.cloud, quality=quality, keep_raw=True)
            spent += time.process_time() - began
            assert sample.labels is not None and found.raw is not None
            for confusion, logits in zip(confusions, (found.logits, found.raw.logits), strict=True):
                confusion.update(mapping.translate(logits.argmax(1)), sample.labels)
        scores = [confusion.scores(mapping.classes) for confusion in confusions]
        cells = [f"{100 * each:.2f}" for score in scores for each in (score.miou, score.accuracy)]
        print(f"| {quality} | {' | '.join(cells)} | {1000 * spent / len(samples):.0f} |", flush=True)


if __name__ == "__main__":
    main()
