import builtins

import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from clip2scene.teacher.superpixels import region_means, slic_superpixels


def patches(height=60, width=90, side=15):
    """A picture of even squares, each in a colour of its own."""
    rows, cols = torch.arange(height) // side, torch.arange(width) // side
    number = rows[:, None] * (width // side) + cols[None]
    colours = torch.randint(0, 256, (int(number.max()) + 1, 3), generator=torch.Generator().manual_seed(0))
    return colours[number].byte(), number


def clouds(height=40, width=50, seed=0):
    """A picture of soft random colours."""
    coarse = 255 * torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bilinear")[0].permute(1, 2, 0).byte()


@pytest.mark.parametrize("image", [patches()[0], clouds(), clouds(7, 5), clouds(1, 9), clouds(1, 1)])
def test_superpixels_are_numbered_from_zero_without_a_gap(image):
    found = slic_superpixels(image)
    assert found.dtype == torch.int64
    assert found.unique().tolist() == list(range(int(found.max()) + 1))
    assert torch.equal(found, slic_superpixels(image))


def test_superpixels_are_connected():
    found = slic_superpixels(clouds(), num_segments=12).numpy()
    assert found.max() > 5
    for number in range(found.max() + 1):
        assert ndimage.label(found == number)[1] == 1


def test_superpixels_follow_the_borders_of_colours():
    image, truth = patches()
    found = slic_superpixels(image, num_segments=24, sigma=0.0)
    assert 15 <= len(found.unique()) <= 40
    pure = [torch.bincount(truth[found == number]).max() for number in found.unique()]
    assert sum(pure) > 0.97 * truth.numel()


def test_more_segments_make_more_superpixels_and_the_settings_matter():
    image = clouds(80, 120)
    few, many = (len(slic_superpixels(image, num_segments=number).unique()) for number in (6, 60))
    assert few < many
    assert not torch.equal(slic_superpixels(image), slic_superpixels(image, compactness=60.0))
    assert not torch.equal(slic_superpixels(image), slic_superpixels(image, sigma=0.5))


@pytest.mark.parametrize("change", [{"num_segments": 0}, {"compactness": 0.0}, {"sigma": -1.0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="SLidR's are 150, 6 and 3"):
        slic_superpixels(clouds(), **change)


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    really = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("skimage"):
            raise ImportError(name)
        return really(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ValueError, match=r"install clip2scene\[rivals\]"):
        slic_superpixels(clouds())


@pytest.mark.parametrize(("height", "width"), [(40, 50), (6, 9), (3, 4)])
def test_means_within_regions_equal_those_of_the_upsampled_map(height, width):
    regions = slic_superpixels(clouds(height, width), num_segments=12, sigma=0.0)
    cells = torch.randn(5, 6, 9, generator=torch.Generator().manual_seed(0))
    upsampled = F.interpolate(cells[None], (height, width), mode="bilinear", align_corners=False)[0]
    truth = [upsampled[:, regions == number].mean(1) for number in range(int(regions.max()) + 1)]
    torch.testing.assert_close(region_means(regions, cells), torch.stack(truth))
