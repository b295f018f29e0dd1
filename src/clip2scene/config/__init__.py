"""Every knob, as frozen dataclasses that refuse bad values when they are made.

Paths are never here: they are arguments. What lies on the floors below takes plain keyword arguments, or
small frozen dataclasses of its own; :mod:`clip2scene.build` turns one into the other.
"""

from clip2scene.config.data import DataConfig, Layout
from clip2scene.config.labels import LabelsConfig, TuningConfig
from clip2scene.config.losses import ConsistencyConfig, LossConfig, SelfTrainingConfig
from clip2scene.config.recipe import Recipe, flat_settings, from_dict, to_dict
from clip2scene.config.student import AugmentConfig, Network, OptimiserConfig, StudentConfig
from clip2scene.config.teacher import TeacherConfig

__all__ = [
    "AugmentConfig",
    "ConsistencyConfig",
    "DataConfig",
    "LabelsConfig",
    "Layout",
    "LossConfig",
    "Network",
    "OptimiserConfig",
    "Recipe",
    "SelfTrainingConfig",
    "StudentConfig",
    "TeacherConfig",
    "TuningConfig",
    "flat_settings",
    "from_dict",
    "to_dict",
]
