"""One sample labelled: what every worker does, in whatever process and on whatever machine."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16, Int
from torch import Tensor

from clip2scene import build
from clip2scene.datasets import Dataset
from clip2scene.datasets.label_layer import SUFFIX, TEXTS, LabelLayer, layer_of, pack_layer
from clip2scene.distill.lift import PairingOptions, gather_sweeps
from clip2scene.handover.frames import open_data
from clip2scene.inference.memory import check_memory
from clip2scene.inference.predict import Quality, check_abstain, choose_own, predict
from clip2scene.inference.segmenter import Background, Segmenter
from clip2scene.io import hash_files, parse_arrays
from clip2scene.runs.copies import files_of
from clip2scene.runs.run import Run, open_run
from clip2scene.types import PointCloud, Sample

SURE = 0.5
"""Points whose score is below this are counted."""


@dataclass(frozen=True)
class LabelOptions:
    """How samples are labelled.

    Attributes:
        prompts: The words; None for the classes of the data set.
        words: A table of text embeddings to take them from, instead of the run's text encoder.
        background: What a point may be beside the prompts
            (:meth:`~clip2scene.inference.segmenter.Segmenter.set_prompts`).
        abstain: Points whose best score is below this, 0..1, get no label.
        quality: How much work a cloud is worth: low, medium (as the run was made for) or high; seen at one
            turn, usually two, or six, for the mean.
    """

    prompts: tuple[str, ...] | None = None
    words: Path | None = None
    background: Background = "trained"
    abstain: float = 0.0
    quality: Quality = "medium"

    def __post_init__(self) -> None:
        check_abstain(self.abstain)
        if self.prompts is None and (self.words is not None or self.background != "trained"):
            raise ValueError("--words and --background are about words; add --prompts, or leave them out")


@dataclass(frozen=True)
class Row:
    """What is told of a sample, beside its labels.

    Attributes:
        token: Its name.
        scene: The name of its scene.
        timestamp_us: When its cloud was measured, in microseconds; None where that is not known.
        points: How many points it has.
        by_class: How many of them have each class, and last how many have none.
        mean_confidence: Mean score of the points, 0..1.
        below_half: Share of the points whose score is below 0.5.
        sha256: Of the file of its labels.
        seconds: What reading and labelling it took; None where an earlier worker did, and was lost since.
        worker: Who labelled it: machine and process; None likewise.
        error: Why it was not labelled; then there is none of the numbers.
    """

    token: str
    scene: str
    timestamp_us: int | None
    points: int | None = None
    by_class: tuple[int, ...] | None = None
    mean_confidence: float | None = None
    below_half: float | None = None
    sha256: str | None = None
    seconds: float | None = None
    worker: str | None = None
    error: str | None = None


class Labeller:
    """A run and a data set, opened once, to label any of its samples.

    Args:
        run: Folder of the run, or ``builtin``.
        data_root: The data set.
        split: Which of its splits.
        how: How they are labelled.
        device: What torch computes on.

    Raises:
        ValueError: If the run, the data or a word is unfit.
    """

    def __init__(
        self, run: Path, data_root: Path, split: str, how: LabelOptions, *, device: str = "cpu"
    ) -> None:
        self.run: Run = open_run(run)
        self.how = how
        self.dataset: Dataset = open_data(self.run, Path(data_root), split)
        self.segmenter = Segmenter.of_run(self.run, words=how.words)
        self.segmenter.student.to(device)
        self._pairing: PairingOptions = build.pairing_options(self.run.recipe.data)
        if how.prompts is None:
            self.classes: tuple[str, ...] = self.dataset.class_set.classes
            self._of_prompts = self.run.mapping_to(self.dataset.class_set).of_words
            if (self._of_prompts < 0).all():
                raise ValueError(
                    f"no word of run {run} is a class of {self.dataset.class_set.name!r}; name words by "
                    "--prompts"
                )
        else:
            self.segmenter.set_prompts(how.prompts, background=how.background)
            self.classes = self.segmenter.prompts.classes

    @property
    def tokens(self) -> Sequence[str]:
        """Name the samples."""
        return self.dataset.tokens

    def key(self) -> str:
        """Hash all that labels follow from: this version, the run, the words, the settings, the samples.

        Of the samples, their names count: a data set may lie elsewhere on another machine.
        """
        files = hash_files(self.run.folder, [self.run.folder / name for name in files_of(self.run)])
        compared = self.segmenter.prompts, self.segmenter.background
        words = [(p.classes, p.names, p.embeddings.numpy().tobytes()) for p in compared if p is not None]
        tokens = [(token, self.dataset.scene_of(token)) for token in self.tokens]
        told = (version("clip2scene"), files, self.classes, words, self.how.abstain, self.how.quality, tokens)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:32]

    def blank(self, number: int, **more: object) -> Row:
        """Tell of a sample what is known without reading it."""
        token = self.tokens[number]
        moment = self.dataset.timestamps(number)
        time_us = None if moment is None else moment.cloud_us
        return Row(token, self.dataset.scene_of(token), time_us, **more)  # type: ignore[arg-type]

    def read(self, number: int) -> Sample:
        """Read a sample: its cloud; images are read by nobody.

        Raises:
            ValueError: If it is damaged.
        """
        return self.dataset[number]

    def label(self, sample: Sample) -> bytes:
        """Label the points of a sample's keyframe.

        Returns:
            The file of a label layer (:mod:`clip2scene.datasets.label_layer`) with an array beside:
            ``scores``, the score of each point's best class, 0..1, as float16.

        Raises:
            ValueError: If the cloud is not what the student takes, or too large for the memory.
        """
        cloud, *_ = gather_sweeps(sample, self.dataset.viewpoint, self._pairing)
        channels, wanted = cloud.features.shape[1], self.segmenter.in_channels
        if channels != wanted:
            raise ValueError(f"the cloud has {channels} channels of features, the student takes {wanted}")
        check_memory(self.segmenter.student, cloud, self.segmenter.num_compared)
        labels, scores = (each[: len(sample.cloud)] for each in self._predict(cloud))
        layer = LabelLayer.of(sample, self.classes, labels)
        return pack_layer(layer, {"scores": scores.half().numpy()})

    def _predict(self, cloud: PointCloud) -> tuple[Int[Tensor, " points"], Float[Tensor, " points"]]:
        """Give each point's class and the score of its best class."""
        abstain, quality = self.how.abstain, self.how.quality
        if self.how.prompts is not None:
            found = self.segmenter.segment(cloud, abstain=abstain, quality=quality)
            return found.labels, found.scores.amax(1)
        logits = predict(self.segmenter.student, self.run.prompts, cloud, quality=quality).logits
        return choose_own(logits, self._of_prompts, temperature=self.segmenter.temperature, abstain=abstain)

    def row(self, number: int, content: bytes, *, since: float | None = None, worker: str = "") -> Row:
        """Tell of a sample what its labels say.

        Args:
            number: The sample.
            content: The file of its labels.
            since: When its reading began (:func:`time.perf_counter`); None if another process has done it.
            worker: Who did it.

        Raises:
            ValueError: If the file is damaged, or of another sample or other classes.
        """
        labels, scores = _open_labels(content, self.tokens[number], self.classes)
        counts = np.bincount(np.where(labels < 0, len(self.classes), labels), minlength=len(self.classes) + 1)
        return self.blank(
            number,
            points=len(labels),
            by_class=tuple(counts.tolist()),
            mean_confidence=float(scores.mean(dtype=np.float64)),
            below_half=float((scores < SURE).mean()),
            sha256=hashlib.sha256(content).hexdigest(),
            seconds=None if since is None else time.perf_counter() - since,
            worker=worker or None,
        )


def labels_name(token: str) -> str:
    """Say what the file of a sample's labels is called in the store."""
    return f"labels/{token}{SUFFIX}"


def _open_labels(
    content: bytes, token: str, classes: Sequence[str]
) -> tuple[Int[np.ndarray, " points"], Float16[np.ndarray, " points"]]:
    """Read labels and scores out of the bytes of a file."""
    place = labels_name(token)
    arrays = parse_arrays(content, place, ("labels", "scores"), texts=TEXTS)
    layer, scores = layer_of(arrays, place), arrays["scores"]
    ours = layer.token == token and layer.classes == tuple(classes) and len(layer.labels) > 0
    if not ours or scores.dtype != np.float16 or scores.shape != layer.labels.shape:
        raise ValueError(f"{place} does not hold labels of that sample and of these classes; remove it")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{place} holds scores that are not within 0..1; remove it")
    return layer.labels.numpy(), scores
