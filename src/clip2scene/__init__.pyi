from .classes.class_set import ClassSet
from .classes.tables import (
    CITYSCAPES,
    CLASS_SETS,
    NUSCENES,
    PANDASET,
    SCANNET,
    SCANNET_200,
    SEMANTIC_KITTI,
    TOYTOWN,
    TOYTOWN_KITTI,
)
from .config import (
    AugmentConfig,
    ConsistencyConfig,
    DataConfig,
    LabelsConfig,
    LossConfig,
    OptimiserConfig,
    Recipe,
    SelfTrainingConfig,
    StudentConfig,
    TeacherConfig,
    TuningConfig,
)
from .datasets import LOADERS
from .datasets.clouds import read_cloud, write_ply
from .datasets.dataset import Dataset
from .datasets.kitti.semantic import SemanticKitti
from .datasets.nuscenes.loader import NuScenes
from .datasets.pandaset.loader import PandaSet
from .evaluation.evaluate import evaluate
from .geometry.projection import drop_occluded, project_points
from .inference.segmenter import Segmenter
from .inference.stream import SegmenterStream, StreamOptions
from .recipes import RECIPES
from .runs.run import open_run
from .teacher.clip.load import load_clip
from .teacher.maskclip import MaskClip
from .toytown.writers.layouts import write_nuscenes
from .training.train import finetune, pretrain
from .types import Camera, PointCloud, Prompts, Sample

__all__ = [
    "CITYSCAPES",
    "CLASS_SETS",
    "LOADERS",
    "NUSCENES",
    "PANDASET",
    "RECIPES",
    "SCANNET",
    "SCANNET_200",
    "SEMANTIC_KITTI",
    "TOYTOWN",
    "TOYTOWN_KITTI",
    "AugmentConfig",
    "Camera",
    "ClassSet",
    "ConsistencyConfig",
    "DataConfig",
    "Dataset",
    "LabelsConfig",
    "LossConfig",
    "MaskClip",
    "NuScenes",
    "OptimiserConfig",
    "PandaSet",
    "PointCloud",
    "Prompts",
    "Recipe",
    "Sample",
    "Segmenter",
    "SegmenterStream",
    "SelfTrainingConfig",
    "SemanticKitti",
    "StreamOptions",
    "StudentConfig",
    "TeacherConfig",
    "TuningConfig",
    "drop_occluded",
    "evaluate",
    "finetune",
    "load_clip",
    "open_run",
    "pretrain",
    "project_points",
    "read_cloud",
    "write_nuscenes",
    "write_ply",
]
