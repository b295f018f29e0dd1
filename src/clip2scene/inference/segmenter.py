"""Using a trained student: set the prompts once, then label any number of clouds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene import build_teacher
from clip2scene.classes.words import clean_words
from clip2scene.geometry.ground import Ground
from clip2scene.inference.background import background_of, by_trained_names, only, together
from clip2scene.inference.predict import Part, Prediction, Quality, predict_prepared
from clip2scene.inference.text_embeddings import read_run_table
from clip2scene.runs.run import Run, open_run
from clip2scene.student.inputs import prepare_cloud
from clip2scene.student.model import Embedder
from clip2scene.teacher.text_table import TextTable
from clip2scene.types import IGNORE_LABEL, PointCloud, Prompts

PlaceWords = Callable[[Sequence[str]], Prompts]
"""Embeds words in the text space that the student was trained in."""

Background = Literal["trained", "none"] | Sequence[str]
"""What a point may be beside the asked words: the trained classes that no word stands for
(:func:`clip2scene.inference.background.background_of`), nothing, or these words."""


@dataclass(frozen=True)
class Segmentation:
    """The prompt that fits each point of a cloud best, and all scores.

    Attributes:
        names: The prompts, in the order they were given.
        labels: Index of the prompt with the highest score at each point; ``IGNORE_LABEL`` where the
            background has a higher one, or the highest is below what was asked for.
        scores: Softmax over the prompts and the background at each point, 0..1; what the prompts lack to 1 is
            the background's.
        embeddings: Every point in the text space, to be compared with any text embedding by dot product; None
            unless wanted.
        raw_labels: The labels before superpoint means; None unless wanted.
    """

    names: tuple[str, ...]
    labels: Int[Tensor, " points"]
    scores: Float[Tensor, "points names"]
    embeddings: Float[Tensor, "points channels"] | None = None
    raw_labels: Int[Tensor, " points"] | None = None


class Segmenter:
    """Open-vocabulary segmentation: label the points of clouds with any words.

    Args:
        student: A trained network.
        prompts: The words to begin with, those of the classifier if there is one.
        place_words: Embeds further words.
        in_channels: Features a point that the student was trained on.
        temperature: What logits are divided by to make scores (:mod:`clip2scene.inference.confidence`).

    Example:
        >>> segmenter = Segmenter.load("demo/label-free")  # doctest: +SKIP
        >>> segmenter.set_prompts(["car", "person", "tree"])  # doctest: +SKIP
        >>> segmenter.segment(read_cloud("sweep.bin")).labels  # doctest: +SKIP
    """

    def __init__(
        self,
        student: Embedder,
        prompts: Prompts,
        place_words: PlaceWords,
        *,
        in_channels: int = 1,
        temperature: float = 1.0,
    ) -> None:
        self.student = student
        self.prompts = self._trained = prompts
        self.background: Prompts | None = None
        self.place_words = place_words
        self.in_channels = in_channels
        self.temperature = temperature

    @classmethod
    def load(cls, run: Path | str, *, words: Path | str | None = None) -> "Segmenter":
        """Open a run's student, its prompts set to the classes it was trained with.

        The text encoder is opened when :meth:`set_prompts` asks for other words; with a table, never.

        Args:
            run: Folder of the run; or ``builtin``, the student in the package.
            words: A table of text embeddings to take words from, as ``clip2scene embed-words`` makes it.
                Without one, they are embedded by the text encoder that the run was trained with.

        Raises:
            ValueError: If the folder is no finished run, or the table is unreadable or of another model.
        """
        return cls.of_run(open_run(run), words=words)

    @classmethod
    def of_run(cls, run: Run, *, words: Path | str | None = None) -> "Segmenter":
        """Make a segmenter of a run that is open already; see :meth:`load`."""
        table = None if words is None else read_run_table(Path(words), run)
        return cls(
            run.student(),
            run.prompts,
            words_of(run, table),
            in_channels=run.sources.in_channels,
            temperature=run.temperature,
        )

    @property
    def num_compared(self) -> int:
        """How many names each point is compared with: the prompts' and the background's."""
        return len(self.prompts.names) + (0 if self.background is None else len(self.background.names))

    def set_prompts(self, names: Sequence[str], *, background: Background = "trained") -> None:
        """Choose the words that points are labelled with from now on.

        A word that stands for classes the student was trained with is looked for by their names
        (:func:`clip2scene.inference.background.by_trained_names`).

        Args:
            names: At least one word or phrase, all different.
            background: What a point may be beside them; with "none", each gets the best of the words, however
                little it fits.

        Raises:
            ValueError: If there is no word, one is repeated or to the text encoder the same as another, the
                encoder or table does not know one, the encoder is not where it was, or the student's text
                head was never trained.
        """
        if isinstance(names, str):
            raise ValueError(f"expected a list of words, got the string {names!r}; write {[names]!r}")
        words = clean_words(names)
        others = [] if background in ("trained", "none") else list(background)
        placed = self.place_words(clean_words([*words, *others]))
        named = by_trained_names(placed, self._trained)
        self.prompts = only(named, range(len(words)))
        if background == "trained":
            self.background = background_of(placed, self._trained)
        else:
            self.background = only(named, range(len(words), len(named.classes))) if others else None

    def segment(
        self,
        cloud: PointCloud,
        *,
        ground: Ground | None = None,
        abstain: float = 0.0,
        with_embeddings: bool = False,
        quality: Quality = "medium",
        keep_raw: bool = False,
    ) -> Segmentation:
        """Label every point of a cloud.

        Args:
            cloud: Its features must be those the student was trained on: one channel of intensity, 0..1.
            ground: The plane of the ground where it is known (such as by
                :func:`clip2scene.geometry.mount.ground_of_mount`); a student that needs it estimates it
                otherwise.
            abstain: Points whose best score is below this, 0..1, get no word.
            with_embeddings: Whether the points' embeddings are wanted too; they take far more memory than
                labels and scores.
            quality: How much work the cloud is worth: ``low`` (seen at one turn), ``medium`` (as the run was
                made for) or ``high`` (at six turns).
            keep_raw: Whether the labels before superpoint means are wanted too.

        Raises:
            ValueError: If the cloud is empty, holds numbers that are not finite, or has other features.
        """
        self._check(cloud)
        given = prepare_cloud(cloud, self.student.inputs, ground=ground)
        return self.segment_prepared(
            given,
            cloud.positions,
            abstain=abstain,
            with_embeddings=with_embeddings,
            quality=quality,
            keep_raw=keep_raw,
        )

    def segment_prepared(
        self,
        given: PointCloud,
        positions: Float[Tensor, "points 3"],
        *,
        part: Part | None = None,
        abstain: float = 0.0,
        with_embeddings: bool = False,
        quality: Quality = "medium",
        keep_raw: bool = False,
    ) -> Segmentation:
        """Label points that were made into what the student is given; :meth:`segment` has the rest.

        Args:
            given: What :func:`~clip2scene.student.inputs.prepare_cloud` gives.
            positions: The points as they were before.
            part: What is known where these are a part of a cloud.
            abstain: Points whose best score is below this, 0..1, get no word.
            with_embeddings: Whether the points' embeddings are wanted too.
            quality: How much work the cloud is worth.
            keep_raw: Whether the labels before superpoint means are wanted too.
        """
        found = predict_prepared(
            self.student,
            self._compared(),
            given,
            positions,
            part=part,
            with_embeddings=with_embeddings,
            quality=quality,
            keep_raw=keep_raw,
        )
        labels = self.decide(scores := self._all_scores(found), abstain)
        raw = None if found.raw is None else self.decide(self._all_scores(found.raw), abstain)
        words = scores[:, : len(self.prompts.classes)]
        return Segmentation(self.prompts.classes, labels, words, found.embeddings, raw)

    def all_scores(
        self, cloud: PointCloud, *, ground: Ground | None = None, quality: Quality = "medium"
    ) -> Float[Tensor, "points compared"]:
        """Give the scores of a cloud's points of all that they are compared with: prompts, then background.

        Arguments and errors are those of :meth:`segment`.
        """
        self._check(cloud)
        given, compared = prepare_cloud(cloud, self.student.inputs, ground=ground), self._compared()
        return self._all_scores(
            predict_prepared(self.student, compared, given, cloud.positions, quality=quality)
        )

    def decide(
        self, scores: Float[Tensor, "points compared"], abstain: float = 0.0
    ) -> Int[Tensor, " points"]:
        """Choose each point's word by scores of all that it is compared with (:meth:`all_scores`).

        Args:
            scores: Of the prompts, then of the background.
            abstain: Points whose best score is below this get no word.

        Returns:
            Index of the prompt; ``IGNORE_LABEL`` for none.
        """
        best, labels = scores.max(1)
        return torch.where((labels < len(self.prompts.classes)) & (best >= abstain), labels, IGNORE_LABEL)

    def _all_scores(self, found: Prediction) -> Float[Tensor, "points compared"]:
        logits = found.logits if self.prompts is self._trained else found.text_logits
        return (logits / self.temperature).softmax(1)

    def _check(self, cloud: PointCloud) -> None:
        """Refuse a cloud whose numbers the student cannot take."""
        channels = cloud.features.shape[1]
        if channels != self.in_channels:
            raise ValueError(
                f"the student was trained on {self.in_channels} channels of features, got {channels}; "
                "give the cloud what the training clouds had"
            )
        if not cloud.positions.isfinite().all() or not cloud.features.isfinite().all():
            raise ValueError("the cloud holds NaN or infinite numbers; drop those points")

    def _compared(self) -> Prompts:
        """Give what points are compared with."""
        return together(self.prompts, self.background)


def words_of(run: Run, table: TextTable | None) -> PlaceWords:
    """Give what embeds words in the text space of a run, if that knows any.

    Args:
        run: Whose student labels points with them.
        table: Where they are taken from (:func:`~clip2scene.inference.text_embeddings.read_run_table`), in
            place of the run's text encoder, which is opened for the first of them.
    """
    if not run.knows_words:
        return _refuse_words(run)
    if table is None:
        return _embed_with_encoder(run)
    return partial(build_teacher.place_words, run.recipe.teacher, table)


def _refuse_words(run: Run) -> PlaceWords:
    """Refuse all words: the run was trained on labels alone, and they trained its classifier."""

    def refuse(names: Sequence[str]) -> Prompts:
        raise ValueError(
            f"{run.folder} was trained on labels alone, and its text head never was, so it cannot "
            f"be prompted with {', '.join(names)}; fine-tune from a label-free run to use prompts"
        )

    return refuse


def _embed_with_encoder(run: Run) -> PlaceWords:
    """Embed words with the run's own text encoder, opened for the first of them."""
    text_space = cache(run.text_space)

    def embed(names: Sequence[str]) -> Prompts:
        space = text_space()
        unknown = [word for name in names for word in space.unknown_words(name)]
        if unknown and not isinstance(space, TextTable):  # a table names what is near
            raise ValueError(
                f"the image-text model of {run.folder} was never taught {', '.join(unknown)}; label with "
                f"words that it knows, such as {', '.join(run.prompts.names)}"
            )
        return build_teacher.place_words(run.recipe.teacher, space, names)

    return embed
