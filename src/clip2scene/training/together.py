"""Training by several ranks (:mod:`clip2scene.ranks`): what all must have alike, and what the first tells.

The first rank prepares: it makes the run's folder, lifts pseudo-labels, and writes all files. The others wait
until it says on which samples they train; they read these, and the run, from the same folders.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from clip2scene.config import Recipe, flat_settings
from clip2scene.io import fingerprint
from clip2scene.ranks import RanksError, here
from clip2scene.runs.init_weights import InitWeights
from clip2scene.training.state import TrainState

_SAME_FOLDERS = "give all of them the same files, in folders that all machines share"


def require_same_call(recipe: Recipe, start: InitWeights | None, **options: Any) -> None:  # noqa: ANN401
    """Refuse ranks that were not started alike, and a batch that they cannot share; alone, all is well.

    Args:
        recipe: What is trained.
        start: Weights to begin with.
        options: The other options of the command, by name; None for those that were left out.

    Raises:
        ValueError: On all ranks, if one differs from the first.
    """
    ranks = here()
    if ranks.size == 1:
        return
    settings = {f"--{name}": repr(each) for name, each in flat_settings(recipe).items()}
    weights = "none" if start is None else fingerprint(start.weights)[:12]
    named = {f"--{name.replace('_', '-')}": str(value) for name, value in options.items()}
    ranks.require_same({**settings, **named, "--start of hash": weights}, "start all by one command")
    if recipe.batch_size % ranks.size:
        raise RanksError(
            f"--batch-size {recipe.batch_size} is that of all {ranks.size} processes together, which take as "
            f"many samples each; expected a multiple of {ranks.size}, so give "
            f"{recipe.batch_size + -recipe.batch_size % ranks.size}, or start another number of processes"
        )


def tell_others(paths: Sequence[Path], held_out: Sequence[Path]) -> None:
    """Say as the first rank which samples are trained on and held out, by which the others go on."""
    if here().leads:
        here().share([[str(path.resolve()) for path in each] for each in (paths, held_out)])


def hear_first() -> tuple[list[Path], list[Path]]:
    """Wait until the first rank has said which samples are trained on, and which are held out."""
    paths, held_out = here().share(None)
    return [Path(path) for path in paths], [Path(path) for path in held_out]


def require_same_start(paths: Sequence[Path], state: TrainState) -> None:
    """Refuse ranks that see other samples, or another checkpoint, than the first; alone, all is well.

    Raises:
        ValueError: On all ranks, if one differs; or on one, if a sample is missing there.
    """
    if here().size == 1:
        return
    weights = fingerprint(state.student.state_dict())[:12]
    about = {
        "samples to train on of hash": _hash_samples(paths),
        "step": str(state.step),
        "weights of hash": weights,
    }
    here().require_same(about, _SAME_FOLDERS)


def _hash_samples(paths: Sequence[Path]) -> str:
    """Hash names, sizes and checksums of samples; their tensors are not read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with safe_open(path, framework="pt") as opened:
                header = opened.metadata() or {}
            about = [path.name, path.stat().st_size, header.get("crc32")]
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path} cannot be read ({error}); {_SAME_FOLDERS}") from None
        digest.update(json.dumps(about).encode())
    return digest.hexdigest()[:12]
