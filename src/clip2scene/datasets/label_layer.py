"""Labels that people gave to points, kept beside a data set, whose own labels they never touch.

A layer is a folder with one file a sample, ``TOKEN.labels.npz``, of NumPy arrays:

============  ==================================================================================
``labels``    a number for each point of the keyframe's cloud, in its order: a place in ``classes``,
              -1 for "of none of them" (ignored), or -2 for "nobody has looked at it"
``classes``   names of the classes
``token``     the sample's name, which is also the file's
``cloud``     :func:`clip2scene.io.hash_points` of the positions, so that labels never meet another cloud
============  ==================================================================================

A sample without a label has no file. Names count, not numbers: a layer fits every data set that has its
classes, in whatever order.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int, Int16
from torch import Tensor

from clip2scene.classes.words import is_text
from clip2scene.io import hash_points, read_arrays, write_atomically
from clip2scene.types import IGNORE_LABEL, Sample, Samples

UNLABELLED = -2
"""The label of a point that nobody has labelled; :data:`~clip2scene.types.IGNORE_LABEL` says that somebody
has, and that it is of no class."""

SUFFIX = ".labels.npz"
"""What the name of a layer's file ends in, after the token."""
TEXTS = ("classes", "token", "cloud")
"""Arrays of texts in the file, beside the numbers ``labels``."""

_MOST_CLASSES = 32_767  # numbers of int16


@dataclass(frozen=True)
class LabelLayer:
    """The labels of one sample.

    Attributes:
        token: The sample's name.
        cloud: Hash of the positions of its keyframe.
        classes: Names of the classes, all different.
        labels: Place in ``classes`` of each point, ``IGNORE_LABEL`` for none of them, :data:`UNLABELLED`.
    """

    token: str
    cloud: str
    classes: tuple[str, ...]
    labels: Int16[Tensor, " points"]

    @classmethod
    def of(
        cls, sample: Sample, classes: Sequence[str], labels: Int[Tensor, " points"] | None = None
    ) -> "LabelLayer":
        """Make the layer of a sample; without labels, nothing in it is labelled.

        Raises:
            ValueError: If there is not a label for each point, or one is none of the classes.
        """
        count = len(sample.cloud)
        found = torch.full((count,), UNLABELLED) if labels is None else labels
        _check_content(classes, found, f"the labels of {sample.token}")
        layer = cls(sample.token, hash_points(sample.cloud.positions), tuple(classes), found.short())
        layer.check(sample)
        return layer

    @property
    def labelled(self) -> Bool[Tensor, " points"]:
        """Tell which points somebody has labelled, those of no class among them."""
        return self.labels != UNLABELLED

    @cached_property
    def fingerprint(self) -> str:
        """Hash what it says; equal for equal labels, however and wherever they were written."""
        digest = hashlib.sha256("\n".join([self.token, self.cloud, *self.classes]).encode())
        digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()

    def check(self, sample: Sample, where: Path | str = "the label layer") -> None:
        """Refuse labels of another cloud.

        Args:
            sample: What they should be of.
            where: What the message calls them.

        Raises:
            ValueError: If the name, the number of points or the points are others.
        """
        if self.token != sample.token:
            raise ValueError(
                f"{where} is of sample {self.token}, expected {sample.token}; rename nothing in it"
            )
        if len(self.labels) != len(sample.cloud):
            raise ValueError(
                f"{where} has {len(self.labels):,} labels, but the cloud of {sample.token} has "
                f"{len(sample.cloud):,} points; name the data that were labelled, or another folder of labels"
            )
        if self.cloud != hash_points(sample.cloud.positions):
            raise ValueError(
                f"{where} belongs to another cloud than {sample.token}: as many points, in other places or "
                "another order; name the data that were labelled, or another folder of labels"
            )

    def in_classes(
        self, classes: Sequence[str], where: Path | str = "the label layer"
    ) -> Int[Tensor, " points"]:
        """Give the labels as places in other classes, by name; ``IGNORE_LABEL`` and :data:`UNLABELLED` stay.

        Raises:
            ValueError: If a class that a point has is not among them.
        """
        place = {name: number for number, name in enumerate(classes)}
        used = [self.classes[number] for number in self.labels.unique().tolist() if number >= 0]
        lost = [name for name in used if name not in place]
        if lost:
            raise ValueError(
                f"{where} labels points as {', '.join(map(repr, lost))}, expected some of "
                f"{', '.join(classes)}; name a folder of labels in these classes, or data with those"
            )
        table = torch.tensor(
            [*(place.get(name, IGNORE_LABEL) for name in self.classes), UNLABELLED, IGNORE_LABEL]
        )
        return table[self.labels.long()]  # the last two places stand for -2 and -1


def layer_path(folder: Path, token: str) -> Path:
    """Say where the labels of a sample lie in a layer's folder.

    Raises:
        ValueError: If the name is none for a file.
    """
    if not token or token[0] == "." or set(token) & set("/\\:\0") or not is_text(token) or len(token) > 200:
        raise ValueError(f"{token!r} is no name for a file of labels; rename the sample")
    return Path(folder) / f"{token}{SUFFIX}"


def find_layers(folder: Path) -> dict[str, Path]:
    """List the files of a layer by the samples' names; nothing is opened.

    Raises:
        ValueError: If there is no such folder.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is no folder of labels; clip2scene view --corrections makes one")
    return {path.name.removesuffix(SUFFIX): path for path in sorted(Path(folder).glob(f"*{SUFFIX}"))}


def write_layer(folder: Path, layer: LabelLayer) -> Path:
    """Write the labels of a sample into a layer's folder, atomically; those that were there are replaced.

    Returns:
        The file; where nothing is labelled there is none, and one that was there is removed.

    Raises:
        ValueError: If the layer makes no sense, or the disk is full; what was there before is whole.
        OSError: If the folder cannot be written to.
    """
    path = layer_path(folder, layer.token)
    _check_content(layer.classes, layer.labels, path)
    if not layer.labelled.any():
        path.unlink(missing_ok=True)
        return path
    with write_atomically(path) as temporary:
        temporary.write_bytes(pack_layer(layer))
    return path


def pack_layer(layer: LabelLayer, more: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Give what stands in the file of a layer; the same bytes for the same labels.

    Args:
        layer: The labels of a sample.
        more: Further arrays, which :func:`read_layer` leaves alone.
    """
    stream = BytesIO()
    np.savez_compressed(
        stream,
        allow_pickle=False,
        labels=layer.labels.numpy(),
        classes=np.array(layer.classes, dtype=str),
        token=np.array(layer.token),
        cloud=np.array(layer.cloud),
        **(more or {}),
    )
    return stream.getvalue()


def read_layer(path: Path) -> LabelLayer:
    """Read what :func:`write_layer` wrote, a stranger's file among it.

    Raises:
        ValueError: If the file is missing or damaged, was renamed, or holds what no layer does.
    """
    layer = layer_of(read_arrays(path, ("labels",), texts=TEXTS), path)
    if Path(path).name != f"{layer.token}{SUFFIX}":
        raise ValueError(f"{path} holds the labels of {layer.token}; rename it to {layer.token}{SUFFIX}")
    return layer


def layer_of(arrays: Mapping[str, np.ndarray], path: Path | str) -> LabelLayer:
    """Make a layer of the arrays of its file, ``labels`` and :data:`TEXTS`.

    Raises:
        ValueError: If they hold what no layer does; it names ``path``.
    """
    labels, classes, token, cloud = (arrays[name] for name in ("labels", *TEXTS))
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or classes.ndim != 1 or token.ndim or cloud.ndim:
        raise ValueError(
            f"{path} is no label layer: expected a whole number for each point and a list of classes, got "
            f"labels of shape {labels.shape} and type {labels.dtype}, classes of shape {classes.shape}"
        )
    if labels.size and not UNLABELLED <= int(labels.min()) <= int(labels.max()) <= _MOST_CLASSES:
        raise ValueError(f"{path} holds labels from {labels.min()} to {labels.max()}; write it anew")
    found = torch.from_numpy(labels.astype(np.int16))
    layer = LabelLayer(str(token), str(cloud), tuple(map(str, classes)), found)
    _check_content(layer.classes, layer.labels, path)
    return layer


@dataclass(frozen=True)
class Layers:
    """The labels of several samples, each read when it is asked for.

    Attributes:
        paths: File of each sample, by its name.
        fingerprints: What each file said when it was found.
        everywhere: Whether samples without a file are given too, with nothing labelled.
    """

    paths: Mapping[str, Path]
    fingerprints: Mapping[str, str]
    everywhere: bool = False

    @property
    def fingerprint(self) -> str:
        """Hash what all of them say, whatever their order."""
        lines = [f"{token} {self.fingerprints[token]}" for token in sorted(self.paths)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def of(self, sample: Sample, classes: Sequence[str]) -> Int[Tensor, " points"]:
        """Read the labels of a sample as places in ``classes`` (:meth:`LabelLayer.in_classes`).

        Raises:
            ValueError: If they are of another cloud or of other classes, or have changed since.
        """
        if self.everywhere and sample.token not in self.paths:
            return torch.full((len(sample.cloud),), UNLABELLED)
        path = self.paths[sample.token]
        layer = read_layer(path)
        if layer.fingerprint != self.fingerprints[sample.token]:
            raise ValueError(f"{path} was changed meanwhile; stop labelling, and start again")
        layer.check(sample, path)
        return layer.in_classes(classes, path)


def open_layers(folder: Path, tokens: Sequence[str], *, everywhere: bool = False) -> Layers:
    """Find the labels of some samples, in their order; those in which nothing is labelled are left out.

    Every file is read once, to know whether anything in it is labelled, and what; one is held at a time.

    Args:
        folder: Of the files.
        tokens: Names of the samples.
        everywhere: As :class:`Layers` has it.

    Raises:
        ValueError: If none is left, or a file is no layer.
    """
    paths, found = find_layers(folder), dict[str, str]()
    for token in tokens:
        if token in paths:
            layer = read_layer(paths[token])
            if layer.labelled.any():
                found[token] = layer.fingerprint
    if not found:
        other = f"; it holds those of {next(iter(paths))}" if paths else ""
        raise ValueError(
            f"{folder} holds no label of the {len(tokens)} samples of the split{other}: label some of these "
            "(clip2scene view --corrections), or name another folder, or another split"
        )
    return Layers({token: paths[token] for token in found}, found, everywhere)


def _check_content(names: Sequence[str], labels: Int[Tensor, " points"], where: Path | str) -> None:
    """Refuse classes that cannot be told apart, and labels that are none of them."""
    if not 0 < len(names) <= _MOST_CLASSES or len(set(names)) < len(names):
        raise ValueError(f"{where} needs 1 to {_MOST_CLASSES} classes, all different, got {len(names)}")
    for name in names:
        if not name.strip() or not is_text(name):
            raise ValueError(f"{where} has a class called {name!r}; expected words that can be read")
    if len(labels) and not UNLABELLED <= int(labels.min()) <= int(labels.max()) < len(names):
        raise ValueError(
            f"{where} has labels from {int(labels.min())} to {int(labels.max())}, expected {UNLABELLED} "
            f"(not labelled), {IGNORE_LABEL} (no class) or 0 to {len(names) - 1}, the places of its classes"
        )


@dataclass(frozen=True)
class Relabelled:
    """Samples with labels by hand in the place of their own, which are not read.

    Attributes:
        samples: The samples, opened without labels.
        layers: The labels by hand of each of them.
        classes: The classes whose places are the train ids.
        keep: Leaves of the labels by hand of a sample, by its name, those that may be used; the others are
            ignored.
        rest: Labels the points of a sample that nobody labelled; they are ignored if left out.
    """

    samples: Samples
    layers: Layers
    classes: tuple[str, ...]
    keep: Callable[[str, Int[Tensor, " points"]], Int[Tensor, " points"]]
    rest: Callable[[Sample], Int[Tensor, " points"]] | None = None

    @property
    def tokens(self) -> Sequence[str]:
        """Name the samples."""
        return self.samples.tokens

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            ValueError: If the labels are of another cloud, or of other classes, or the rest cannot be
                labelled.
        """
        sample = self.samples[index]
        by_hand = self.layers.of(sample, self.classes)
        labels = self.keep(sample.token, by_hand.clamp(min=IGNORE_LABEL))
        if self.rest is not None:
            labels = torch.where(by_hand == UNLABELLED, self.rest(sample), labels)
        return replace(sample, labels=labels)
