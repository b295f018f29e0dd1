"""What a run answers for the points of a scene: computed once, so that questions about it cost no network."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, Float16, Int, UInt8
from torch import Tensor
from torch.nn.functional import normalize

from clip2scene import build
from clip2scene.classes.class_set import ClassSet, keep_classes
from clip2scene.classes.mapping import ClassMapping
from clip2scene.classes.words import clean_words
from clip2scene.distill.lifted import load_lifted
from clip2scene.inference.background import background_of, by_trained_names
from clip2scene.inference.memory import check_memory
from clip2scene.inference.predict import predict
from clip2scene.inference.segmenter import Segmenter
from clip2scene.runs.builtin import ASSET, BUILTIN
from clip2scene.runs.folder import LIFTED
from clip2scene.runs.run import Run
from clip2scene.types import Prompts
from clip2scene.viewer.scene import Scene

KEPT_BYTES = 1.5e9
"""Answers for so many bytes of scenes are kept, those that were looked at last."""

_OF_BASIS = 20_000  # points that the principal components are fitted to


@dataclass(frozen=True)
class Answers:
    """What a run answers for the points of a scene that are shown.

    Attributes:
        labels: Its best prompt class of each.
        scores: Softmax over the prompt classes, 0..1, at the run's temperature.
        text_logits: Logit of each prompt class by the text head.
        directions: Each point in the text space, of unit length; as float16, since they are many numbers.
        lengths: Of the embeddings before that: a logit is the cosine times the length.
        pseudo_labels: The teacher's prompt class, ``IGNORE_LABEL`` where it has none; None where the run
            keeps no pseudo-labels of the sample.
    """

    labels: Int[Tensor, " points"]
    scores: Float[Tensor, "points classes"]
    text_logits: Float[Tensor, "points classes"]
    directions: Float16[Tensor, "points channels"]
    lengths: Float[Tensor, " points"]
    pseudo_labels: Int[Tensor, " points"] | None

    @property
    def num_bytes(self) -> int:
        """Count the bytes of all tensors."""
        return sum(each.nbytes for each in vars(self).values() if each is not None)

    def cosines(self, vector: Float[Tensor, " channels"]) -> Float[Tensor, " points"]:
        """Compare every point with a unit vector of the text space; -1..1."""
        return torch.cat([each.float() @ vector for each in self.directions.split(1 << 16)])


class Answerer:
    """A run, asked about scenes.

    Args:
        run: The run.
        words: A table of text embeddings to take words from, instead of the run's text encoder.

    Raises:
        ValueError: If the run has no checkpoint, or the table is unfit.
    """

    def __init__(self, run: Run, *, words: Path | None = None) -> None:
        self.run = run
        self.segmenter = Segmenter.of_run(run, words=words)
        prompted = build.prompt_classes(run.recipe.data, run.folder)
        by_name = dict(zip(prompted.classes, prompted.prompts, strict=True))
        self.class_set: ClassSet = keep_classes(
            prompted, prompted.name, {name: by_name[name] for name in run.prompts.classes}
        )
        self.embed_phrase = cache(self._embed_phrase)
        self._kept: OrderedDict[tuple[str, str, int], Answers] = OrderedDict()
        self._basis: tuple[Tensor, ...] | None = None

    @property
    def name(self) -> str:
        """Name the run: its folder, or ``builtin``."""
        return BUILTIN if self.run.folder == ASSET else self.run.folder.name

    def mapping_to(self, classes: ClassSet) -> ClassMapping:
        """Map its prompt classes to a data set's."""
        return self.run.mapping_to(classes)

    def about(self, scene: Scene) -> Answers:
        """Answer for a scene: the student's forward pass, or what is kept of it.

        Raises:
            ValueError: If the cloud is not what the student takes, or too large for the memory.
        """
        key = (scene.source.split, scene.sample.token, len(scene.shown))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        answers = self._kept[key] = self._ask(scene)
        while sum(each.num_bytes for each in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return answers

    def _ask(self, scene: Scene) -> Answers:
        student, prompts = self.segmenter.student, self.run.prompts
        channels, wanted = scene.cloud.features.shape[1], self.segmenter.in_channels
        if channels != wanted:
            raise ValueError(
                f"{self.name} was trained on {wanted} channels of features, but "
                f"{scene.sample.token} has {channels} (one is an intensity, three are colours); "
                "name data of the kind it was trained on"
            )
        check_memory(student, scene.cloud, len(prompts.names))
        found = predict(student, prompts, scene.cloud, with_embeddings=True)
        assert found.embeddings is not None
        embeddings = found.embeddings[scene.shown]
        logits = found.logits[scene.shown]
        return Answers(
            logits.argmax(1),
            (logits / self.segmenter.temperature).softmax(1),
            found.text_logits[scene.shown],
            normalize(embeddings, dim=1).half(),
            embeddings.norm(dim=1),
            self._pseudo_labels(scene),
        )

    def _pseudo_labels(self, scene: Scene) -> Int[Tensor, " points"] | None:
        """Read what the teacher calls the points, if the run keeps it: the newest file of this very cloud."""
        folder = self.run.folder / LIFTED / scene.source.split
        found = folder.rglob(f"{scene.sample.token}.safetensors") if scene.source.split else ()
        for path in sorted(found, key=lambda each: each.stat().st_mtime, reverse=True):
            lifted, count = load_lifted(path), len(scene.sample.cloud)
            if torch.equal(lifted.cloud.positions[:count], scene.sample.cloud.positions):
                labels = lifted.voted_labels() if lifted.consolidated is None else lifted.consolidated
                return labels[scene.shown]
        return None

    def require_words(self) -> None:
        """Refuse a run whose text head was never trained.

        Raises:
            ValueError: If so; its embeddings mean nothing.
        """
        if not self.run.knows_words:
            raise ValueError(
                f"{self.name} was trained on labels alone, and its text head never was, so its "
                "embeddings mean nothing; look at its classes, or at a label-free run"
            )

    def _embed_phrase(self, phrase: str) -> Prompts:
        """Embed a phrase as it is embedded for ``segment``; kept for each phrase.

        Raises:
            ValueError: If it is empty, or the run has no meaning for a word.
        """
        return self.segmenter.place_words(clean_words([phrase]))

    def similarity(self, answers: Answers, phrase: str) -> Float[Tensor, " points"]:
        """Give the cosine of each point and a phrase, -1..1: of the best name that it is looked for by.

        These are those of the run's classes that it stands for, or its own direction
        (:func:`clip2scene.inference.background.by_trained_names`).

        Raises:
            ValueError: As :meth:`embed_phrase`.
        """
        names = by_trained_names(self.embed_phrase(phrase), self.run.prompts)
        return torch.stack([answers.cosines(each) for each in names.embeddings]).amax(0)

    def phrase_scores(self, answers: Answers, phrase: str) -> Float[Tensor, " points"]:
        """Give the score of a phrase among the classes that it does not stand for, 0..1.

        This is what ``segment`` compares: the phrase against the background
        (:func:`clip2scene.inference.background.background_of`).

        Raises:
            ValueError: As :meth:`embed_phrase`.
        """
        asked = self.embed_phrase(phrase)
        background = background_of(asked, self.run.prompts)
        others = () if background is None else background.classes
        columns = [self.run.prompts.classes.index(name) for name in others]
        logit = self.similarity(answers, phrase) * answers.lengths
        logits = torch.cat([logit[:, None], answers.text_logits[:, columns]], dim=1)
        return (logits / self.segmenter.temperature).softmax(1)[:, 0]

    def nearest_words(
        self, answers: Answers, point: int, phrases: tuple[str, ...] = ()
    ) -> list[tuple[str, float]]:
        """Rank words by their cosine with a point: the names of the run's classes, and phrases.

        Args:
            answers: For the scene.
            point: Number of the point among those that are shown.
            phrases: More words; they were embedded before.
        """
        known = self._vocabulary()
        vectors = {**known, **{each: self.embed_phrase(each).embeddings[0] for each in phrases}}
        direction = answers.directions[point].float()
        cosines = torch.stack([*vectors.values()]) @ direction
        order = cosines.argsort(descending=True).tolist()
        names = [*vectors]
        return [(names[number], float(cosines[number])) for number in order]

    def _vocabulary(self) -> dict[str, Float[Tensor, " channels"]]:
        prompts = self.run.prompts
        return dict(zip(prompts.names, prompts.embeddings, strict=True))

    def component_colours(self, answers: Answers) -> UInt8[Tensor, "points 3"]:
        """Colour points by the first three principal components of their directions in the text space.

        The components are those of the first scene that is asked for, so that a colour means the same in all
        scenes of the run.
        """
        if self._basis is None:
            self._basis = _principal_components(answers.directions)
        mean, axes, low, high = self._basis
        places = torch.cat([(each.float() - mean) @ axes for each in answers.directions.split(1 << 16)])
        return (255 * ((places - low) / (high - low)).clamp(0, 1)).round().to(torch.uint8)


def _principal_components(
    directions: Float16[Tensor, "points channels"],
) -> tuple[Float[Tensor, " channels"], Float[Tensor, "channels 3"], Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Fit the mean, the three widest axes, and where most points begin and end on each.

    An axis points to where its largest part is positive, so that colours do not depend on the solver.
    """
    step = -(-len(directions) // _OF_BASIS)
    some = directions[::step].double()
    mean = some.mean(0)
    centred = some - mean
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -3:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    if axes.shape[1] < 3:  # a text space of one or two channels has no third axis
        axes = torch.cat([axes, axes.new_zeros(len(axes), 3 - axes.shape[1])], dim=1)
    places = (centred @ axes).sort(dim=0).values
    low, high = places[int(0.02 * (len(places) - 1))], places[int(0.98 * (len(places) - 1))]
    high = torch.where(high > low, high, low + 1.0)
    return mean.float(), axes.float(), low.float(), high.float()


def require_same_classes(first: Run, second: Run) -> None:
    """Refuse to compare two runs that predict other classes.

    Raises:
        ValueError: If they do.
    """
    if first.prompts.classes != second.prompts.classes:
        raise ValueError(
            f"{first.folder} predicts {', '.join(first.prompts.classes)}, but {second.folder} "
            f"{', '.join(second.prompts.classes)}; two runs are looked at together in the same "
            "classes: name a run of those, or look at them one by one"
        )
