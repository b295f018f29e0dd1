"""Choosing among a run's checkpoints by labels that nothing was learnt from, never by the judged split."""

from collections.abc import Sequence
from pathlib import Path

from clip2scene.carried import load_carried
from clip2scene.checkpoint import save_checkpoint
from clip2scene.evaluate import judge
from clip2scene.files import read_json, write_json
from clip2scene.run import CHOSEN, Run
from clip2scene.trainee import Trainee


def keep_best(run: Run, paths: Sequence[Path], trainee: Trainee) -> None:
    """Keep the weights as they are now, if they are better on the held-out samples than any kept before.

    Args:
        run: Where they are kept, and the score of each checkpoint in ``choice.json``.
        paths: The held-out samples, with labels.
        trainee: Judged by the running mean of its weights.
    """
    place = run.folder / "choice.json"
    scores = read_json(place) if place.exists() else {}
    known = {step: score for step, score in scores.items() if int(step) < trainee.step}
    samples = (load_carried(path) for path in paths)
    miou = judge(trainee.averaged, run.prompts, samples, run.judged)["student"].miou
    if not known or miou > max(known.values()):
        save_checkpoint(run.folder / CHOSEN, trainee.checkpoint())
    write_json(place, {**known, str(trainee.step): miou})
