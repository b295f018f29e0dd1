import pytest
import torch
from torch import nn

from clip2scene.student.inputs import InputOptions, prepare_cloud
from clip2scene.student.model import Embedder, ProjectionHeads
from clip2scene.types import PointCloud


class Inputs(nn.Module):
    """A backbone that gives its inputs, so that a test can see them."""

    out_channels = 2

    def forward(self, positions, features, batch_of_point):
        return features


def make_embedder(**settings):
    torch.manual_seed(0)
    return Embedder(Inputs(), 5, **settings)


@pytest.mark.parametrize("cosine_temperature", [None, 0.1])
def test_name_logits_are_products_of_embeddings_and_text_embeddings(cosine_temperature):
    embedder = make_embedder(cosine_temperature=cosine_temperature)
    point_features, text = torch.randn(7, 2), torch.randn(3, 5)
    slow = embedder.embed(point_features) @ text.T
    assert torch.allclose(embedder.compare(point_features, text), slow, atol=1e-5)


def test_a_cosine_embedding_has_the_length_that_its_temperature_asks_for():
    lengths = make_embedder(cosine_temperature=0.1).embed(torch.randn(7, 2)).norm(dim=1)
    assert torch.allclose(lengths, torch.full((7,), 10.0))


def test_height_is_one_more_input():
    positions, intensity = torch.tensor([[0.0, 0.0, 3.0], [1.0, 0.0, -1.0]]), torch.tensor([[0.1], [0.2]])
    options = InputOptions("sensor")
    given = prepare_cloud(PointCloud(positions, intensity), options)
    seen = make_embedder(inputs=options)(*vars(given).values(), torch.zeros(2, dtype=torch.long))
    assert torch.allclose(seen, torch.tensor([[0.1, 1.5], [0.2, -0.5]]))


def test_a_pixel_starts_where_the_teacher_places_it_if_the_spaces_are_of_one_size():
    pixels = torch.randn(4, 5)
    assert torch.equal(ProjectionHeads(2, 5, 5).pixels(pixels), pixels)
    assert ProjectionHeads(2, 5, 3).pixels(pixels).shape == (4, 3)
