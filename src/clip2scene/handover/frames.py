"""What is handed over: the samples of a split, scene after scene, with a label for each point."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int, Int64, UInt8
from torch import Tensor

from clip2scene import build
from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets import LOADERS, Dataset
from clip2scene.datasets.checks import MissingLabelsError, check_name
from clip2scene.datasets.label_layer import Layers, open_layers
from clip2scene.inference.export_kitti import scored_predictions
from clip2scene.inference.predict import check_abstain
from clip2scene.runs.run import Run, open_run
from clip2scene.runs.training_clouds import CloudCheck, Unlike
from clip2scene.types import IGNORE_LABEL, Sample, Timestamps

NONE_COLOUR = (115, 115, 115)
"""Red, green and blue of points without a label."""


class Labelled(NamedTuple):
    """A sample, the train id of each point, and the score of that label, where there is one."""

    sample: Sample
    labels: Int[Tensor, " points"]
    scores: Tensor | None


@dataclass(frozen=True)
class Frame:
    """A labelled cloud.

    Attributes:
        sample: The cloud and what the cameras saw.
        scene: The scene that it is of.
        number: Its place in the scene, from 0.
        labels: Train id of each point, ``IGNORE_LABEL`` for none.
        confidence: Score of each label, 0..1; None where nobody says how sure it is.
        time_us: When the cloud was measured, in microseconds; None where that is not known.
        pose: From the cloud's frame to the world's axes, in metres from where the scene's first cloud with a
            pose was measured, so that float32 holds it; None where it is not known.
    """

    sample: Sample
    scene: str
    number: int
    labels: Int64[np.ndarray, " points"]
    confidence: Float32[np.ndarray, " points"] | None = None
    time_us: int | None = None
    pose: Float64[np.ndarray, "4 4"] | None = None

    @property
    def name(self) -> str:
        """The sample's token, which names its files."""
        return self.sample.token

    @property
    def positions(self) -> Float32[np.ndarray, "points 3"]:
        """Metres, in the cloud's own frame: x forward, y left, z up."""
        return self.sample.cloud.positions.float().numpy()

    @property
    def intensity(self) -> Float32[np.ndarray, " points"] | None:
        """The lidar's intensity, 0..1; None for points that have colours."""
        features = self.sample.cloud.features
        return features[:, 0].float().numpy() if features.shape[1] == 1 else None

    @property
    def colours(self) -> UInt8[np.ndarray, "points 3"] | None:
        """What a colour camera saw at each point; None for a lidar's."""
        features = self.sample.cloud.features
        if features.shape[1] < 3:
            return None
        return (features[:, :3].float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@dataclass(frozen=True)
class LabelledSplit:
    """A split of a data set with labels.

    Attributes:
        class_set: What the labels mean.
        scenes: The samples of each scene, by their numbers.
        read: Reads samples with their labels, one after another.
        moment: Says when and where one was recorded.
        images: Whether cameras are handed over too.
    """

    class_set: ClassSet
    scenes: Mapping[str, Sequence[int]]
    read: Callable[[Sequence[int]], Iterator[Labelled]]
    moment: Callable[[int], Timestamps | None]
    images: bool = True

    def frames(self, scene: str) -> Iterator[Frame]:
        """Go through a scene, one cloud at a time."""
        numbers, origin = self.scenes[scene], None
        for place, (number, found) in enumerate(zip(numbers, self.read(numbers), strict=True)):
            moment = self.moment(number)
            pose = None
            if moment is not None and moment.world_from_cloud is not None:
                pose = moment.world_from_cloud.double().numpy().copy()
                origin = pose[:3, 3].copy() if origin is None else origin
                pose[:3, 3] -= origin
            yield Frame(
                found.sample if self.images else replace(found.sample, cameras=()),
                scene,
                place,
                found.labels.long().numpy(),
                None if found.scores is None else found.scores.float().numpy(),
                None if moment is None else moment.cloud_us,
                pose,
            )


def open_labelled(
    run: Path | None,
    *,
    data_root: Path,
    split: str,
    layer: Path | None = None,
    scenes: Sequence[str] = (),
    abstain: float = 0.0,
    images: bool = True,
    unlike: Unlike = "refuse",
) -> LabelledSplit:
    """Open a split with the predictions of a run, with the labels that lie there, or with those of a layer.

    Args:
        run: The run's folder; None takes the labels of the data set, in its own classes.
        data_root: The data set.
        split: Which of its splits.
        layer: Folder of a label layer, whose labels are taken; samples that it has none of are left out.
        scenes: Which of its scenes; all if none is named.
        abstain: Points whose best score is below this, 0..1, are handed over without a label.
        images: Whether cameras are handed over, by formats that hold them.
        unlike: Whether clouds so unlike the training clouds that nothing right can come of them are refused.

    Raises:
        ValueError: If the run or the data are unfit, there are no labels, or a scene is not there.
    """
    check_abstain(abstain)
    root = Path(data_root)
    if run is None and abstain:
        raise ValueError(f"--abstain {abstain:g} is about scores, which labels have not; name a run")
    labelled: Mapping[str, Path] | None = None
    if layer is not None:
        if run is not None:
            raise ValueError(f"{run} and --layer {layer} both have labels to hand over; name one of them")
        dataset = open_data(None, root, split)
        layers = open_layers(layer, dataset.tokens)
        labelled = layers.paths
        read: Callable[[Sequence[int]], Iterator[Labelled]] = partial(_labels_of_layer, dataset, layers)
    elif run is None:
        dataset = _open_with_labels(root, split)
        read = partial(_own_labels, dataset)
    else:
        opened = open_run(run)
        dataset = open_data(opened, root, split)
        CloudCheck(opened.folder, unlike=unlike).split(dataset, split)
        read = partial(_predictions, opened, dataset, abstain)
    chosen = choose_scenes(dataset, scenes, root, labelled)
    return LabelledSplit(dataset.class_set, chosen, read, dataset.timestamps, images)


def with_none(classes: ClassSet) -> UInt8[np.ndarray, "classes_and_none 3"]:
    """Give the colours of classes, and last that of points without a label."""
    return np.array([*classes.colours, NONE_COLOUR], dtype=np.uint8)


def open_data(run: Run | None, root: Path, split: str) -> Dataset:
    """Open a split without labels, as a run says, or in the layout that it looks like, in its own classes.

    Raises:
        ValueError: If it is no data set, or of rooms where the run is of streets, or the reverse.
    """
    data = build.data_found(root, None if run is None else run.recipe.data)
    dataset = build.open_dataset(data, root, split=split, sweeps=data.seen_sweeps)
    if run is not None and dataset.indoors != LOADERS[run.recipe.data.layout].indoors:
        kinds = ("streets", "rooms")
        raise ValueError(
            f"{root} holds {kinds[dataset.indoors]}, but {run.folder} was trained on "
            f"{kinds[not dataset.indoors]}; name data of the kind that it was trained on"
        )
    return dataset


def _open_with_labels(root: Path, split: str) -> Dataset:
    """Open a split with its own labels, in the layout that it looks like.

    Raises:
        ValueError: If it has none.
    """
    try:
        return build.open_dataset(build.data_found(root), root, split=split, labels=True, sweeps=1)
    except MissingLabelsError as error:
        why = str(error).partition(";")[0]
        raise ValueError(f"no labels to hand over: {why}; name a run to hand over what it says") from None


def choose_scenes(
    dataset: Dataset, wanted: Sequence[str], root: Path, only: Container[str] | None = None
) -> dict[str, tuple[int, ...]]:
    """List the samples of some scenes by number, in the split's order.

    Args:
        dataset: The split.
        wanted: The scenes; all if none is named.
        root: Where the data set lies, for messages.
        only: Samples that may be among them; all if left out.

    Raises:
        ValueError: If a scene is not there, or its name is none for a folder, or no sample is left.
    """
    found: dict[str, list[int]] = {}
    for number, token in enumerate(dataset.tokens):
        if only is None or token in only:
            found.setdefault(dataset.scene_of(token), []).append(number)
    if not found:
        raise ValueError(f"no sample of this split of {root} has labels to hand over; name another --split")
    lacking = [scene for scene in wanted if scene not in found]
    if lacking:
        some = ", ".join(list(found)[:5])
        raise ValueError(
            f"the split has no scene {', '.join(lacking)}; it has {len(found)}, such as {some}: name these"
        )
    for scene in wanted or found:
        check_name(scene, root)
    return {scene: tuple(found[scene]) for scene in wanted or found}


def _labels_of_layer(dataset: Dataset, layers: Layers, numbers: Sequence[int]) -> Iterator[Labelled]:
    for number in numbers:
        sample = dataset[number]
        labels = layers.of(sample, dataset.class_set.classes)
        yield Labelled(sample, labels.clamp(min=IGNORE_LABEL), None)


def _own_labels(dataset: Dataset, numbers: Sequence[int]) -> Iterator[Labelled]:
    for number in numbers:
        sample = dataset[number]
        assert sample.labels is not None
        yield Labelled(sample, sample.labels, None)


def _predictions(run: Run, dataset: Dataset, abstain: float, numbers: Sequence[int]) -> Iterator[Labelled]:
    for found in scored_predictions(run, dataset, numbers, abstain=abstain):
        yield Labelled(*found)
