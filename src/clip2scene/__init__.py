"""Teach a 3D network to see in words, without 3D labels.

The names below are the public interface; each is imported when it is first asked for.
"""

import os
from importlib import import_module

# Clouds have another number of points at every step, so most matrix products have shapes that never come
# back. For each shape, oneDNN and torch's bridge to it keep what they prepared, the last 1024 each: several
# GB. Both read their limits from the environment, when they first multiply.
for _limit in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_limit, "16")

_HOME = {
    "Segmenter": "inference.segmenter",
    "read_cloud": "datasets.clouds",
    "write_ply": "datasets.clouds",
    "pretrain": "training.train",
    "RECIPES": "recipes",
    "NuScenes": "datasets.nuscenes.loader",
    "PandaSet": "datasets.pandaset.loader",
    "SemanticKitti": "datasets.kitti.semantic",
    "write_nuscenes": "toytown.writers.layouts",
    "load_clip": "teacher.clip.load",
    "MaskClip": "teacher.maskclip",
    "project_points": "geometry.projection",
    "drop_occluded": "geometry.projection",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - the names of the table above


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    if name not in _HOME:
        raise AttributeError(f"module 'clip2scene' has no attribute {name!r}")
    return getattr(import_module(f"clip2scene.{_HOME[name]}"), name)
