"""Evaluation of a small CLIP on towns that it was not trained on: dense logits, and single views."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from clip2scene.classes.tables import NUSCENES, TOYTOWN
from clip2scene.evaluation.metrics import Confusion
from clip2scene.teacher.clip.load import Clip, load_clip
from clip2scene.teacher.maskclip import NEAR_AND_FAR, MaskClip
from clip2scene.teacher.prompts import TOYTOWN_TEMPLATES, embed_prompts
from clip2scene.toytown.clip.captions import centred_views
from clip2scene.toytown.sensors import camera_rig, render_camera
from clip2scene.toytown.town.world import build_town
from clip2scene.types import IGNORE_LABEL, Prompts

FIRST_HELD_OUT_TOWN = 1_900_000
"""Training renders towns below 1,000,000; the demo drives through those from there on; none reaches this."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out pictures with true labels, for evaluation alone.

    Attributes:
        classes: The classes, in the order of train ids.
        names: Names to prompt each class with.
        views: Views of one thing each.
        view_labels: Train id of that thing.
        images: Whole camera images.
        labels: Train id of each pixel, or ``IGNORE_LABEL``.
    """

    classes: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    views: UInt8[Tensor, "views side side 3"]
    view_labels: Int[Tensor, " views"]
    images: UInt8[Tensor, "images height width 3"]
    labels: Int[Tensor, "images height width"]


def evaluate_small_clip(weights: Path | str) -> dict[str, float]:
    """Evaluate a model on 20 held-out towns.

    Returns:
        Fractions in 0..1 by name; see :func:`evaluate_clip`.
    """
    return evaluate_clip(load_clip(weights), hold_out(num_towns=20, views_per_class=50))


def evaluate_clip(clip: Clip, held_out: HeldOut) -> dict[str, float]:
    """Evaluate zero-shot classification of views and dense prediction on held-out towns.

    Returns:
        Fractions in 0..1: ``views <class>`` and ``views accuracy`` of :func:`evaluate_views`;
        ``dense <class>``, ``dense miou`` and ``dense accuracy`` of :func:`evaluate_dense` at the images' own
        size, through windows of the size that the model was trained on; ``whole ...`` the same without
        windows; ``scales ...`` without windows at three scales, averaged.
    """
    prompts = embed_prompts(clip, held_out.classes, held_out.names, TOYTOWN_TEMPLATES)
    images, labels = held_out.images, held_out.labels
    scores = {
        "views": evaluate_views(clip, held_out.views, held_out.view_labels, prompts),
        "dense": evaluate_dense(clip, images, labels, prompts, window=clip.image_size),
        "whole": evaluate_dense(clip, images, labels, prompts),
        "scales": evaluate_dense(clip, images, labels, prompts, scales=NEAR_AND_FAR),
    }
    return {f"{kind} {name}": value for kind, some in scores.items() for name, value in some.items()}


def evaluate_dense(
    clip: Clip,
    images: UInt8[Tensor, "images height width 3"],
    labels: Int[Tensor, "images height width"],
    prompts: Prompts,
    *,
    scales: tuple[float, ...] = (1.0,),
    window: int | None = None,
) -> dict[str, float]:
    """Evaluate MaskCLIP's raw dense prediction per pixel.

    Args:
        clip: The model.
        images: Pictures of one size.
        labels: Train id of each pixel; ``IGNORE_LABEL`` is not evaluated.
        prompts: Text embeddings of the classes.
        scales: See :class:`~clip2scene.teacher.maskclip.MaskClip`; by default the images' own.
        window: See there; by default the whole image at once.

    Returns:
        IoU (a fraction) of each class that is present, by name; their mean as ``miou``; ``accuracy``.
    """
    teacher, confusion = MaskClip(clip, scales=scales, window=window), Confusion(len(prompts.classes))
    for image, truth in zip(images, labels, strict=True):
        names = teacher.embed_images([image]).label_map(0, prompts.embeddings)
        confusion.update(prompts.class_of_name[names].flatten(), truth.flatten())
    scores = confusion.scores(prompts.classes)
    present = {name: iou for name, iou in scores.iou.items() if not math.isnan(iou)}
    return {**present, "miou": scores.miou, "accuracy": scores.accuracy}


def evaluate_views(
    clip: Clip, views: UInt8[Tensor, "views side side 3"], labels: Int[Tensor, " views"], prompts: Prompts
) -> dict[str, float]:
    """Zero-shot classification: the fraction of views whose own class has the highest logit.

    Only the classes that some view is of take part: the ground that a thing stands on is in its view too, and
    naming it would be no mistake.

    Returns:
        The fraction for each class by name, and ``accuracy`` over all views.
    """
    present = labels.unique().tolist()
    logits = prompts.class_logits(clip.encode_image(views))[:, present]
    hits = logits.argmax(1) == torch.searchsorted(labels.unique(), labels)
    right = {prompts.classes[label]: float(hits[labels == label].float().mean()) for label in present}
    return {**right, "accuracy": float(hits.float().mean())}


def hold_out(*, num_towns: int, views_per_class: int) -> HeldOut:
    """Render six camera images of 400 x 224 pixels in each of some held-out towns, and views of things."""
    toytown_of_nuscenes = torch.full((len(NUSCENES) + 1,), IGNORE_LABEL)
    for train_id, name in enumerate(TOYTOWN.classes):
        toytown_of_nuscenes[NUSCENES.classes.index(name)] = train_id
    images, labels = [], []
    for number in range(num_towns):
        town = build_town(FIRST_HELD_OUT_TOWN + number)
        time_s = 0.5 * town.duration_s
        snapshot, world_from_ego = town.at(time_s), town.world_from_ego(time_s)
        for camera in camera_rig(400, 224):
            pose = world_from_ego @ camera.ego_from_camera
            rng = np.random.default_rng(number)
            render = render_camera(snapshot, pose, camera.intrinsics, camera.width, camera.height, rng)
            images.append(torch.from_numpy(render.rgb))
            labels.append(toytown_of_nuscenes[torch.from_numpy(render.labels).long()])
    views, view_labels = centred_views(FIRST_HELD_OUT_TOWN + num_towns, views_per_class)
    return HeldOut(
        classes=TOYTOWN.classes,
        names=TOYTOWN.prompts,
        views=torch.from_numpy(views),
        view_labels=toytown_of_nuscenes[torch.from_numpy(view_labels).long()],
        images=torch.stack(images),
        labels=torch.stack(labels),
    )
