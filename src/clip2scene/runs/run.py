"""A run: the folder that holds one student, and everything needed to use it again.

======================  ================================================================================
``recipe.json``         the resolved recipe
``prompts.safetensors`` the class names' embeddings; ``prompts.json`` the names
``words.safetensors``   all words of the text space, where it is a table; so that a run is complete on a robot
``classes.json``        the classes of a drive log that has its own
``calibration.json``    the axes and intensity of its clouds
``mix.json``            of a mixture of data sets: which they are, their weights and classes
``clouds.json``         statistics of its training clouds, which others are compared with
``labels.json``         which labels it may use, and has used, if it is trained with labels; those by hand too
``start.safetensors``   the weights it began with, if they were trained before
``teachers.json``       how far each of several teachers is trusted, if it has several
``confidence.json``     the temperature of its scores, fitted to its pseudo-labels
``chosen.safetensors``  its best checkpoint on the labels held out, if any are; ``choice.json`` says how good
``sources.json``        the teacher and the data: where they were, and their hashes
``checkpoint.*``        the newest checkpoint and the one before it
``log.jsonl``           one line a step: loss, its terms, time
``carried/``            pseudo-labels by split; may be deleted
``metrics.json``        what the last evaluation found
``cost.json``           seconds by stage, memory, machine and versions of each call
``sinks.json``          how far ``log.jsonl`` was sent elsewhere; ``tensorboard/`` is one such place
``unfinished.json``     what is being written while a run begins; ``lock`` says that somebody trains in it
======================  ================================================================================
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clip2scene import build, build_teacher
from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.mapping import ClassMapping, map_classes
from clip2scene.config import Recipe
from clip2scene.datasets.label_subset import LabelMask, Subset
from clip2scene.distill.lifted import hash_clouds
from clip2scene.io import regular_file, telling_of_a_full_disk, write_atomically, write_json
from clip2scene.runs.builtin import run_folder
from clip2scene.runs.checkpoint import check_fit, load_checkpoint, load_weights, require_finite
from clip2scene.runs.folder import CONFIDENCE, CORRECTIONS, LABELS, LABELS_USED, WORDS
from clip2scene.runs.run_files import read_recipe, read_run_json
from clip2scene.runs.sources import Sources
from clip2scene.runs.trust import require_trust
from clip2scene.student.model import Embedder
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.prompts import TextSpace
from clip2scene.teacher.text_table import read_text_table
from clip2scene.types import Prompts

CHOSEN = "chosen.safetensors"


@dataclass(frozen=True)
class Run:
    """A run's folder, opened.

    Attributes:
        folder: Where it lies.
        recipe: The experiment's settings.
        prompts: The prompt classes, embedded in the teacher's text space.
        sources: Teacher and data.
    """

    folder: Path
    recipe: Recipe
    prompts: Prompts
    sources: Sources

    @property
    def checkpoint_path(self) -> Path:
        """Where the weights are."""
        return self.folder / "checkpoint.safetensors"

    @property
    def subset(self) -> Subset | None:
        """The labels that it may use; None for a run without labels.

        Raises:
            ValueError: If ``labels.json`` was changed.
        """
        path = self.folder / LABELS
        if not path.exists():
            return None
        labels = read_run_json(path)
        subset = Subset.from_json(labels["subset"])
        if subset.fingerprint != labels["fingerprint"]:
            raise ValueError(f"{path} was changed: it does not fit its own hash; restore it, or train anew")
        return subset

    @property
    def label_mask(self) -> LabelMask | None:
        """Keeps the train ids of a sample that may be used; the others are ignored. None without labels.

        Of labels by hand, single points were chosen before the rest of the sample was labelled
        (:class:`clip2scene.datasets.label_layer.Relabelled`), which is kept whole.
        """
        subset = self.subset
        if subset is None:
            return None
        if self.corrections is not None:
            subset = replace(subset, points=None)
        return LabelMask(subset, self.prompts.classes, self.recipe.labels.classes)

    @property
    def knows_words(self) -> bool:
        """Whether its text head was ever trained: on pseudo-labels, on labels, or before."""
        trained = self.recipe.supervision == "label-free" or self.recipe.tuning.head == "words"
        return trained or self.sources.began_with_words

    @property
    def temperature(self) -> float:
        """What its logits are divided by to make scores (:mod:`clip2scene.inference.confidence`).

        1 where none was fitted, as for runs of earlier versions and those that are trained on labels.
        """
        path = self.folder / CONFIDENCE
        return float(read_run_json(path)["temperature"]) if path.exists() else 1.0

    @property
    def class_mapping(self) -> ClassMapping:
        """From the train ids of the prompt classes to those of the evaluation classes."""
        return self.mapping_to(build.evaluation_classes(self.recipe.data, self.folder))

    def mapping_to(self, classes: ClassSet) -> ClassMapping:
        """Map the prompt classes to the classes of any data set, train id to train id.

        Raises:
            ValueError: If ``prompts.json`` was changed, or it is not known what a prompt class is in these.
        """
        prompted = build.prompt_classes(self.recipe.data, self.folder)
        of_prompted = map_classes(prompted, classes)
        foreign = [name for name in self.prompts.classes if name not in prompted.classes]
        if foreign:
            raise ValueError(
                f"{self.folder / 'prompts.json'} names the class {foreign[0]!r}, but its recipe has "
                f"{', '.join(prompted.classes)}; restore it"
            )
        return ClassMapping(
            classes.classes, of_prompted[[prompted.classes.index(name) for name in self.prompts.classes]]
        )

    @property
    def text_weights(self) -> str | None:
        """What opens its text space once more, as :func:`clip2scene.pretrain` takes it.

        Raises:
            ValueError: If it is a stranger's run that names a model outside of its folder.
        """
        words = self.folder / WORDS
        if words.exists():
            return str(words)
        require_trust(self.folder, self.sources)
        return self.sources.teacher_weights

    def text_space(self, *, named_by_user: bool = False) -> TextSpace:
        """Open the text encoder of its teacher.

        Args:
            named_by_user: Whether the user has named that model beside the run, so that it may be opened.

        Raises:
            ValueError: If the image-text model is not where it was, or has changed, or the run is one of a
                stranger (:mod:`clip2scene.runs.trust`).
        """
        if (self.folder / WORDS).exists():
            return read_text_table(self.folder / WORDS)
        return load_clip(self.teacher_weights(named_by_user=named_by_user) or build_teacher.SMALL_CLIP)

    def teacher_weights(self, *, named_by_user: bool = False) -> str | None:
        """Name the teacher's files, which may be opened and are what they were; None is the small model.

        Args:
            named_by_user: As for :meth:`text_space`.

        Raises:
            ValueError: As :meth:`text_space`.
        """
        weights = self.sources.teacher_weights
        if not named_by_user:
            require_trust(self.folder, self.sources)
        if build_teacher.hash_teacher(weights) != self.sources.teacher_hash:
            what = "segmenter" if self.recipe.teacher.kind == "segmenter" else "image-text model"
            raise ValueError(
                f"the {what} in {weights or build_teacher.SMALL_CLIP} is not the one that {self.folder} "
                "was trained on; put that one back, or train anew"
            )
        return weights

    def new_student(self) -> Embedder:
        """Make the network with fresh weights: points in metres to ``points text`` embeddings."""
        return build.build_student(
            self.recipe,
            in_channels=self.sources.in_channels,
            text_channels=self.prompts.embeddings.shape[1],
            pixel_channels=self.sources.pixel_channels,
            num_classes=len(self.prompts.classes),
        )

    def student(self) -> Embedder:
        """Load the trained network in evaluation mode, in float32.

        Raises:
            ValueError: If there is no whole checkpoint.
        """
        chosen = self.folder / CHOSEN
        path = chosen if chosen.exists() else self.checkpoint_path
        weights = load_checkpoint(path).model
        try:
            with torch.device("meta"):  # a recipe that asks for a huge network is found out before it is made
                plan = self.new_student()
        except (RuntimeError, TypeError, OverflowError) as error:
            raise ValueError(
                f"{self.folder / 'recipe.json'} asks for a network that cannot be made "
                f"({str(error).splitlines()[0]}); restore it"
            ) from None
        check_fit(plan, weights, path)
        student = self.new_student()
        load_weights(student, weights, path)
        return student.eval()

    @property
    def corrections(self) -> str | None:
        """Hash of the labels by hand, and of the rest, that it is trained on; None without labels by hand."""
        path = self.folder / LABELS
        return read_run_json(path).get(CORRECTIONS) if path.exists() else None

    def labels_used(self) -> dict[str, str]:
        """Name the samples whose labels it, or what it began with, was trained on, by their points' hashes.

        See :func:`clip2scene.io.hash_points`.
        """
        path = self.folder / LABELS
        labels = read_run_json(path) if path.exists() else {}
        return dict(labels.get(LABELS_USED, {}))

    def note_labels_used(self, paths: Sequence[Path]) -> None:
        """Add samples that are trained on to ``labels.json``, each under the hash of its points."""
        labels, before = read_run_json(self.folder / LABELS), self.labels_used()
        used = before | {cloud: token for token, cloud in hash_clouds(paths).items() if cloud not in before}
        if used != labels.get(LABELS_USED):
            write_json(self.folder / LABELS, labels | {LABELS_USED: used})

    def log(self, **values: float | int) -> None:
        """Append a line to the log: the step, the loss and its terms, seconds.

        Raises:
            ValueError: If the disk is full.
        """
        path = self.folder / "log.jsonl"
        with telling_of_a_full_disk(path), path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(values) + "\n")

    def mend_log(self) -> None:
        """Cut off a last line of the log that a full disk or a kill has left without its end."""
        path = self.folder / "log.jsonl"
        if not path.exists():
            return
        with path.open("r+b") as log:
            whole = log.read().rfind(b"\n") + 1
            log.truncate(whole)


def require_same_supervision(built_on: Run, recipe: Recipe, option: str) -> None:
    """Refuse to build on a run whose teacher was trained on labelled images, where a recipe hides that.

    Args:
        built_on: What gives pseudo-labels or initial weights.
        recipe: Of what is trained without labels of points.
        option: That names the run, for the message.

    Raises:
        ValueError: If the recipe claims to do without labels of images.
    """
    if built_on.recipe.teacher.trained_on_2d_labels and not recipe.teacher.trained_on_2d_labels:
        raise ValueError(
            f"{option}: the teacher of {built_on.folder} was trained on labelled images, so what is built on "
            "it is not free of 2D labels either; set --teacher.trained-on-2d-labels"
        )


def open_run(folder: Path | str) -> Run:
    """Open a run's folder.

    Args:
        folder: What ``pretrain`` or ``finetune`` wrote; or ``builtin``, the student in the package.

    Raises:
        ValueError: If it is no run, or a part of it is missing or damaged.
    """
    folder = run_folder(folder)
    if not (folder / "recipe.json").exists():
        raise ValueError(f"{folder} is not a run: it has no recipe.json; name a folder that pretrain wrote")
    return Run(folder, read_recipe(folder), load_prompts(folder), Sources.read(folder))


def save_prompts(folder: Path, prompts: Prompts) -> None:
    """Write the prompts with their text embeddings, so that a run predicts without a text encoder."""
    write_json(folder / "prompts.json", {"classes": prompts.classes, "names": prompts.names})
    tensors = {"class_of_name": prompts.class_of_name, "embeddings": prompts.embeddings.contiguous()}
    with write_atomically(folder / "prompts.safetensors") as temporary:
        save_file(tensors, temporary)


def load_prompts(folder: Path) -> Prompts:
    """Read what :func:`save_prompts` wrote: embeddings ``Float[Tensor, "names channels"]``, unit vectors.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    named, path = read_run_json(folder / "prompts.json"), folder / "prompts.safetensors"
    classes, names = tuple(named["classes"]), tuple(named["names"])
    try:
        tensors = load_file(regular_file(path))
        class_of_name, embeddings = tensors["class_of_name"], tensors["embeddings"]
    except (ValueError, OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"the prompts of run {folder} cannot be read ({error}); train it anew") from None
    require_finite({"embeddings": embeddings}, path)
    whole = (
        class_of_name.dtype == torch.int64
        and set(class_of_name.tolist()) == set(range(len(classes)))
        and embeddings.is_floating_point()
        and embeddings.shape[:1] == class_of_name.shape == (len(names),)
        and len(set(classes)) == len(classes) > 0
    )
    if not whole:
        raise ValueError(f"{folder / 'prompts.json'} and {path.name} do not belong together; restore both")
    return Prompts(classes, names, class_of_name, embeddings)
