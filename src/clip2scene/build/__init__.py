"""The door where settings stop: recipes go in, objects come out."""

from clip2scene.build.data import (
    choose_labels,
    evaluation_classes,
    keep_own_files,
    open_dataset,
    prompt_classes,
)
from clip2scene.build.objective import build_objective
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

__all__ = [
    "SMALL_CLIP",
    "build_backbone",
    "build_mask_clip",
    "build_objective",
    "build_optimiser",
    "build_prompts",
    "build_student",
    "build_teacher",
    "choose_labels",
    "hash_backbone",
    "hash_teacher",
    "evaluation_classes",
    "keep_own_files",
    "learning_rate",
    "names_of",
    "open_dataset",
    "open_text_space",
    "place_words",
    "prompt_classes",
]
