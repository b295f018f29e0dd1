"""Judge a trained student in classes of your own, without training it anew.

    python examples/03_own_classes.py RUN DATA

The student learnt to place points in the text space, so a class is no more than a list of words.
"""

import sys
from pathlib import Path

import torch

from clip2scene.classes.tables import NUSCENES, ClassSet
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.evaluation.metrics import Confusion, table
from clip2scene.inference.segmenter import Segmenter

run, data = sys.argv[1:]

words = {"ground": ["road", "sidewalk", "grass"], "standing": ["building", "tree"], "vehicle": ["car", "bus"]}
raw_labels = {24: 0, 26: 0, 27: 0, 28: 1, 30: 1, 15: 2, 16: 2, 17: 2}  # raw label: number of the class
colours = ((90, 90, 90), (0, 175, 0), (255, 158, 0))
classes = ClassSet("mine", tuple(words), tuple(map(tuple, words.values())), colours, raw_labels)
print(f"{len(NUSCENES)} classes of nuScenes become {len(classes)}")

segmenter = Segmenter.load(run)
segmenter.set_prompts([word for each in words.values() for word in each])
class_of_word = torch.tensor([number for number, each in enumerate(words.values()) for _ in each])

confusion = Confusion(len(classes))
for sample in NuScenes(Path(data), split="val", class_set=classes):
    confusion.update(class_of_word[segmenter.segment(sample.cloud).labels], sample.labels)
print(table({"student": confusion.scores(classes.classes)}))
