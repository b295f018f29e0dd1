"""Every knob, as frozen dataclasses that refuse bad values when they are made.

Paths are never here: they are arguments. ``build/`` is the only reader of these classes; what lies below
it takes plain keyword arguments.
"""

from clip2scene.config.data import DataConfig, Layout, TeacherConfig
from clip2scene.config.labels import LabelsConfig, TuningConfig
from clip2scene.config.losses import ConsistencyConfig, LossConfig, SelfTrainingConfig
from clip2scene.config.recipe import Recipe, from_dict, to_dict
from clip2scene.config.student import AugmentConfig, Network, OptimiserConfig, StudentConfig

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
    "from_dict",
    "to_dict",
]
