import pytest
import torch
from tests.coloured_squares import speechless_clip

from clip2scene.evaluation import small_clip as module
from clip2scene.evaluation.small_clip import evaluate_dense, evaluate_views
from clip2scene.types import Prompts


def test_dense_predictions_are_evaluated_per_pixel_over_the_classes_present(monkeypatch):
    class ReadsNamesOffTheRedChannel:
        def __init__(self, clip, scales, window):
            self.settings = scales, window

        def embed_images(self, images):
            self.image = images[0]
            return self

        def label_map(self, view, text):
            return self.image[..., 0].long()

    monkeypatch.setattr(module, "MaskClip", ReadsNamesOffTheRedChannel)
    prompts = Prompts(("a", "b", "c"), ("a", "also a", "b", "c"), torch.tensor([0, 0, 1, 2]), torch.eye(4))
    images = torch.zeros(1, 1, 4, 3, dtype=torch.uint8)
    images[0, 0, :, 0] = torch.tensor([0, 1, 0, 3])
    labels = torch.tensor([[[0, 0, 1, -1]]])
    scores = evaluate_dense(speechless_clip(), images, labels, prompts)
    expected = {"a": 2 / 3, "b": 0.0, "miou": 1 / 3, "accuracy": 2 / 3}
    assert scores == pytest.approx(expected)


def test_views_are_classified_among_the_classes_that_views_are_of(monkeypatch):
    prompts = Prompts(("ground", "a", "b"), ("ground", "a", "b"), torch.arange(3), torch.eye(3))
    rows = torch.tensor([[0.9, 0.4, 0.1], [0.9, 0.3, 0.2], [0.1, 0.2, 0.9]])
    monkeypatch.setattr(module.Clip, "encode_image", lambda clip, views: rows)
    views = torch.zeros(3, 4, 4, 3, dtype=torch.uint8)
    scores = evaluate_views(speechless_clip(), views, torch.tensor([1, 2, 2]), prompts)
    assert scores == pytest.approx({"a": 1.0, "b": 0.5, "accuracy": 2 / 3})
