"""Choosing among a run's checkpoints by labels that nothing was trained on, never by the evaluated split."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clip2scene.distill.lifted import load_lifted
from clip2scene.evaluation.evaluate import evaluate_samples
from clip2scene.io import write_json
from clip2scene.runs.checkpoint import save_checkpoint
from clip2scene.runs.run import CHOSEN, Run
from clip2scene.runs.run_files import read_run_json
from clip2scene.training.state import TrainState


def keep_best(run: Run, paths: Sequence[Path], state: TrainState) -> None:
    """Keep the weights as they are now, if they are better on the held-out samples than any kept before.

    Of these samples, too, only the labels that may be used are. A call for a step that was evaluated before
    changes nothing, so an interrupted choice is made once more.

    Args:
        run: Where they are kept, and the score of each checkpoint in ``choice.json``.
        paths: The held-out samples; some of their points have labels that may be used.
        state: Evaluated by the running mean of its weights (EMA).
    """
    place = run.folder / "choice.json"
    scores = read_run_json(place) if place.exists() else {}
    if not all(step.isdecimal() for step in scores):
        raise ValueError(f"{place} should have steps as keys, got {', '.join(scores)}; restore it")
    earlier = {step: score for step, score in scores.items() if int(step) < state.step}
    mask = run.label_mask
    assert mask is not None
    samples = (load_lifted(path) for path in paths)
    masked = (
        replace(sample, labels=None if sample.labels is None else mask(path.stem, sample.labels))
        for path, sample in zip(paths, samples, strict=True)
    )
    miou = evaluate_samples(state.averaged, run.prompts, masked, run.class_mapping)["student"].miou
    if not earlier or miou > max(earlier.values()):
        save_checkpoint(run.folder / CHOSEN, state.checkpoint())
    write_json(place, {**earlier, str(state.step): miou})
