"""Opening a run's data and teacher once more, and lifting pseudo-labels for it."""

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from clip2scene import build, build_teacher
from clip2scene.build import Experiment
from clip2scene.config import Recipe, TeacherConfig, to_dict
from clip2scene.config.teacher import LATER
from clip2scene.datasets.dataset import count_images, stamp_files
from clip2scene.datasets.drives import find_drives, have_poses
from clip2scene.datasets.label_layer import Relabelled
from clip2scene.datasets.label_subset import Chosen, LabelMask
from clip2scene.distill.consolidate import consolidate_split
from clip2scene.distill.fuse import fuse_split
from clip2scene.distill.lift import LiftOptions, lift_split
from clip2scene.runs.also import open_others, trust_teachers
from clip2scene.runs.folder import LIFTED
from clip2scene.runs.run import Run
from clip2scene.runs.trust import require_trust
from clip2scene.teacher.backbone import ImageBackbone
from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.class_table import read_class_table
from clip2scene.teacher.cost import cost_of
from clip2scene.teacher.kept_maps import TeacherCache, open_maps
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.types import Samples

AFTERWARDS = ("consolidate", "place_size", "least_share", "also")
"""The teacher's settings that come after lifting: with others, samples need not be lifted anew."""

_log = logging.getLogger(__name__)


def reopen(
    run: Run,
    data_root: Path,
    *,
    split: str,
    labels: bool | Collection[str] = False,
    named_by_user: bool = True,
) -> Experiment:
    """Open a split for a run, and the teacher where it labels pixels there.

    To be evaluated, a student gets what it would get in use: the points of the keyframe alone, unless its
    sweeps are merged. It can be evaluated without its teacher, where there are no images.

    Args:
        run: What was or is trained.
        data_root: The data set.
        split: Which of its splits; "train" is trained on.
        labels: Whether to read labels, or those of which samples.
        named_by_user: Whether the user names the run's teacher beside it where the run is trained.

    Raises:
        ValueError: If the data are unfit or have other classes, or the teacher or the backbone has changed.
    """
    recipe, training, root = run.recipe, split == "train", Path(data_root)
    label_free = training and recipe.supervision == "label-free"
    sweeps = recipe.data.sweeps if training else recipe.data.seen_sweeps
    dataset = build.open_dataset(
        recipe.data, root, split=split, labels=labels, sweeps=sweeps, need_images=label_free
    )
    classes = build.evaluation_classes(recipe.data, run.folder).classes
    if labels and dataset.class_set.classes != classes:
        raise ValueError(
            f"{root} has the classes {', '.join(dataset.class_set.classes)}, but {run.folder} was trained to "
            f"be evaluated in {', '.join(classes)}; name data with those, or train anew"
        )
    with_teacher = label_free or (not training and count_images(dataset) > 0)
    with_backbone = training and recipe.loss.backbone is not None
    # The call that goes on with a run has named its teacher: check_folder compares them.
    named_by_user = named_by_user and training
    space = run.text_space(named_by_user=named_by_user) if with_teacher or with_backbone else None
    teacher, backbone = None, None
    if with_teacher:
        assert space is not None
        weights = None
        if recipe.teacher.kind == "segmenter":
            weights = run.teacher_weights(named_by_user=named_by_user)
        teacher = build_teacher.build_teacher(_teacher_of(run), space, run.prompts, dataset, weights)
    if with_backbone:
        assert space is not None
        backbone = _open_backbone(run, build_teacher.build_backbone(recipe.loss, space))
    return Experiment(recipe, root, split, dataset, bool(labels), run.prompts, teacher, backbone, space)


def stamp_inputs(experiment: Experiment) -> str:
    """Hash names, sizes and times of change of the files that a run without labels depends on."""
    maps = experiment.recipe.teacher.kind == "label-maps" and experiment.recipe.supervision == "label-free"
    files = experiment.dataset.input_files(labels=False, class_maps=maps)
    stamp, table = stamp_files(experiment.data_root, files), _class_table(experiment.recipe)
    return stamp if table is None else hashlib.sha256(json.dumps([stamp, table]).encode()).hexdigest()[:32]


def _class_table(recipe: Recipe) -> dict[str, str | None] | None:
    """Read the user's class table, if the recipe names one: its content counts, not where it lies."""
    path = recipe.teacher.class_table
    return None if path is None or recipe.supervision == "labels" else read_class_table(path)


def _teacher_of(run: Run) -> TeacherConfig:
    """Give a run's teacher with its proxy where it lies, and refuse one that has changed."""
    teacher = replace(run.recipe.teacher, proxy=run.sources.proxy or run.recipe.teacher.proxy)
    if build_teacher.hash_proxy(teacher) != run.sources.proxy_hash:
        raise ValueError(
            f"the proxy in {teacher.proxy} is not the one that the teacher of {run.folder} had; put that one "
            "back, or train anew"
        )
    return teacher


def _open_backbone(run: Run, backbone: ImageBackbone | None) -> ImageBackbone | None:
    """Refuse an image backbone that is not the one a run was trained with."""
    if build_teacher.hash_backbone(run.recipe.loss) != run.sources.backbone_hash:
        raise ValueError(
            f"the image backbone in {run.recipe.loss.backbone} is not the one that {run.folder} was "
            "trained on; put that one back, or train anew"
        )
    return backbone


def lift_run(
    run: Run,
    experiment: Experiment,
    *,
    into: Path | None = None,
    teacher_cache: TeacherCache | Path | str | None = None,
    tokens: Sequence[str] | None = None,
) -> list[Path]:
    """Lift the teacher's pseudo-labels from pixels onto the points of a split, or find them lifted already.

    Those of several teachers are fused. Those that are trained on are consolidated over their drives, if the
    recipe says so and all are asked for.

    Args:
        run: Whose.
        experiment: The split and the teacher.
        into: Folder to keep them in, which other runs may share, and with them the teacher's features of each
            image; by default the run's own, without the latter.
        teacher_cache: Folder or store of the teacher's features of each image.
        tokens: Names of the samples; all if left out.

    Returns:
        A file a sample, with the train id of each target point.

    Raises:
        ValueError: If a sample is bad, teachers do not fit each other, or consolidation lacks poses.
    """
    settings = run.recipe.teacher
    trained_on = experiment.split == "train" and experiment.teacher is not None and tokens is None
    drives = find_drives(experiment.dataset) if trained_on and settings.consolidate else {}
    paths = _lift_teachers(run, experiment, into, teacher_cache, tokens)
    if not drives:
        return paths
    options = build_teacher.consolidate_options(settings)
    return consolidate_split(drives, paths, viewpoint=_viewpoint(experiment), options=options)


def _viewpoint(experiment: Experiment) -> tuple[float, float, float]:
    return experiment.dataset.viewpoint or (0.0, 0.0, 0.0)


def _lift_teachers(
    run: Run,
    experiment: Experiment,
    into: Path | None,
    teacher_cache: TeacherCache | Path | str | None,
    tokens: Sequence[str] | None,
) -> list[Path]:
    """Lift the pseudo-labels of a run's own teacher and, where it has more, fuse them with the others'."""
    own = _lift_own(run, experiment, into, teacher_cache, tokens)
    if experiment.teacher is None or not run.recipe.teacher.also:
        return own
    if not run.sources.also:
        _log.warning("note: %s was packed without its other teachers; its own labels alone", run.folder)
        return own
    training = experiment.split == "train"
    if not training:
        require_trust(run.folder, run.sources)
    others = open_others(run.sources.also, run.recipe, run.prompts)
    paths_of = [own]
    for other in others:
        opened = reopen(other, experiment.data_root, split=experiment.split, named_by_user=False)
        opened = opened.to(experiment.device)
        same = experiment.dataset.tokens if tokens is None else tokens
        paths_of.append(_lift_teachers(other, opened, None, teacher_cache, same))
    whole = tokens is None and have_poses(experiment.dataset)
    weights = trust_teachers(
        run,
        others,
        paths_of,
        find_drives(experiment.dataset) if whole else {},
        viewpoint=_viewpoint(experiment),
        training=training and tokens is None,
    )
    return fuse_split(paths_of, weights, precision=run.recipe.teacher.precision)


def _lift_own(
    run: Run,
    experiment: Experiment,
    into: Path | None,
    teacher_cache: TeacherCache | Path | str | None,
    tokens: Sequence[str] | None,
) -> list[Path]:
    """Lift the pseudo-labels of a run's own teacher."""
    teacher, announce = experiment.teacher, None
    samples: Samples = experiment.dataset if tokens is None else Chosen(experiment.dataset, tokens)
    if experiment.layers is not None:
        classes = run.prompts.classes
        assert run.subset is not None
        keep = LabelMask(run.subset, classes, run.recipe.labels.classes)
        samples = Relabelled(samples, experiment.layers, classes, keep, experiment.rest)
    if isinstance(teacher, MaskClip):
        cache = teacher_cache or (into and into / "looks")
        weights_hash = run.sources.teacher_hash + run.sources.proxy_hash
        teacher = CachedTeacher(teacher, weights_hash, open_maps(cache), run.recipe.teacher.precision)
        announce = partial(_say_cost, teacher, samples)
    options = LiftOptions(
        build.pairing_options(run.recipe.data),
        experiment.dataset.viewpoint,
        run.recipe.teacher.superpoint_vote,
        run.recipe.keep if experiment.split == "train" else "classes",
        run.recipe.teacher.precision,
        _sources(run, experiment),
        build_teacher.build_refinement(run.recipe.teacher),
    )
    return lift_split(
        samples,
        teacher,
        run.prompts,
        (into or run.folder / LIFTED) / experiment.split,
        options=options,
        backbone=experiment.backbone,
        announce=announce,
        alone=experiment.device.type != "cpu",
    )


def _say_cost(teacher: CachedTeacher, samples: Samples, missing: Sequence[int]) -> None:
    """Say what a long forward pass of the teacher will take, before it begins."""
    cost = cost_of(teacher, samples, missing)
    if cost is not None:
        _log.warning("note: %s", cost)


def _sources(run: Run, experiment: Experiment) -> dict[str, Any]:
    """Name the data and the teacher: what decides pseudo-labels beside the options."""
    data, dataset = run.recipe.data, experiment.dataset
    class_maps = experiment.teacher is not None and run.recipe.teacher.kind == "label-maps"
    files = dataset.input_files(labels=experiment.with_labels, class_maps=class_maps)
    settings, usual = (to_dict(each)["teacher"] for each in (run.recipe, Recipe("usual")))
    sources = {
        "teacher": {
            name: value
            for name, value in settings.items()
            if name not in AFTERWARDS and (name not in LATER or value != usual[name])
        },
        "teacher_hash": run.sources.teacher_hash,
        "data_root": str(experiment.data_root.resolve()),
        "sweeps": data.sweeps if experiment.split == "train" else data.seen_sweeps,
        "with_labels": experiment.with_labels,
        "inputs": stamp_files(experiment.data_root, files),
        "num_images": count_images(dataset),  # once missing ones are restored, the teacher shall use them
    }
    if experiment.with_labels:  # labels are numbers of these classes
        ids = sorted(dataset.class_set.train_id_of_raw.items())
        sources["classes"] = [list(dataset.class_set.classes), ids]
    if experiment.layers is not None:
        sources["layers"] = experiment.by_hand
        if run.subset is not None and run.subset.points is not None:
            sources["points"] = run.subset.fingerprint
    table = None if experiment.teacher is None else _class_table(run.recipe)
    if table is not None:
        sources["class_table"] = table
    if run.sources.proxy is not None:
        sources["proxy_hash"] = run.sources.proxy_hash
    if experiment.backbone is not None:
        sources |= {"backbone": run.recipe.loss.backbone, "backbone_hash": run.sources.backbone_hash}
    return sources
