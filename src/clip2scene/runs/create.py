"""Beginning a run: everything is checked and written down before the first step."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from clip2scene import build, build_teacher
from clip2scene.build import Experiment, Rest
from clip2scene.config import Recipe, to_dict
from clip2scene.datasets import LOADERS
from clip2scene.datasets.label_layer import open_layers
from clip2scene.io import hash_files, write_atomically, write_json
from clip2scene.runs.also import open_others
from clip2scene.runs.checkpoint import versions
from clip2scene.runs.first_round import FirstRound
from clip2scene.runs.folder import (
    CORRECTIONS,
    LABELS,
    LABELS_USED,
    START,
    WORDS,
    announce,
    check_folder,
    clear_half_started,
    finish,
    has_trained,
    resolve_weights,
)
from clip2scene.runs.init_weights import InitWeights, initial_student, suit_start
from clip2scene.runs.mixture import require_labels_alike, require_same_sources
from clip2scene.runs.reopen import reopen, stamp_inputs
from clip2scene.runs.run import Run, open_run, save_prompts
from clip2scene.runs.sources import Sources
from clip2scene.runs.training_clouds import CLOUDS, keep_statistics, say
from clip2scene.runs.trust import with_seal
from clip2scene.teacher.segmenter import SegmenterTeacher
from clip2scene.teacher.text_table import TextTable


def create_or_resume(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None = None,
    start: InitWeights | None = None,
    first: FirstRound | None = None,
    corrections: Path | None = None,
    rest: Rest | None = None,
) -> tuple[Run, Experiment]:
    """Make a run's folder, or open the one that an interrupted call left; and all that it is trained on.

    Args:
        recipe: What is trained.
        data_root: The data set.
        out: The folder.
        teacher_weights: As :func:`clip2scene.pretrain` takes them.
        start: Weights to begin with; None begins from chance.
        first: The run that a second round takes its pseudo-labels from; None takes the teacher's.
        corrections: Folder of labels by hand, in the place of the data set's; for a recipe with labels.
        rest: What labels the other points of the same samples; None leaves them out.

    Returns:
        The run, and its train split with the teacher, or with the labels that it may use.

    Raises:
        ValueError: If the folder holds something else, or a run of another recipe, teacher or data set, with
            other initial weights or other labels, or of files that have changed since; or if the data, the
            teacher or the weights are unfit.
    """
    if not check_folder(out, recipe, data_root=data_root, teacher_weights=teacher_weights):
        try:
            experiment = build.open_experiment(recipe, Path(data_root), teacher_weights)
            experiment = _with_corrections(experiment, corrections, rest)
            return _create(experiment, out, teacher_weights, start, first)
        except BaseException:  # what was refused, or stopped, leaves nothing half done
            clear_half_started(out)
            raise
    run = open_run(out)
    require_same_sources(run, Path(data_root))
    if start is not None:
        start = suit_start(start, recipe, run.prompts, run.sources.text_space)
    before = None if run.sources.init is None else run.sources.init["sha256"]
    if before != (None if start is None else start.about()["sha256"]):
        raise ValueError(
            f"{out} holds a run that began with other weights; name the same start, or give another --out"
        )
    made_by = None if run.sources.second_round is None else run.sources.second_round["sha256"]
    if made_by != (None if first is None else first.sha256):
        raise ValueError(
            f"{out} holds a run with pseudo-labels of another first round; name the same run as "
            "--second-round, or give another --out"
        )
    subset = run.subset
    labels = False if subset is None or run.corrections is not None else subset.tokens
    experiment = reopen(run, data_root, split="train", labels=labels)
    experiment = _with_corrections(experiment, corrections, rest)
    if run.corrections != experiment.by_hand:
        raise ValueError(
            f"{out} holds a run that was trained on other labels by hand, on other answers of the start for "
            "the rest, or on the data set's own labels; give another --out for those that are named now"
        )
    inputs = stamp_inputs(experiment)
    if run.sources.inputs not in ("", inputs):
        run = _renew(run, inputs, data_root)
    keep_statistics(out, experiment.dataset)  # runs of earlier versions have none
    return run, experiment


def _renew(run: Run, inputs: str, data_root: Path) -> Run:
    """Take the data as they are now for a run in which nothing was trained; refuse to go on with any other.

    Args:
        run: What was begun on other files.
        inputs: Hash of those that lie there now.
        data_root: For the message.
    """
    out = run.folder
    if has_trained(out):
        raise ValueError(
            f"{out} was trained on other clouds, images or tables than lie in {data_root} now: files were "
            f"changed, added or removed since, so nothing was done; give another --out, or delete {out}, to "
            "train on these; if they were only copied, take 'inputs' out of its sources.json"
        )
    (out / CLOUDS).unlink(missing_ok=True)
    sources = replace(run.sources, inputs=inputs)
    sources.write(out)
    return replace(run, sources=sources)


def _create(
    experiment: Experiment,
    out: Path,
    teacher_weights: str | None,
    start: InitWeights | None,
    first: FirstRound | None,
) -> tuple[Run, Experiment]:
    """Check what is trained on, and write the folder; ``recipe.json`` comes last."""
    recipe, start = experiment.recipe, _suited(start, experiment)
    if first is not None:
        first.check(experiment)
    _check_words(recipe, start, experiment.prompts.classes)
    if recipe.supervision == "label-free":
        open_others(recipe.teacher.also, recipe, experiment.prompts)
    own_files = LOADERS[recipe.data.layout].own_files
    announce(
        out, ["prompts.json", "prompts.safetensors", "sources.json", LABELS, START, WORDS, CLOUDS, *own_files]
    )
    if recipe.supervision == "labels":
        experiment = _with_labels(experiment, out, start)
    if start is not None:
        with write_atomically(out / START) as temporary:
            save_file(dict(start.weights), temporary)
    build.keep_own_files(recipe.data, experiment.data_root, out)
    keep_statistics(out, experiment.dataset)
    save_prompts(out, experiment.prompts)
    sources = _sources_of(experiment, out, teacher_weights, start, first)
    sources.write(out)
    run = Run(out, recipe, experiment.prompts, sources)
    initial_student(run)  # weights that do not fit are refused before anything is trained
    write_json(out / "recipe.json", to_dict(recipe))
    finish(out)
    return run, experiment


def _with_labels(experiment: Experiment, out: Path, start: InitWeights | None) -> Experiment:
    """Choose the samples that are trained on, write down which, and open the data set's labels of these.

    Where there are labels by hand, the data set's own stay closed.
    """
    require_labels_alike(experiment.dataset)
    layers = experiment.layers
    among = None if layers is None or layers.everywhere else layers.paths
    subset = build.choose_labels(experiment.recipe, experiment.dataset, among)
    labels: dict[str, Any] = {"fingerprint": subset.fingerprint, "subset": asdict(subset)}
    if experiment.layers is None:
        experiment = experiment.labelled(subset.tokens)
    else:
        labels[CORRECTIONS] = experiment.by_hand
    write_json(out / LABELS, labels | {LABELS_USED: dict(start.labels_used) if start else {}})
    return experiment


def _with_corrections(experiment: Experiment, corrections: Path | None, rest: Rest | None) -> Experiment:
    """Find the labels by hand of a split, if a folder of them is named."""
    if corrections is None:
        return experiment
    everywhere = experiment.recipe.labels.rest == "everywhere"
    layers = open_layers(corrections, experiment.dataset.tokens, everywhere=everywhere)
    return replace(experiment, layers=layers, rest=rest)


def _suited(start: InitWeights | None, experiment: Experiment) -> InitWeights | None:
    """Take of initial weights what fits, and say what was left, and what fits though it differs.

    Raises:
        ValueError: If they do not fit, or were trained on clouds with other channels.
    """
    if start is None or start.run is None:
        return start
    channels, theirs = experiment.dataset[0].cloud.features.shape[1], start.run.sources.in_channels
    if channels != theirs:
        raise ValueError(
            f"{start.origin} was trained on clouds with {theirs} channels a point, and these have {channels};"
            " name another --start, or none"
        )
    space = getattr(experiment.space, "space", "")
    suited = suit_start(start, experiment.recipe, experiment.prompts, space)
    if start.knows_words and not suited.knows_words:
        say(f"only the backbone of {start.origin} is begun with: its text head is of another text space")
    voxels = start.run.recipe.student.voxel_size
    if voxels != experiment.recipe.student.voxel_size:
        say(f"{start.origin} was trained on voxels of {voxels} m; --student.voxel-size {voxels} keeps them")
    return suited


def _sources_of(
    experiment: Experiment,
    out: Path,
    teacher_weights: str | None,
    start: InitWeights | None,
    first: FirstRound | None,
) -> Sources:
    """Say where a run comes from; a table of text embeddings is kept in its folder."""
    space, backbone = experiment.space, experiment.backbone
    if isinstance(space, TextTable):
        space.save(out / WORDS)
    if isinstance(space, TextTable) and not isinstance(experiment.teacher, SegmenterTeacher):
        teacher_hash = hash_files(out, [out / WORDS])
    else:
        teacher_hash = build_teacher.hash_teacher(teacher_weights)
    teacher = experiment.recipe.teacher
    sources = Sources(
        inputs=stamp_inputs(experiment),
        teacher_weights=resolve_weights(teacher_weights),
        data_root=str(experiment.data_root.resolve()),
        num_samples=len(experiment.dataset.tokens),
        in_channels=experiment.dataset[0].cloud.features.shape[1],
        teacher_hash=teacher_hash,
        text_space=getattr(space, "space", ""),
        proxy=resolve_weights(teacher.proxy),
        proxy_hash=build_teacher.hash_proxy(teacher),
        also=tuple(str(Path(folder).resolve()) for folder in teacher.also),
        init=None if start is None else start.about(),
        second_round=None if first is None else first.about(),
        versions=versions(),
    )
    if sources.models_elsewhere:
        sources = with_seal(sources)
    if backbone is None:
        return sources
    loss = experiment.recipe.loss
    return replace(sources, pixel_channels=backbone.channels, backbone_hash=build_teacher.hash_backbone(loss))


def _check_words(recipe: Recipe, start: InitWeights | None, classes: tuple[str, ...]) -> None:
    """Refuse labels of unknown classes, and to keep, or to begin with, a text head that was never trained."""
    unknown = [name for name in recipe.labels.classes if name not in classes]
    if unknown:
        raise ValueError(
            f"--labels.classes names {unknown[0]!r}, expected some of {', '.join(classes)}; correct it"
        )
    tuning = recipe.tuning
    if start is not None and start.knows_words:
        return
    if tuning.keep_words:
        raise ValueError(
            "--tuning.keep-words needs a start with a trained text head; name a label-free run, or one that "
            "began with it, as --start, or set it to 0"
        )
    if recipe.supervision == "labels" and tuning.head == "classifier" and tuning.start == "words":
        raise ValueError(
            "--tuning.start words needs a start with a trained text head; name a label-free run, or one that "
            "began with it, as --start, or set it to random"
        )
