"""Asked words beside the classes that a student was trained with: which of them they stand for.

A student learns what separates its classes, not where other words lie. So a word that stands for trained
classes is looked for by their names, and the classes that no word stands for are the background, so that a
point may be none of the asked words.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float64
from torch import Tensor

from clip2scene.types import Prompts

_NEAR = 0.3  # cosine, of texts from which the classes' mean is taken off; unlike things have 0 to 0.26
# Products rounded to bfloat16 move a text that is embedded twice: its cosines, and those of what is left.
_SAME, _ROUNDING = 1 - 5e-3, 0.05


def background_of(asked: Prompts, trained: Prompts) -> Prompts | None:
    """Choose the trained classes that no asked word stands for: a point that fits one of them best is none.

    A word stands for the class that is nearest to it, if it is near, and for every other near class to which
    it is nearer than the class nearest to that one is. So "jeep" stands for a class car, and "vehicle" for
    cars, trucks and buses together. Nearness is the cosine once the mean of the classes is taken off: all
    texts are alike to an image-text model, and what is left says how.

    Args:
        asked: The words.
        trained: The classes that the student was trained with, in the same text space.

    Returns:
        These classes with their names; None if the words stand for all of them.
    """
    covered = _stand_for(asked, trained).any(0)
    kept = [number for number, mine in enumerate(covered.tolist()) if not mine]
    return only(trained, kept) if kept else None


def nearness(asked: Prompts, trained: Prompts) -> Float64[Tensor, "names trained"]:
    """Give the cosine of each asked name to those of the classes that its word stands for; -inf to others.

    Args:
        asked: Words of one name each.
        trained: The classes that the student was trained with, in the same text space.
    """
    near = asked.embeddings.double() @ trained.embeddings.double().T
    return near.where(_stand_for(asked, trained)[:, trained.class_of_name], -torch.inf)


def by_trained_names(asked: Prompts, trained: Prompts) -> Prompts:
    """Let asked words be looked for by the names of the trained classes that they stand for.

    Each name of such a class goes to the word that is nearest to it (cosine) among those that stand for the
    class. Words that get none, since they stand for no class or others are nearer, keep their own direction.

    Args:
        asked: The words; a class may have several.
        trained: The classes that the student was trained with, in the same text space.

    Returns:
        The same classes with these names.
    """
    best, word = nearness(asked, trained).max(0)
    taken = best > -torch.inf
    holder = asked.class_of_name[word]
    alone = ~torch.isin(asked.class_of_name, holder[taken])
    names = [*_where(trained.names, taken), *_where(asked.names, alone)]
    of_name = torch.cat([holder[taken], asked.class_of_name[alone]])
    rows = torch.cat([trained.embeddings[taken], asked.embeddings[alone]])
    return Prompts(asked.classes, tuple(names), of_name, rows)


def _where(names: Sequence[str], kept: Bool[Tensor, " names"]) -> list[str]:
    return [name for name, its in zip(names, kept.tolist(), strict=True) if its]


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


def _stand_for(asked: Prompts, trained: Prompts) -> Bool[Tensor, "words classes"]:
    """Tell which trained classes each word stands for; in double precision, which no processor rounds."""
    words, names = asked.embeddings.double(), trained.embeddings.double()
    same = trained.best_name(words @ names.T) > _SAME
    if len(trained.classes) == 1:  # which is its own mean
        return same
    centre = trained.class_directions().double().mean(0)
    words, names = F.normalize(words - centre, dim=1), F.normalize(names - centre, dim=1)
    between = trained.best_name(names @ names.T)  # names x classes
    nearest = trained.best_name(between.T).fill_diagonal_(-1.0).amax(1)
    of_words = trained.best_name(words @ names.T)
    found = of_words > nearest + _ROUNDING
    found[torch.arange(len(words)), of_words.argmax(1)] = True
    return same | (found & (of_words >= _NEAR))


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
