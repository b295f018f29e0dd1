"""What labels by hand are worth, given by a simulated person, one piece of a cloud a click.

The person knows the truth and uses what the viewer uses: its pieces (superpoints, and squares of the ground)
and its labels by hand. A click gives a piece the class that most of its labelled points truly have.

* ``worst``: the training keyframes in the order of ``rank-scenes --by keyframe``. In each, so many clicks
  (--a-keyframe) on the largest pieces that the run calls something else than most of their points are; then
  the next keyframe, and after the last one the first again. Fewer clicks are the first of more.
* ``random``: any piece of any training keyframe, each with the same chance, drawn anew for each seed.

Pieces with fewer than 5 labelled points are left out. The run is then fine-tuned on the points that were
labelled, and on what it called the other points of the same keyframes (--rest nothing: on no others; --rest
everywhere: of all training keyframes). Its mIoU is counted on every second keyframe of streets that nobody
clicked on: of the split val, or, to find settings, of the last half of the training keyframes, and then the
first half alone is clicked on (--judge train).

    clip2scene make-toytown --out town --scenes 30 --val-scenes 20 --sweeps 1
    python benchmarks/correction_loop.py builtin --data-root town --out loop
"""

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from clip2scene import build
from clip2scene.config import LabelsConfig, TuningConfig
from clip2scene.evaluation.metrics import Confusion
from clip2scene.experiments.results import spread
from clip2scene.inference.predict import predict_split
from clip2scene.inference.rank_scenes import rank, read_ranking
from clip2scene.io import fingerprint, read_json, write_json
from clip2scene.runs.run import Run, open_run
from clip2scene.training.finetune import Changes, prepare
from clip2scene.training.train import finetune
from clip2scene.types import IGNORE_LABEL, Sample
from clip2scene.viewer.corrections import Corrections
from clip2scene.viewer.selection import cut_cloud

FEWEST = 5
"""Labelled points that a piece has at least."""


@dataclass(frozen=True)
class Click:
    """A piece of a keyframe, and what most of it is."""

    token: str
    piece: int
    label: int
    points: int
    wrong: bool


def clicks_of(sample: Sample, pieces: torch.Tensor, predicted: torch.Tensor, classes: int) -> list[Click]:
    """List the pieces of a keyframe, the largest first."""
    assert sample.labels is not None
    known = sample.labels != IGNORE_LABEL
    counts, said = (torch.zeros(int(pieces.max()) + 1, classes, dtype=torch.long) for _ in range(2))
    counts.index_put_((pieces[known], sample.labels[known]), torch.ones(1).long(), accumulate=True)
    named = known & (predicted != IGNORE_LABEL)
    said.index_put_((pieces[named], predicted[named]), torch.ones(1).long(), accumulate=True)
    rows = zip(counts.argmax(1).tolist(), said.argmax(1).tolist(), counts.sum(1).tolist(), strict=True)
    found = [
        Click(sample.token, piece, true, points, true != seen)
        for piece, (true, seen, points) in enumerate(rows)
        if points >= FEWEST
    ]
    return sorted(found, key=lambda click: -click.points)


def walk(order: list[str], clicks: dict[str, list[Click]], a_keyframe: int) -> Iterator[Click]:
    """Go through the keyframes, some of the largest wrong pieces of each at a time."""
    left = {token: [click for click in clicks[token] if click.wrong] for token in order}
    while any(left.values()):
        for token in order:
            yield from left[token][:a_keyframe]
            left[token] = left[token][a_keyframe:]


def people(args: argparse.Namespace, run: Run, tokens: list[str]) -> dict[tuple[str, int], list[Click]]:
    """Let everybody choose as many clicks as they will ever give."""
    kept = args.out / "clicks.json"
    if not kept.exists():
        write_json(
            kept, {name: [vars(each) for each in mine] for name, mine in offer(args, run, tokens).items()}
        )
    walked, everything = ([Click(**each) for each in read_json(kept)[name]] for name in ("walk", "all"))
    most = max(args.clicks)
    chosen = {("worst", seed): walked[:most] for seed in args.seeds}
    return chosen | {("random", seed): random.Random(seed).sample(everything, most) for seed in args.seeds}


def offer(args: argparse.Namespace, run: Run, tokens: list[str]) -> dict[str, list[Click]]:
    """List all that can be clicked on: as one goes through the ranked keyframes, and in the split's order."""
    opened = build.open_dataset(run.recipe.data, args.data_root, split="train", sweeps=1, labels=True)
    number_of, mapping = {token: n for n, token in enumerate(opened.tokens)}, run.mapping_to(opened.class_set)
    clicks = {}
    for sample, prediction in predict_split(run, opened, [number_of[token] for token in tokens]):
        pieces = cut_cloud(sample, viewpoint=opened.viewpoint or (0.0, 0.0, 0.0))
        predicted = mapping.translate(prediction.logits.argmax(1))
        clicks[sample.token] = clicks_of(sample, pieces, predicted, len(opened.class_set))
    if not (args.out / "order.json").exists():
        rank(args.run, data_root=args.data_root, out=args.out / "order.json", by="keyframe")
    order = [token for token in read_ranking(args.out / "order.json")[1] if token in clicks]
    everything = [click for token in tokens for click in clicks[token]]
    wrong = sum(click.wrong for click in everything)
    print(f"{len(tokens)} keyframes, {len(everything)} pieces, {wrong} of them wrong", flush=True)
    return {"walk": [*walk(order, clicks, args.a_keyframe)], "all": everything}


def label(folder: Path, dataset: build.Dataset, clicks: list[Click]) -> int:
    """Give labels as the viewer does; gives how many points have one then."""
    corrections = Corrections(folder, dataset.class_set)
    number_of, count = {token: n for n, token in enumerate(dataset.tokens)}, 0
    by_token: dict[str, list[Click]] = {}
    for click in clicks:
        by_token.setdefault(click.token, []).append(click)
    for token, mine in by_token.items():
        sample = dataset[number_of[token]]
        pieces = cut_cloud(sample, viewpoint=dataset.viewpoint or (0.0, 0.0, 0.0))
        for click in mine:
            count += corrections.give(sample, (pieces == click.piece).nonzero()[:, 0], click.label)
    assert not corrections.trouble
    return count


def judge(run: Run, data_root: Path, split: str, tokens: list[str]) -> float:
    """Count the mIoU of a run on all labelled points of some keyframes, in percent."""
    dataset = build.open_dataset(run.recipe.data, data_root, split=split, sweeps=1, labels=True)
    confusion = Confusion(len(dataset.class_set))
    numbers = [number for number, token in enumerate(dataset.tokens) if token in tokens]
    for sample, prediction in predict_split(run, dataset, numbers):
        confusion.update(
            run.mapping_to(dataset.class_set).translate(prediction.logits.argmax(1)), sample.labels
        )
    return 100 * float(confusion.iou().nanmean())


def learn(args: argparse.Namespace, dataset: build.Dataset, clicks: list[Click], out: Path, seed: int) -> Run:
    """Label what was clicked on, and go on from the run with that alone."""
    points = label(out / "labels", dataset, clicks)
    changes = Changes(
        labels=LabelsConfig(absent="allow", rest=args.rest),
        tuning=TuningConfig("classifier", None, args.freeze, args.fit, keep_words=args.keep_words),
        steps=args.steps if args.fit == "steps" else None,
        learning_rate=args.learning_rate,
        seed=seed,
    )
    plan = prepare(None, args.run, changes)
    run = out / "run"
    finetune(
        plan.recipe,
        data_root=args.data_root,
        out=run,
        start=plan.start,
        corrections=out / "labels",
        teacher_weights=plan.teacher_weights,
        lifted=args.out / "lifted",  # seeds with the same clicks share the start's answers
    )
    write_json(out / "points.json", points)
    return open_run(run)


def main() -> None:
    """Click, train, judge, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clicks", type=int, nargs="+", default=[0, 10, 30, 100, 300])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--people", nargs="*", default=["worst", "random"])
    parser.add_argument("--a-keyframe", type=int, default=5)
    parser.add_argument("--judge", choices=("val", "train"), default="val")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--keep-words", type=float, default=0.0)
    parser.add_argument("--freeze", action="store_true")
    parser.add_argument("--fit", choices=("steps", "optimum"), default="steps")
    parser.add_argument("--rest", choices=("start", "everywhere", "nothing"), default="start")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    args.out.mkdir(parents=True, exist_ok=True)
    start = open_run(args.run)
    check_settings(args, start)
    dataset = build.open_dataset(start.recipe.data, args.data_root, split="train", sweeps=1)
    judged = build.open_dataset(start.recipe.data, args.data_root, split="val", sweeps=1).tokens[::2]
    tokens = [*dataset.tokens]
    if args.judge == "train":
        tokens, judged = tokens[: len(tokens) // 2], tokens[len(tokens) // 2 :: 2]
    before = score(args, "0", lambda: judge(start, args.data_root, args.judge, [*judged]))
    print(f"before any click: {before:.1f}", flush=True)
    chosen = people(args, start, tokens)
    for (who, seed), clicks in sorted(chosen.items(), key=lambda item: item[0][1]):
        for count in args.clicks:
            if not count or who not in args.people or seed not in args.seeds:
                continue
            name = f"{who}-{count}-{seed}"

            def trained(name: str = name, mine: list[Click] = clicks[:count], seed: int = seed) -> float:
                run = learn(args, dataset, mine, args.out / name, seed)
                return judge(run, args.data_root, args.judge, [*judged])

            print(f"{name}: {score(args, name, trained):.1f}", flush=True)
    for who in args.people:
        for count in args.clicks:
            found = [score(args, f"{who}-{count}-{seed}" if count else "0") for seed in args.seeds]
            mean, deviation = spread(found)
            print(f"{who:7} {count:4} clicks: {mean:.1f} ± {deviation:.1f}")


def check_settings(args: argparse.Namespace, start: Run) -> None:
    """Keep what decides the scores of a folder beside them; refuse a folder with those of other settings.

    People, seeds and numbers of clicks may be added, but for the greatest of these, which "random" draws.

    Raises:
        ValueError: If it has been used with others.
    """
    free = ("out", "run", "data_root", "clicks", "seeds", "people")
    settings = {name: value for name, value in vars(args).items() if name not in free}
    settings |= {"most": max(args.clicks), "data_root": str(args.data_root.resolve())}
    settings |= {"run": fingerprint(start.student().state_dict())}
    path = args.out / "settings.json"
    if not path.exists() and any(args.out.iterdir()):
        raise ValueError(f"{args.out} holds scores of unknown settings; give another --out")
    before = read_json(path) if path.exists() else settings
    other = [name for name in settings if before.get(name) != settings[name]]
    if other:
        raise ValueError(
            f"{args.out} holds scores of other settings ({', '.join(other)}): {path} has "
            f"{[before.get(name) for name in other]}; give another --out"
        )
    write_json(path, settings)


def score(args: argparse.Namespace, name: str, find: Callable[[], float] | None = None) -> float:
    """Read a score, or find and keep it: a call that was cut short goes on, and several share them."""
    path = args.out / "scores" / f"{name}.json"
    if not path.exists():
        assert find is not None
        write_json(path, find())
    return float(read_json(path))


if __name__ == "__main__":
    main()
