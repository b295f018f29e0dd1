"""Teach a 3D network to see in words, without 3D labels.

The names below are the public interface; each is imported when it is first asked for.
"""

from importlib import import_module

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
