"""Initial weights: what another run, or another project, has trained before."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clip2scene.config import Recipe, StudentConfig
from clip2scene.io import fingerprint, regular_file
from clip2scene.runs.checkpoint import describe_misfit, require_finite
from clip2scene.runs.folder import START
from clip2scene.runs.run import Run, open_run, require_same_supervision
from clip2scene.student.model import Embedder
from clip2scene.types import Prompts

BACKBONE, HEAD, CLASSIFIER = "backbone.", "head.", "classifier."


@dataclass(frozen=True)
class InitWeights:
    """Weights to begin with.

    Attributes:
        origin: Where they come from.
        weights: Those of the backbone, under ``backbone.``, and maybe of the text head, under ``head.`` (only
            if it was trained), and of a classifier, under ``classifier.``.
        classes: That the classifier knows; none without one.
        labels_used: Samples whose labels they were trained on: the name of each under the hash of its points.
        report: What was taken of a file, what was not, and what differs in spite of equal weights, in lines.
        run: The run that they were trained in; None if they are no run's.
    """

    origin: Path
    weights: Mapping[str, Tensor]
    classes: tuple[str, ...] = ()
    labels_used: Mapping[str, str] = field(default_factory=dict)
    report: tuple[str, ...] = ()
    run: Run | None = None

    @property
    def knows_words(self) -> bool:
        """Whether a trained text head is among them."""
        return any(name.startswith(HEAD) for name in self.weights)

    def about(self) -> dict[str, Any]:
        """Say where they come from, and which they are, as plain values."""
        return {
            "origin": str(self.origin.resolve()),
            "sha256": fingerprint(self.weights),
            "knows_words": self.knows_words,
            "classes": self.classes,
            "report": self.report,
        }


def init_weights_of(folder: Path) -> InitWeights:
    """Take what another run begins with from a trained run.

    Args:
        folder: That run's; or ``builtin``, the student in the package.

    Raises:
        ValueError: If it is no run, or not trained.
    """
    run = open_run(folder)
    student = run.student()
    classes = () if student.classifier is None else run.prompts.classes
    weights = init_parts(student.state_dict(), words=run.knows_words)
    return InitWeights(run.folder, weights, classes, run.labels_used(), run=run)


def suit_start(start: InitWeights, recipe: Recipe, prompts: Prompts, text_space: str) -> InitWeights:
    """Take of a run's weights what a recipe can begin with: no text head of another text space.

    Args:
        start: Weights; those that are no run's are given back as they are.
        recipe: What begins with them.
        prompts: Its classes.
        text_space: Fingerprint of its text space; empty if not known.

    Raises:
        ValueError: If they were trained on labels, and the recipe is to do without; by a teacher that saw
            labels of images, and the recipe does not say so; or with other settings of the network or its
            inputs.
    """
    if start.run is None:
        return start
    if recipe.supervision == "label-free" and start.run.recipe.supervision == "labels":
        raise ValueError(
            f"{start.origin} was trained on labels, so what begins with it is not label-free; name a "
            "label-free run as --start"
        )
    if recipe.supervision == "label-free":
        require_same_supervision(start.run, recipe, "--start")
    _check_settings(start.origin, start.run.recipe.student, recipe.student)
    if _same_space(start.run.prompts, start.run.sources.text_space, prompts, text_space):
        return start
    kept = {name: each for name, each in start.weights.items() if not name.startswith(HEAD)}
    return replace(start, weights=kept)


def _check_settings(origin: Path, theirs: StudentConfig, ours: StudentConfig) -> None:
    """Refuse settings of the network or its inputs that weights were not trained with."""
    free = ("superpoint_mean", "turns", "voxel_size")  # weights fit whatever these are
    for name, value in asdict(theirs).items():
        if name in free or value == getattr(ours, name):
            continue
        option = f"--student.{name.replace('_', '-')}"
        wanted = f"{option} {value}"
        if isinstance(value, bool):
            wanted = option if value else option.replace("student.", "student.no-")
        raise ValueError(
            f"{origin} was trained with {name} {value}, and this recipe has {getattr(ours, name)}; "
            f"add {wanted}"
        )


def _same_space(theirs: Prompts, their_space: str, ours: Prompts, our_space: str) -> bool:
    """Tell whether two text spaces are one: by fingerprint, or where one is not known, by names of both."""
    if their_space and our_space:
        return their_space == our_space
    shared = [name for name in theirs.names if name in ours.names]
    if not shared or theirs.embeddings.shape[1] != ours.embeddings.shape[1]:
        return False
    rows = theirs.embeddings[[theirs.names.index(name) for name in shared]]
    return torch.allclose(rows, ours.embeddings[[ours.names.index(name) for name in shared]], atol=1e-3)


def initial_student(run: Run) -> Embedder:
    """Make a run's network as it is at step 0: from chance, or from weights that were trained before.

    Raises:
        ValueError: If the weights are another network's.
    """
    student, path, about = run.new_student(), run.folder / START, run.sources.init
    if about is None:
        return student
    try:
        text, weights = None, load_file(regular_file(path))
    except (ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read ({error}); restore it, or train anew") from None
    if fingerprint(weights) != about["sha256"]:
        raise ValueError(f"{path} holds other weights than the run began with; restore it, or train anew")
    if student.classifier is None or tuple(about["classes"]) != run.prompts.classes:
        weights = {name: each for name, each in weights.items() if not name.startswith(CLASSIFIER)}
        if run.recipe.tuning.start != "random" and about["knows_words"]:
            text = run.prompts.class_directions()
    load_init(student, weights, text)
    return student


def load_init(
    student: Embedder, weights: Mapping[str, Tensor], text: Float[Tensor, "classes channels"] | None = None
) -> None:
    """Put weights into a network.

    Args:
        student: Its other layers stay as they are.
        weights: As :class:`InitWeights` has them; without a classifier's, if it is to know other classes.
        text: Unit vector of each class in the text space. With it, a classifier begins where the text head
            stands: the same logits, but for classes of several names.

    Raises:
        ValueError: If they are another network's, or not finite.
    """
    require_finite(weights, "what is begun with")
    own = student.state_dict()
    given = tuple(part for part in (HEAD, CLASSIFIER) if any(name.startswith(part) for name in weights))
    misfit = describe_misfit({n: own[n] for n in own if n.startswith((BACKBONE, *given))}, weights)
    if misfit:
        raise ValueError(
            f"the weights to begin with are another network's: tensors {misfit}; take the student "
            "settings (network, width, height as input) that they were trained with"
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
        words: Whether its text head was trained; one that was not is left, too.
    """
    parts = (BACKBONE, HEAD, CLASSIFIER) if words else (BACKBONE, CLASSIFIER)
    return {name: tensor for name, tensor in model.items() if name.startswith(parts)}
