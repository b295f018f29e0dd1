"""The small CLIP that ships with the package: how it was made, and how good it is."""

from pathlib import Path

import numpy as np
import torch

from clip2scene.classes.tables import NUSCENES, TOYTOWN
from clip2scene.teacher.clip.load import load_clip
from clip2scene.toytown.clip.captions import caption_views, centred_views
from clip2scene.toytown.clip.pretrain_clip import HeldOut, judge, pretrain_clip
from clip2scene.toytown.sensors import camera_rig, render_camera
from clip2scene.toytown.town.world import build_town
from clip2scene.types import IGNORE_LABEL

FIRST_HELD_OUT_TOWN = 1_900_000
"""Training paints towns below 1,000,000; the demo drives through those from there on; none reaches this."""


def train_small_clip(out: Path, *, steps: int, seed: int = 0) -> dict[str, float]:
    """Train the small CLIP from scratch on captioned views of toytown; takes up an interrupted run.

    Args:
        out: Folder for the model.
        steps: Optimiser steps of 256 views.
        seed: Fixes weights and views.

    Returns:
        What :func:`evaluate_small_clip` returns, on fewer pictures.
    """
    return pretrain_clip(
        out, caption_views, hold_out(num_towns=4, views_per_class=20), steps=steps, seed=seed
    )


def evaluate_small_clip(weights: Path | str) -> dict[str, float]:
    """Judge a model on towns that training never saw: dense answers per pixel, and single things.

    Returns:
        Fractions by name; see :func:`~clip2scene.toytown.clip.pretrain_clip.judge`.
    """
    return judge(load_clip(weights), hold_out(num_towns=20, views_per_class=50))


def hold_out(*, num_towns: int, views_per_class: int) -> HeldOut:
    """Take six camera images in each of some held-out towns, and views of single things."""
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
            seen = render_camera(snapshot, pose, camera.intrinsics, camera.width, camera.height, rng)
            images.append(torch.from_numpy(seen.rgb))
            labels.append(toytown_of_nuscenes[torch.from_numpy(seen.labels).long()])
    views, view_labels = centred_views(FIRST_HELD_OUT_TOWN + num_towns, views_per_class)
    return HeldOut(
        classes=TOYTOWN.classes,
        names=TOYTOWN.prompts,
        views=torch.from_numpy(views),
        view_labels=toytown_of_nuscenes[torch.from_numpy(view_labels).long()],
        images=torch.stack(images),
        labels=torch.stack(labels),
    )
