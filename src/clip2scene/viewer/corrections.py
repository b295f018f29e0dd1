"""Labels that somebody gives to points: saved at once, undone step by step; it knows nothing of browsers."""

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int, Int16
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.label_layer import (
    UNLABELLED,
    LabelLayer,
    find_layers,
    layer_path,
    read_layer,
    write_layer,
)
from clip2scene.types import Sample

LOCK = "lock"
"""Who gives labels holds this file of the layer's folder (:func:`clip2scene.parallel.file_lock`)."""

MOST_STEPS = 500
"""Steps that can be undone."""

_KEPT = 32  # samples whose labels stay in memory, beside those that could not be saved


@dataclass(frozen=True, eq=False)
class Step:
    """One change.

    Attributes:
        token: The sample.
        nothing: Its layer with nothing labelled.
        points: Numbers of the points that changed, of its keyframe.
        before: Their labels before.
        after: Their label since.
    """

    token: str
    nothing: LabelLayer
    points: Int[Tensor, " changed"]
    before: Int16[Tensor, " changed"]
    after: int


class Corrections:
    """The labels by hand of a data set's samples, in a folder (:mod:`clip2scene.datasets.label_layer`).

    Every change is written at once. What cannot be written stays in memory, and is tried again with the next
    change; :attr:`trouble` says why.

    Args:
        folder: Of the layer; made with the first label.
        class_set: The classes that labels are of.
        read_only: Why labels may be looked at and not given; empty if they may be.
    """

    def __init__(self, folder: Path, class_set: ClassSet, *, read_only: str = "") -> None:
        self.folder, self.class_set, self.read_only = Path(folder), class_set, read_only
        self.trouble = ""
        self._layers: OrderedDict[str, LabelLayer] = OrderedDict()
        self._unsaved: dict[str, LabelLayer] = {}
        self._done: deque[Step] = deque(maxlen=MOST_STEPS)
        self._undone: list[Step] = []
        self._lock = threading.RLock()  # a page calls from several threads

    def layer(self, sample: Sample) -> LabelLayer:
        """Give the labels of a sample, in the order of the classes; without any, nothing in it is labelled.

        Raises:
            ValueError: If a file of its name is no layer, or one of another cloud or of other classes.
        """
        with self._lock:
            if sample.token in self._layers:
                return self._layers[sample.token]
            if self.folder.is_dir() and layer_path(self.folder, sample.token).exists():
                layer = self._read(sample.token)
                layer.check(sample, layer_path(self.folder, sample.token))
            else:
                layer = LabelLayer.of(sample, self.class_set.classes)
            return layer if self.read_only else self._keep(layer)

    def give(self, sample: Sample, points: Int[Tensor, " chosen"], label: int) -> int:
        """Give points of a sample a label, and save it.

        Args:
            sample: The sample.
            points: Numbers of points of its keyframe.
            label: Train id of a class, ``IGNORE_LABEL`` for none of them, or ``UNLABELLED`` to take a label
                away.

        Returns:
            How many points have another label now.

        Raises:
            ValueError: If labels may not be given here, there is no such class, or :meth:`layer` has none.
        """
        if self.read_only:
            raise ValueError(self.read_only)
        if not UNLABELLED <= label < len(self.class_set):
            raise ValueError(f"there is no class {label}; expected 0 to {len(self.class_set) - 1}, -1 or -2")
        with self._lock:
            layer = self.layer(sample)
            changed = points[layer.labels[points] != label]
            if not len(changed):
                return 0
            before = layer.labels[changed]
            nothing = replace(layer, labels=layer.labels.new_tensor(UNLABELLED).expand(len(layer.labels)))
            step = Step(sample.token, nothing, changed, before, label)
            self._set(step, torch.full_like(before, label))
            self._done.append(step)
            self._undone.clear()
            return len(changed)

    def undo(self) -> str | None:
        """Take back the last step; gives its sample's name, None where there is no step left.

        Raises:
            ValueError: If the sample's labels were left on the disk and cannot be read; the step stays.
        """
        with self._lock:
            if not self._done:
                return None
            step = self._done[-1]
            self._set(step, step.before)
            self._undone.append(self._done.pop())
            return step.token

    def redo(self) -> str | None:
        """Take the last step that was undone again; gives its sample's name, None where there is none.

        Raises:
            ValueError: As for :meth:`undo`.
        """
        with self._lock:
            if not self._undone:
                return None
            step = self._undone[-1]
            self._set(step, torch.full_like(step.before, step.after))
            self._done.append(self._undone.pop())
            return step.token

    def save(self) -> str:
        """Write what could not be written before, each sample for itself.

        Returns:
            Why it could not be; empty when all is saved.
        """
        with self._lock:
            self.trouble, error = "", None
            for token, layer in [*self._unsaved.items()]:
                try:
                    write_layer(self.folder, layer)
                    del self._unsaved[token]
                except (ValueError, OSError) as fault:
                    error = error or fault
            if error is not None:
                self.trouble = (
                    f"labels of {len(self._unsaved)} samples are kept in memory alone, not saved: {error}. "
                    "Mend that, then give another label or press 'save again'; closing before loses them"
                )
            return self.trouble

    def labelled(self) -> frozenset[str]:
        """Name the samples of which something is labelled: those with a file, or to get one."""
        with self._lock:
            saved = find_layers(self.folder) if self.folder.is_dir() else {}
            unsaved = {token for token, layer in self._unsaved.items() if layer.labelled.any()}
            return frozenset(saved).difference(self._unsaved) | unsaved

    @property
    def steps(self) -> tuple[int, int]:
        """Count the steps that can be undone, and those that can be done again."""
        return len(self._done), len(self._undone)

    def _set(self, step: Step, labels: Int16[Tensor, " changed"]) -> None:
        """Give the points of a step other labels, and save them."""
        layer = self._layers.get(step.token)
        if layer is None:
            on_disk = layer_path(self.folder, step.token).exists()
            layer = self._read(step.token) if on_disk else step.nothing
        whole = layer.labels.clone()
        whole[step.points] = labels
        self._unsaved[step.token] = self._keep(replace(layer, labels=whole))
        self.save()

    def _read(self, token: str) -> LabelLayer:
        """Read the labels of a sample, in the order of the classes."""
        path = layer_path(self.folder, token)
        layer = read_layer(path)
        names = self.class_set.classes
        return replace(layer, classes=names, labels=layer.in_classes(names, path).short())

    def _keep(self, layer: LabelLayer) -> LabelLayer:
        """Keep labels in memory; of those that are saved, the ones that were looked at last."""
        self._layers[layer.token] = layer
        self._layers.move_to_end(layer.token)
        for token in [*self._layers][:-_KEPT]:
            if token not in self._unsaved:
                del self._layers[token]
        return layer
