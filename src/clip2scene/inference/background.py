"""Words for all that was not asked for, so that a point may be none of the words that were."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clip2scene.types import Prompts

_ROUNDING = 5e-3  # of cosines of a text that was embedded twice, where products are rounded to bfloat16


def background_of(asked: Prompts, trained: Prompts) -> Prompts | None:
    """Choose the trained classes that no asked word stands for: a point that fits one of them best is none.

    A word stands for a class if it is nearer to one of its names (cosine) than the class nearest to it among
    the others is; and the class nearest of all to a word, if it is as near as a class usually is to the one
    nearest to it. So "jeep" stands for a class car, and "vehicle" for cars, trucks and buses together.

    Args:
        asked: The words.
        trained: The classes that the student was trained with, in the same text space.

    Returns:
        These classes with their names; None if the words stand for all of them.
    """
    covered = _covered(asked.embeddings.double(), trained)
    kept = [number for number, mine in enumerate(covered.tolist()) if not mine]
    return only(trained, kept) if kept else None


def only(prompts: Prompts, kept: Sequence[int]) -> Prompts:
    """Keep some classes, in the order given, with their names."""
    of_name = prompts.class_of_name.tolist()
    names = [number for number, its in enumerate(of_name) if its in kept]
    return Prompts(
        tuple(prompts.classes[number] for number in kept),
        tuple(prompts.names[number] for number in names),
        torch.tensor([list(kept).index(of_name[number]) for number in names]),
        prompts.embeddings[names],
    )


def _covered(words: Float[Tensor, "words channels"], trained: Prompts) -> Bool[Tensor, " classes"]:
    """Tell which trained classes a word stands for; in double precision, which no processor rounds."""
    names = trained.embeddings.double()
    between = trained.best_name(names @ names.T)  # names x classes
    nearest = trained.best_name(between.T).fill_diagonal_(-1.0).amax(1)
    of_words = trained.best_name(words @ names.T)
    covered = of_words > nearest + _ROUNDING
    best, which = of_words.max(1)
    covered[torch.arange(len(which)), which] |= best >= nearest.median() - _ROUNDING
    return covered.any(0)


def together(asked: Prompts, more: Prompts | None) -> Prompts:
    """Put classes behind the asked words, which keep their numbers."""
    if more is None:
        return asked
    return Prompts(
        (*asked.classes, *more.classes),
        (*asked.names, *more.names),
        torch.cat([asked.class_of_name, more.class_of_name + len(asked.classes)]),
        torch.cat([asked.embeddings, more.embeddings]),
    )
