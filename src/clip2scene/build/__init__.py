"""The door where settings stop: recipes go in, objects come out."""

from clip2scene.build.data import (
    OWN_CALIBRATION,
    OWN_CLASSES,
    DataSet,
    build_dataset,
    choose_labels,
    count_images,
    evaluation_classes,
    keep_own_files,
    own_calibration,
    prompt_classes,
    require_labels,
    scenes_of,
)
from clip2scene.build.inputs import stamp_inputs
from clip2scene.build.student import build_optimiser, build_student, learning_rate
from clip2scene.build.teacher import (
    SMALL_CLIP,
    build_backbone,
    build_mask_clip,
    build_prompts,
    build_teacher,
    hash_backbone,
    hash_teacher,
    names_of,
    open_text_space,
    place_words,
)
from clip2scene.distill.losses.objective import Objective

__all__ = [
    "OWN_CALIBRATION",
    "OWN_CLASSES",
    "SMALL_CLIP",
    "DataSet",
    "Objective",
    "build_backbone",
    "build_dataset",
    "build_mask_clip",
    "build_optimiser",
    "build_prompts",
    "build_student",
    "build_teacher",
    "choose_labels",
    "count_images",
    "hash_backbone",
    "hash_teacher",
    "evaluation_classes",
    "keep_own_files",
    "own_calibration",
    "learning_rate",
    "names_of",
    "open_text_space",
    "place_words",
    "require_labels",
    "scenes_of",
    "prompt_classes",
    "stamp_inputs",
]
