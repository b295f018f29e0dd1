"""What was looked at and not corrected: beside labels by hand, a run's own predictions are trained on.

People correct what is wrong. Trained on that alone, a student forgets what was right: it only ever sees
classes where it used to miss them.
"""

from dataclasses import replace

import torch

from clip2scene.build import Experiment
from clip2scene.datasets.label_layer import UNLABELLED, LabelLayer
from clip2scene.inference.predict import predict_split
from clip2scene.parallel import progress_bar
from clip2scene.runs.run import Run


def accept_rest(experiment: Experiment, run: Run, tokens: tuple[str, ...]) -> Experiment:
    """Give points that nobody labelled by hand the class that a run predicts.

    Args:
        experiment: With labels by hand.
        run: What the labels by hand correct; its classes are mapped to those of the data.
        tokens: Samples whose other points are labelled so.

    Returns:
        The same with more labels; those by hand are as they were.

    Raises:
        ValueError: If a sample cannot be read, labels do not fit it, or it is not known what the run's
            classes are among the data's.
    """
    assert experiment.layers is not None
    classes, layers = experiment.prompts.classes, dict(experiment.layers)
    mapping = run.mapping_to(experiment.dataset.class_set)
    numbers = [number for number, token in enumerate(experiment.dataset.tokens) if token in tokens]
    predictions = predict_split(run, experiment.dataset, numbers)
    for sample, prediction in progress_bar(
        predictions, desc="accept the rest", total=len(numbers), unit="sample"
    ):
        layer = layers[sample.token]
        layer.check(sample, f"the label layer of {sample.token}")
        predicted = mapping.translate(prediction.logits[: len(sample.cloud)].argmax(1))
        labels = layer.in_classes(classes, f"the label layer of {sample.token}")
        whole = torch.where(labels == UNLABELLED, predicted, labels)
        layers[sample.token] = LabelLayer(layer.token, layer.cloud, classes, whole)
    return replace(experiment, layers=layers)
