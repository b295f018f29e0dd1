import pytest
import torch

from clip2scene.teacher.pamr import CONTRAST, PixelAdaptive, neighbour_weights, offsets


def picture(height=7, width=9, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def scores_of(height=7, width=9, seed=1):
    return torch.randn(4, height, width, generator=torch.Generator().manual_seed(seed)).softmax(0)


def neighbours(y, x, height, width, dilations):
    """Places of a pixel's neighbours; beyond the border, the nearest pixel of it."""
    for dilation in dilations:
        for down in (-dilation, 0, dilation):
            for right in (-dilation, 0, dilation):
                if down or right:
                    yield min(max(y + down, 0), height - 1), min(max(x + right, 0), width - 1)


def one_round(image, scores, dilations):
    """PAMR pixel by pixel, as the paper writes it."""
    _, height, width = image.shape
    refined = torch.zeros_like(scores)
    for y in range(height):
        for x in range(width):
            places = list(neighbours(y, x, height, width, dilations))
            colours = torch.stack([image[:, v, u] for v, u in places])
            deviation = torch.cat([colours, image[None, :, y, x]]).std(0)
            distance = (colours - image[:, y, x]).abs() / (CONTRAST * deviation + 1e-8)
            weights = (-distance.mean(1)).softmax(0)
            for weight, (v, u) in zip(weights, places, strict=True):
                refined[:, y, x] += weight * scores[:, v, u]
    return refined


@pytest.mark.parametrize("mkl", {torch.backends.mkl.is_available(), False})
@pytest.mark.parametrize("dilations", [(1,), (1, 2), (2, 5, 12)])
def test_rounds_are_those_of_a_loop_over_the_pixels(dilations, mkl, monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    image, scores = picture(), scores_of()
    once = one_round(image, scores, dilations)
    torch.testing.assert_close(PixelAdaptive(1, dilations)(image, scores), once)
    twice = one_round(image, once, dilations)
    torch.testing.assert_close(PixelAdaptive(2, dilations)(image, scores), twice)


def test_weights_are_the_same_in_strips(monkeypatch):
    whole = neighbour_weights(picture(), (1, 3))
    monkeypatch.setattr("clip2scene.teacher.pamr._ROWS_AT_ONCE", 2)
    torch.testing.assert_close(neighbour_weights(picture(), (1, 3)), whole)


def test_in_an_even_image_a_pixel_has_the_mean_of_its_neighbours():
    scores = scores_of()
    refined = PixelAdaptive(1, (1,))(torch.full((3, 7, 9), 0.3), scores)
    around = scores[:, 2:5, 3:6].flatten(1)
    mean = (around.sum(1) - scores[:, 3, 4]) / 8
    torch.testing.assert_close(refined[:, 3, 4], mean)


def test_scores_do_not_cross_an_edge_and_fill_what_it_encloses():
    """A red half and a blue one, and a teacher whose border lies three pixels beside theirs."""
    image = torch.zeros(3, 20, 40)
    image[0, :, :20], image[2, :, 20:] = 1, 1
    scores = torch.full((2, 20, 40), 0.2)
    scores[0, :, :23], scores[1, :, 23:] = 0.8, 0.8
    left = torch.arange(40).expand(20, 40) < 20
    wrong = (scores.argmax(0) == 0) != left
    refined = PixelAdaptive(20, (1, 2, 4))(image, scores)
    assert wrong.sum() == 60
    assert torch.equal(refined.argmax(0) == 0, left)


def test_a_distribution_stays_one_within_the_range_that_was_given():
    scores = scores_of()
    refined = PixelAdaptive()(picture(), scores)
    torch.testing.assert_close(refined.sum(0), torch.ones(7, 9))
    assert (refined.flatten(1).amax(1) <= scores.flatten(1).amax(1) + 1e-6).all()
    assert (refined.flatten(1).amin(1) >= scores.flatten(1).amin(1) - 1e-6).all()


def test_there_are_eight_neighbours_for_each_dilation():
    assert len(set(offsets((1, 2, 24)))) == 24
    assert max(offsets((1, 2, 24))) == (24, 24)
    assert (0, 0) not in offsets((1, 2, 24))
