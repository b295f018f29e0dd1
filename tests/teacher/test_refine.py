from dataclasses import dataclass

import pytest
import torch

from clip2scene.teacher.guided_filter import GuidedFilter
from clip2scene.teacher.label_maps import LabelMaps
from clip2scene.teacher.pamr import PixelAdaptive
from clip2scene.teacher.refine import LogitMaps, RefinedMaps, Refinement, SuperpixelMean
from clip2scene.types import Camera, Pairs, PointCloud, Prompts, Sample

METHODS = [PixelAdaptive(3, (1, 2)), GuidedFilter(3, 1e-3), SuperpixelMean(8)]
PROMPTS = Prompts(("car", "tree"), ("car", "tree", "bush"), torch.tensor([0, 1, 1]), torch.eye(3))


@dataclass(frozen=True)
class Same:
    """Changes nothing."""

    def __call__(self, image, scores):
        assert image.shape[1:] == scores.shape[1:]
        return scores


def halves(height=24, width=40, border=20):
    """A red half and a blue one."""
    image = torch.zeros(height, width, 3, dtype=torch.uint8)
    image[:, :border, 0], image[:, border:, 2] = 250, 250
    return image


def sample_of(image):
    height, width = image.shape[:2]
    camera = Camera("front", torch.eye(3), torch.eye(4), width, height)
    cloud = PointCloud(torch.zeros(1, 3), torch.ones(1, 1))
    return Sample("a", cloud, (camera,), lambda view: image)


def pairs_at(pixels):
    count = torch.zeros(len(pixels), dtype=torch.long)
    return Pairs(count, count, torch.tensor(pixels, dtype=torch.float32), torch.ones(len(pixels)))


@dataclass(frozen=True)
class Coarse:
    """Two rows of four cells; the border between car and tree lies five pixels beside the picture's."""

    sizes = ((24, 40),)

    def logit_map(self, view, text):
        car = torch.tensor([0.05, 0.05, 0.04, 0.02]).expand(2, 4)
        return torch.stack([car, torch.zeros(2, 4), 0.03 * torch.ones(2, 4)])


@pytest.mark.parametrize("method", METHODS)
def test_an_edge_of_the_picture_sharpens_a_coarse_map_there(method):
    maps = Coarse()
    assert isinstance(maps, LogitMaps)
    where = pairs_at([[17.0, 12.0], [22.0, 12.0]])
    before, after = (
        (100 * Refinement(each).of_sample(maps, sample_of(halves()), PROMPTS).logits_at(where)).softmax(1)
        for each in (Same(), method)
    )
    assert before[0, 0] > before[1, 0] > 0.7
    assert after[0, 0] > before[0, 0]  # to the left surer of the car
    assert after[1, 0] < before[1, 0]  # to the right less so


@pytest.mark.parametrize("method", METHODS)
def test_scores_stay_a_distribution_and_no_class_comes_out_of_nothing(method):
    logits = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(0)) / 50
    logits[2] = -100  # as prompt denoising removes it
    scores = Refinement(method).of_image(halves(), logits)
    assert scores.shape == (3, 24, 40)
    assert (scores >= 0).all()
    assert not scores[2].any()
    total = scores.sum(0)
    if isinstance(method, GuidedFilter):  # cut off at zero
        assert ((total > 0.999) & (total < 1.2)).all()
    else:
        torch.testing.assert_close(total, torch.ones(24, 40))


def test_logits_give_the_scores_back_whatever_pixels_they_are_read_at():
    logits = torch.randn(2, 24, 40, generator=torch.Generator().manual_seed(0)) / 50
    scores = Refinement(Same()).of_image(halves(), logits)
    maps = RefinedMaps((scores,), ((24, 40),))
    read = maps.logits_at(pairs_at([[3.0, 5.0], [39.0, 23.0], [10.5, 7.0]]))
    torch.testing.assert_close((100 * read[0]).softmax(0), (100 * logits[:, 5, 3]).softmax(0))
    torch.testing.assert_close((100 * read[1]).softmax(0), (100 * logits[:, 23, 39]).softmax(0))
    torch.testing.assert_close((100 * read[2]).softmax(0), scores[:, 7, 10:12].mean(1))


def test_a_score_of_zero_is_no_veto():
    scores = torch.tensor([1.0, 0.0])[:, None, None]
    (read,) = RefinedMaps((scores,), ((1, 1),)).logits_at(pairs_at([[0.0, 0.0]]))
    assert read.tolist() == pytest.approx([0.0, torch.tensor(1e-4).log().item() / 100])


def test_of_a_class_with_several_names_the_best_counts():
    image, logits = halves(), torch.tensor([0.02, 0.01, 0.03])[:, None, None].expand(3, 2, 2)

    class Maps:
        sizes = ((24, 40),)

        def logit_map(self, view, text):
            return logits

    read = Refinement(PixelAdaptive(1, (1,))).of_sample(Maps(), sample_of(image), PROMPTS)
    expected = torch.tensor([2.0, 3.0]).softmax(0)
    torch.testing.assert_close((100 * read.logits_at(pairs_at([[4.0, 4.0]]))[0]).softmax(0), expected)


@pytest.mark.parametrize("method", [PixelAdaptive(3, (1, 2)), SuperpixelMean(8)])
def test_class_maps_are_refined_too_and_what_is_unlabelled_stays_so(method):
    labels = torch.zeros(24, 40, dtype=torch.int32)
    labels[:, 20:] = -1
    labels[4:6, 24:26] = 1  # a speck in the unlabelled half
    maps = LabelMaps((labels,), torch.eye(3)[:2], ((24, 40),))
    refined = Refinement(method).of_sample(maps, sample_of(halves()), PROMPTS)
    read = refined.logits_at(pairs_at([[5.0, 12.0], [35.0, 20.0]]))
    assert read[0].argmax() == 0
    assert read[0].any()
    assert not read[1].any()


def test_large_images_are_made_smaller_and_small_ones_are_not():
    sizes = []

    @dataclass(frozen=True)
    class Seen:
        def __call__(self, image, scores):
            sizes.append(tuple(scores.shape[1:]))
            return scores

    logits = torch.zeros(2, 3, 4) + torch.tensor([0.1, 0.0])[:, None, None]
    for pixels in (24 * 40, 24 * 10, 10**6):
        Refinement(Seen(), pixels).of_image(halves(), logits)
    Refinement(Seen(), 100).of_image(halves(1, 5, 2), logits)
    assert sizes == [(24, 40), (12, 20), (24, 40), (1, 5)]


def test_a_map_finer_than_the_working_size_is_averaged():
    logits = torch.zeros(2, 24, 40)
    logits[0, :, ::2], logits[1, :, 1::2] = 1, 1
    scores = Refinement(Same(), 24 * 10).of_image(halves(), logits)
    torch.testing.assert_close(scores, torch.full((2, 12, 20), 0.5))


def test_superpixels_average_what_lies_in_each():
    image, scores = halves().permute(2, 0, 1) / 255, torch.rand(2, 24, 40).softmax(0)
    got = SuperpixelMean(2)(image, scores)
    torch.testing.assert_close(got[:, 3, 5], scores[:, :, :20].mean((1, 2)))
    torch.testing.assert_close(got[:, 3, 35], scores[:, :, 20:].mean((1, 2)))
