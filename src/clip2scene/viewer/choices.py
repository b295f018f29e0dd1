"""What can be chosen on the page."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

CLASS, PHRASE, SCORE = "class", "phrase: cosine", "phrase: score among the classes"
CONFIDENCE, EMBEDDING, ALIKE = "confidence", "embedding", "like the clicked point"
INTENSITY, HEIGHT = "intensity", "height"
TRUTH, ERROR, PSEUDO = "truth", "error", "teacher's pseudo-label"
BY_HAND, CORRECTED = "labelled by hand", "class, corrected by hand"


@dataclass(frozen=True)
class Pick:
    """A point that was clicked.

    Attributes:
        number: Of its sample.
        point: Its number among the points of the scene that are shown.
    """

    number: int
    point: int


@dataclass(frozen=True, eq=False)
class Selection:
    """Points that are to be labelled.

    Attributes:
        number: Of their sample.
        points: Their numbers in its keyframe, rising.
    """

    number: int
    points: Int[Tensor, " selected"]


@dataclass(frozen=True)
class Choices:
    """Everything that can be chosen on the page.

    Attributes:
        number: Of the sample.
        mode: What points are coloured by, one of :data:`clip2scene.viewer.modes.MODES`.
        phrase: What is looked for.
        threshold: Share of a heat map's scale below which points are grey, 0..1.
        hidden: Names of the legend's entries whose points are hidden.
        runs: Numbers of the runs that are shown, side by side.
        picked: The point that was clicked last.
        drawn: Points that are drawn at most, for a browser that draws slowly; None draws all that are shown.
        selected: Points that are to be labelled.
    """

    number: int = 0
    mode: str = CLASS
    phrase: str = ""
    threshold: float = 0.0
    hidden: frozenset[str] = frozenset()
    runs: tuple[int, ...] = (0,)
    picked: Pick | None = None
    drawn: int | None = None
    selected: Selection | None = None
