"""What a network begins with: the weights that another run, or another project, has learnt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.runs.checkpoint import describe_misfit
from clip2scene.student.model import Embedder

BACKBONE, HEAD, CLASSIFIER = "backbone.", "head.", "classifier."


@dataclass(frozen=True)
class InitWeights:
    """Weights to begin with.

    Attributes:
        origin: Where they come from.
        weights: Those of the backbone, under ``backbone.``, and maybe of the layer into the text space, under
            ``head.`` (only if it has learnt words), and of a classifier, under ``classifier.``.
        classes: That the classifier knows; none without one.
        seen: Samples whose labels they were learnt from: the name of each under the hash of its points.
        report: What was taken of a file, what was not, and what differs in spite of equal weights, in lines.
    """

    origin: Path
    weights: Mapping[str, Tensor]
    classes: tuple[str, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict)
    report: tuple[str, ...] = ()

    @property
    def knows_words(self) -> bool:
        """Whether a layer into the text space that has learnt words is among them."""
        return any(name.startswith(HEAD) for name in self.weights)


def load_init(
    student: Embedder, weights: Mapping[str, Tensor], text: Float[Tensor, "classes channels"] | None = None
) -> None:
    """Put weights into a network.

    Args:
        student: Its other layers stay as they are.
        weights: As :class:`InitWeights` has them; without a classifier's, if it is to know other classes.
        text: Direction of each class in the text space. With it, a classifier begins where the layer into the
            text space stands: the same answers, but for classes of several names.

    Raises:
        ValueError: If they are another network's.
    """
    own = student.state_dict()
    given = tuple(part for part in (HEAD, CLASSIFIER) if any(name.startswith(part) for name in weights))
    misfit = describe_misfit({n: own[n] for n in own if n.startswith((BACKBONE, *given))}, weights)
    if misfit:
        raise ValueError(
            f"the weights to begin with are another network's: tensors {misfit}; take the student "
            "settings (network, width, height as input) that they were learnt with"
        )
    student.load_state_dict(own | dict(weights))
    if text is not None and student.classifier is not None:
        with torch.no_grad():
            student.classifier.weight.copy_(text @ student.head.weight)
            student.classifier.bias.copy_(text @ student.head.bias)


def init_parts(model: Mapping[str, Tensor], *, words: bool) -> dict[str, Tensor]:
    """Take of a trained network what another begins with, and leave what only its own losses needed.

    Args:
        model: Its weights.
        words: Whether its layer into the text space has learnt any; one that has not is left, too.
    """
    parts = (BACKBONE, HEAD, CLASSIFIER) if words else (BACKBONE, CLASSIFIER)
    return {name: tensor for name, tensor in model.items() if name.startswith(parts)}
