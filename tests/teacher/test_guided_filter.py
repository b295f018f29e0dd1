import pytest
import torch

from clip2scene.teacher.guided_filter import GuidedFilter


def noise(channels, seed, height=9, width=12):
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))


def by_regression(image, scores, radius, epsilon):
    """Fit a ridge regression in every window, then average what all windows say of a pixel."""
    channels, height, width = scores.shape
    said, times = torch.zeros(channels, height, width, dtype=torch.float64), torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            rows = slice(max(0, y - radius), y + radius + 1)
            cols = slice(max(0, x - radius), x + radius + 1)
            colours = image[:, rows, cols].flatten(1).T.double()
            values = scores[:, rows, cols].flatten(1).T.double()
            centred, shifted = colours - colours.mean(0), values - values.mean(0)
            ridge = (epsilon * len(colours)) ** 0.5 * torch.eye(3, dtype=torch.float64)
            design = torch.cat([centred, ridge])
            wanted = torch.cat([shifted, torch.zeros(3, channels, dtype=torch.float64)])
            slopes = torch.linalg.lstsq(design, wanted).solution
            fitted = (centred @ slopes + values.mean(0)).T
            said[:, rows, cols] += fitted.reshape(said[:, rows, cols].shape)
            times[rows, cols] += 1
    return (said, times)


@pytest.mark.parametrize(("radius", "epsilon"), [(1, 1e-2), (2, 1e-3), (20, 0.1)])
def test_it_is_the_mean_of_local_linear_regressions(radius, epsilon):
    image, scores = noise(3, 0), 0.4 + 0.2 * noise(2, 1)  # far from zero, where lines are cut off
    said, times = by_regression(image, scores, radius, epsilon)
    got = GuidedFilter(radius, epsilon)(image, scores)
    torch.testing.assert_close(got, (said / times).float())


def test_without_colours_it_is_two_box_filters():
    scores = noise(1, 1)
    got = GuidedFilter(2, 1e-3)(torch.full((3, 9, 12), 0.5), scores)
    once = torch.nn.functional.avg_pool2d(scores[None], 5, 1, 2, count_include_pad=False)
    twice = torch.nn.functional.avg_pool2d(once, 5, 1, 2, count_include_pad=False)[0]
    torch.testing.assert_close(got, twice)


def test_an_edge_of_the_image_becomes_an_edge_of_the_scores():
    image, left = torch.zeros(3, 20, 40), torch.arange(40).expand(20, 40) < 20
    image[0, :, :20] = 1
    ramp = (1 - (torch.arange(40) - 7) / 30).clamp(0, 1).expand(20, 40)
    scores = torch.stack([ramp, 1 - ramp])
    got = GuidedFilter(6, 1e-4)(image, scores)
    assert torch.equal(got.argmax(0) == 0, left)
    assert got[0, 10, 19] - got[0, 10, 20] > 5 * (scores[0, 10, 19] - scores[0, 10, 20])


def test_scores_are_not_negative_and_nothing_comes_of_nothing():
    scores = torch.stack([(noise(1, 3)[0] > 0.8).float(), torch.zeros(9, 12)])
    got = GuidedFilter(1, 1e-6)(noise(3, 4), scores)
    assert (got >= 0).all()
    assert not got[1].any()
    assert got[0].any()
