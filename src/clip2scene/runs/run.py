"""A run: the folder that holds one student, and everything needed to use it again.

======================  ================================================================================
``recipe.json``         the resolved recipe
``prompts.safetensors`` the class names' embeddings; ``prompts.json`` the names
``words.safetensors``   all words of the text space, where it is a table; so that a robot can carry them
``classes.json``        the classes of a drive log that has its own
``calibration.json``    the axes and intensity of its clouds
``labels.json``         which labels it may see, and has seen, if it learns from labels
``start.safetensors``   the weights it began with, if others learnt them
``chosen.safetensors``  its best checkpoint on the labels held out, if any are; ``choice.json`` says how good
``sources.json``        the teacher and the data: where they were, and their hashes
``checkpoint.*``        the newest checkpoint and the one before it
``log.jsonl``           one line a step: loss and time
``carried/``            the teacher's answers by split; may be deleted
``metrics.json``        what the last evaluation found
======================  ================================================================================
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors.torch import load_file
from torch import Tensor

from clip2scene import build
from clip2scene.classes.mapping import ClassMapping, map_classes
from clip2scene.config import Recipe, from_dict, to_dict
from clip2scene.datasets import Dataset
from clip2scene.datasets.dataset import count_images, stamp_files
from clip2scene.datasets.label_subset import Chosen, Subset
from clip2scene.distill.lift import Teacher, lift_split
from clip2scene.distill.lifted import hash_clouds
from clip2scene.io import read_json, write_json
from clip2scene.runs.checkpoint import (
    load_checkpoint,
    load_weights,
    previous_path,
    save_checkpoint,
)
from clip2scene.runs.folder import CARRIED, LABELS, SEEN, START, WORDS
from clip2scene.runs.init_weights import CLASSIFIER, InitWeights, init_parts, load_init
from clip2scene.runs.prompts import load_prompts
from clip2scene.student.model import Embedder
from clip2scene.teacher.backbone import ImageBackbone
from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.prompts import TextSpace
from clip2scene.teacher.text_table import read_text_table
from clip2scene.training.state import TrainState
from clip2scene.types import IGNORE_LABEL, Prompts

CHOSEN = "chosen.safetensors"

LabelMask = Callable[[str, Int[Tensor, " points"]], Int[Tensor, " points"]]
"""Leaves of a sample's labels, by its token, those that may be seen; the others become ``IGNORE_LABEL``."""


@dataclass(frozen=True)
class Run:
    """A run's folder, opened.

    Attributes:
        folder: Where it lies.
        recipe: What was asked for.
        prompts: The classes in words, in the teacher's text space.
        sources: Teacher and data, as ``sources.json`` holds them.
    """

    folder: Path
    recipe: Recipe
    prompts: Prompts
    sources: dict[str, Any]

    @property
    def checkpoint_path(self) -> Path:
        """Where the weights are."""
        return self.folder / "checkpoint.safetensors"

    @property
    def subset(self) -> Subset | None:
        """The labels that it may see; None for a run without labels."""
        path = self.folder / LABELS
        if not path.exists():
            return None
        labels = read_json(path)
        subset = Subset.from_json(labels["subset"])
        if subset.fingerprint != labels["fingerprint"]:
            raise ValueError(f"{path} was changed: it does not fit its own hash; restore it, or train anew")
        return subset

    def visible_labels(self) -> LabelMask | None:
        """Say which labels of a sample may be seen: so many points of it, and of some classes."""
        subset, wanted = self.subset, self.recipe.labels.classes
        if subset is None:
            return None
        is_wanted = torch.tensor([not wanted or name in wanted for name in self.prompts.classes])

        def mask(token: str, labels: Int[Tensor, " points"]) -> Int[Tensor, " points"]:
            named = torch.where(is_wanted[labels.clamp(min=0)], labels, IGNORE_LABEL)
            return subset.mask(token, named)

        return mask

    @property
    def knows_words(self) -> bool:
        """Whether its layer into the text space ever learnt any: from a teacher, from labels, or before."""
        taught = self.recipe.supervision == "label-free" or self.recipe.tuning.head == "words"
        return taught or bool(self.sources.get("start", {}).get("knows_words"))

    @property
    def judged(self) -> ClassMapping:
        """The classes that answers are judged in."""
        classes = build.evaluation_classes(self.recipe.data, self.folder)
        prompted = build.prompt_classes(self.recipe.data, self.folder)
        of_spoken = map_classes(prompted, classes)
        return ClassMapping(
            classes.classes, of_spoken[[prompted.classes.index(name) for name in self.prompts.classes]]
        )

    @property
    def text_weights(self) -> str | None:
        """What opens its text space once more, in :func:`create_or_resume`'s terms."""
        words = self.folder / WORDS
        return str(words) if words.exists() else self.sources["teacher_weights"]

    @property
    def carry_settings(self) -> dict[str, Any]:
        """What decides which points meet which pixels."""
        names = ("min_depth", "occlusion_test", "moved_test", "merge_sweeps")
        return {name: getattr(self.recipe.data, name) for name in names}

    def carry(
        self,
        data_root: Path,
        *,
        split: str,
        with_labels: bool,
        into: Path | None = None,
        teacher_cache: Path | None = None,
        subset: Sequence[str] | None = None,
        dataset: Dataset | None = None,
    ) -> list[Path]:
        """Carry the teacher's answers onto a split, or find them carried already.

        Args:
            data_root: The data set.
            split: Which of its splits.
            with_labels: Whether to read labels.
            into: Folder to keep them in, which other runs may share, and with them what the teacher saw in
                each image; by default the run's own, without the latter.
            teacher_cache: Folder of what the teacher saw in each image.
            subset: Names of the samples; all if left out.
            dataset: What :meth:`open_dataset` gives for the same arguments, if it is open already.

        Returns:
            A file a sample. To be judged, a student sees what it would see in use: the keyframe alone, unless
            its sweeps are merged.
        """
        learning = split == "train"
        sweeps = self._sweeps(split)
        taught = learning and self.recipe.supervision == "label-free"
        if dataset is None:
            dataset = self.open_dataset(data_root, split=split, with_labels=with_labels, subset=subset)
        teacher: Teacher | None = None
        num_images = count_images(dataset)
        if taught or (not learning and num_images):  # a student can be judged without its teacher
            teacher = build.build_teacher(self.recipe.teacher, self.text_space(), self.prompts, dataset)
            if isinstance(teacher, MaskClip):
                looks = teacher_cache or (into and into / "looks")
                weights_hash, precision = self.sources["teacher_hash"], self.recipe.teacher.precision
                teacher = CachedTeacher(teacher, weights_hash, looks, precision)
        from_class_maps = teacher is not None and self.recipe.teacher.kind == "label-maps"
        settings = {
            **self.carry_settings,
            "superpoint_vote": self.recipe.teacher.superpoint_vote,
            "sweeps": sweeps,
            "viewpoint": dataset.viewpoint,
            "keep": self.recipe.keep if learning else "classes",
            "teacher": to_dict(self.recipe)["teacher"],
            "teacher_hash": self.sources["teacher_hash"],
            "data_root": str(Path(data_root).resolve()),
            "with_labels": with_labels,
            "inputs": stamp_files(
                Path(data_root), dataset.input_files(labels=with_labels, class_maps=from_class_maps)
            ),
        }
        if with_labels:  # carried labels are numbers of these classes
            ids = sorted(dataset.class_set.train_id_of_raw.items())
            settings["judged"] = [list(dataset.class_set.classes), ids]
        if num_images < len(dataset):  # once they are restored, the teacher shall look again
            settings["num_images"] = num_images
        backbone = self._backbone() if learning else None
        if backbone is not None:
            settings |= {
                "backbone": self.recipe.loss.backbone,
                "backbone_hash": self.sources["backbone_hash"],
            }
        folder = (into or self.folder / CARRIED) / split
        samples = dataset if subset is None else Chosen(dataset, subset)
        return lift_split(samples, teacher, self.prompts, folder, settings=settings, backbone=backbone)

    def open_dataset(
        self, data_root: Path, *, split: str, with_labels: bool, subset: Sequence[str] | None = None
    ) -> Dataset:
        """Open a split with the sweeps that the student takes; arguments as for :meth:`carry`.

        Raises:
            ValueError: If the data cannot be read, or their labels are of other classes.
        """
        dataset = build.open_dataset(
            self.recipe.data,
            data_root,
            split=split,
            labels=with_labels if subset is None or not with_labels else subset,
            sweeps=self._sweeps(split),
            need_images=split == "train" and self.recipe.supervision == "label-free",
        )
        classes = build.evaluation_classes(self.recipe.data, self.folder).classes
        if with_labels and dataset.class_set.classes != classes:
            raise ValueError(
                f"{data_root} has the classes {', '.join(dataset.class_set.classes)}, but {self.folder} "
                f"learnt to be judged in {', '.join(classes)}; name data with those, or train anew"
            )
        return dataset

    def _sweeps(self, split: str) -> int:
        """Count the sweeps of a sample: several only in training, or where they are merged."""
        data = self.recipe.data
        return data.sweeps if split == "train" or data.merge_sweeps else 1

    def _backbone(self) -> ImageBackbone | None:
        """Open the image model that the rivals contrast with, if there is one.

        Raises:
            ValueError: If it is not where it was, or has changed.
        """
        if self.recipe.loss.backbone is None:
            return None
        backbone = build.build_backbone(self.recipe.loss, self.text_space())
        if build.hash_backbone(self.recipe.loss) != self.sources["backbone_hash"]:
            raise ValueError(
                f"the image backbone in {self.recipe.loss.backbone} is not the one that {self.folder} learnt "
                "from; put that one back, or train anew"
            )
        return backbone

    def text_space(self) -> TextSpace:
        """Open what turns words into vectors.

        Raises:
            ValueError: If the image-text model is not where it was, or has changed.
        """
        if (self.folder / WORDS).exists():
            return read_text_table(self.folder / WORDS)
        weights = self.sources["teacher_weights"]
        if build.hash_teacher(weights) != self.sources["teacher_hash"]:
            raise ValueError(
                f"the image-text model in {weights or build.SMALL_CLIP} is not the one that {self.folder} "
                "learnt from; put that one back, or train anew"
            )
        return load_clip(weights or build.SMALL_CLIP)

    def new_student(self) -> Embedder:
        """Make the network with fresh weights."""
        return build.build_student(
            self.recipe,
            in_channels=self.sources["in_channels"],
            text_channels=self.prompts.embeddings.shape[1],
            pixel_channels=self.sources.get("pixel_channels"),
            num_classes=len(self.prompts.classes),
        )

    def student(self) -> Embedder:
        """Load the trained network, ready to answer.

        Raises:
            ValueError: If there is no whole checkpoint.
        """
        chosen = self.folder / CHOSEN
        path = chosen if chosen.exists() else self.checkpoint_path
        student = self.new_student()
        load_weights(student, load_checkpoint(path).model, path)
        return student.eval()

    def state(self, device: torch.device) -> TrainState:
        """Make the student that learns, from the newest checkpoint if there is one."""
        state = TrainState(self.initial_student().to(device), self.recipe)
        if self.checkpoint_path.exists() or previous_path(self.checkpoint_path).exists():
            state.restore(load_checkpoint(self.checkpoint_path), self.checkpoint_path)
        return state

    def anchor(self, device: torch.device) -> Embedder | None:
        """Give the network as it began, where its words are to be kept."""
        if not self.recipe.tuning.keep_words:
            return None
        return self.initial_student().to(device).eval().requires_grad_(False)

    def initial_student(self) -> Embedder:
        """Make the network as it begins: from chance, or from what others learnt."""
        student, path = self.new_student(), self.folder / START
        if not path.exists():
            return student
        about, text, weights = self.sources["start"], None, load_file(path)
        if student.classifier is None or tuple(about["classes"]) != self.prompts.classes:
            weights = {name: each for name, each in weights.items() if not name.startswith(CLASSIFIER)}
            if self.recipe.tuning.start != "random" and about["knows_words"]:
                text = self.prompts.class_directions()
        load_init(student, weights, text)
        return student

    def note_labels_used(self, paths: Sequence[Path]) -> None:
        """Add samples whose labels are learnt from to ``labels.json``, each under the hash of its points."""
        labels, before = read_json(self.folder / LABELS), self.seen()
        seen = before | {cloud: token for token, cloud in hash_clouds(paths).items() if cloud not in before}
        if seen != labels.get(SEEN):
            write_json(self.folder / LABELS, labels | {SEEN: seen})

    def seen(self) -> dict[str, str]:
        """Name the samples whose labels it, or what it began with, has learnt from, by their points' hashes.

        See :func:`clip2scene.distill.lifted.hash_points`.
        """
        path = self.folder / LABELS
        labels = read_json(path) if path.exists() else {}
        return dict(labels.get(SEEN, {}))

    def save(self, state: TrainState) -> None:
        """Write a checkpoint, atomically."""
        save_checkpoint(self.checkpoint_path, state.checkpoint())

    def log(self, **values: float | int) -> None:
        """Append a line to the log."""
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(values) + "\n")


def init_weights_of(folder: Path) -> InitWeights:
    """Take what another run begins with from a trained run.

    Raises:
        ValueError: If it is no run, or not trained.
    """
    run = open_run(folder)
    student = run.student()
    classes = () if student.classifier is None else run.prompts.classes
    weights = init_parts(student.state_dict(), words=run.knows_words)
    return InitWeights(folder, weights, classes, run.seen())


def open_run(folder: Path) -> Run:
    """Open a run's folder.

    Raises:
        ValueError: If it is no run, or a part of it is missing or damaged.
    """
    folder = Path(folder)
    if not (folder / "recipe.json").exists():
        raise ValueError(f"{folder} is not a run: it has no recipe.json; name a folder that pretrain wrote")
    recipe = from_dict(read_json(folder / "recipe.json"))
    return Run(folder, recipe, load_prompts(folder), read_json(folder / "sources.json"))
