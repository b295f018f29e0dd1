from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.tiny_towers import tiny_resnet, tiny_transformer

from clip2scene.teacher.backbone import ImageBackbone
from clip2scene.teacher.clip.load import Clip, clip_of_resnet
from clip2scene.teacher.clip.resnet import ClipResNet, ResNetClipConfig
from clip2scene.teacher.clip.tokenizer import WholeTokenizer, word_tokenizer
from clip2scene.teacher.maskclip import (
    DenseEmbeddings,
    MaskClip,
    denoise_prompts,
    smooth_by_keys,
)
from clip2scene.teacher.value_features import dense_resnet, dense_vit
from clip2scene.types import Camera, Pairs, PointCloud, Sample

NO_WORDS = ["a"]


def resnet_clip():
    return clip_of_resnet(
        tiny_resnet(), word_tokenizer(NO_WORDS, 12), torch.full((3,), 0.5), torch.full((3,), 0.25)
    )


def clip_of(family, model, image_size, patch):
    half = torch.full((3,), 0.5)
    words = WholeTokenizer(word_tokenizer(NO_WORDS, 12))
    return Clip(family, model, words, half, half, image_size, patch)


def image(height, width, seed=0):
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def pairs_at(pixels, views):
    pixels = torch.as_tensor(pixels, dtype=torch.float32)
    return Pairs(torch.arange(len(pixels)), torch.as_tensor(views), pixels, torch.ones(len(pixels)))


def every_pixel(height, width, view=0):
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([u, v], -1).reshape(-1, 2)
    return pairs_at(pixels, torch.full((len(pixels),), view))


@pytest.mark.parametrize("family", ["vit", "siglip"])
@torch.no_grad()
def test_a_transformer_embeds_images_of_any_size(family):
    model = tiny_transformer(family)
    dense = MaskClip(clip_of(family, model, 32, 8)).embed_images([image(45, 90)])
    assert dense.embeddings[0].shape[1:] == (6, 11)
    torch.testing.assert_close(dense.embeddings[0].norm(dim=0), torch.ones(6, 11))


# Full-size models with random weights.


@torch.no_grad()
def test_rn50_at_full_size_gives_a_cell_for_every_32_pixels():
    clip = clip_of_resnet(
        ClipResNet(ResNetClipConfig(text_layers=1)),
        word_tokenizer(NO_WORDS, 77),
        torch.zeros(3),
        torch.ones(3),
    )
    dense = MaskClip(clip).embed_images([image(224, 416)])
    assert dense.embeddings[0].shape == (1024, 7, 13)
    assert dense.embeddings[0].isfinite().all()


@torch.no_grad()
def test_vit_b_16_at_full_size_gives_a_cell_for_every_16_pixels():
    import transformers

    text = {"num_hidden_layers": 1, "vocab_size": 100}
    config = transformers.CLIPConfig(text_config=text, vision_config={"patch_size": 16}, projection_dim=512)
    model = transformers.CLIPModel(config).eval()
    assert sum(each.numel() for each in model.vision_model.parameters()) == 85_799_424
    dense = MaskClip(clip_of("vit", model, 224, 16)).embed_images([image(224, 416)])
    assert dense.embeddings[0].shape == (512, 14, 26)
    assert dense.embeddings[0].isfinite().all()


# Reading the map at pixels.


def dense_embeddings(sizes=((24, 40), (16, 16)), **options):
    generator = torch.Generator().manual_seed(3)
    maps = [F.normalize(torch.randn(6, *grid, generator=generator), dim=0) for grid in ((3, 5), (2, 2))]
    keys = [F.normalize(torch.randn(4, *grid, generator=generator), dim=0) for grid in ((3, 5), (2, 2))]
    return DenseEmbeddings(tuple(maps), tuple(keys), sizes, **options)


TEXT = F.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(4)), dim=1)


def test_logits_at_pixel_centres_equal_upsampling_the_whole_map_and_indexing():
    dense = dense_embeddings()
    for view, (height, width) in enumerate(dense.sizes):
        cosines = torch.einsum("crk,nc->nrk", dense.embeddings[view], TEXT)
        whole = F.interpolate(cosines[None], (height, width), mode="bilinear", align_corners=False)[0]
        got = dense.logits_at(every_pixel(height, width, view), TEXT)
        torch.testing.assert_close(got.T.view(3, height, width), whole)
        assert (dense.label_map(view, TEXT) == whole.argmax(0)).all()


def test_between_cell_centres_logits_are_interpolated_and_beyond_them_held():
    # Cells of 8 pixels: centres at 3.5, 11.5, ... in pixel coordinates.
    dense = dense_embeddings()
    cosines = torch.einsum("crk,nc->nrk", dense.embeddings[0], TEXT)
    got = dense.logits_at(pairs_at([[3.5, 3.5], [7.5, 11.5], [-0.4, 3.5]], [0, 0, 0]), TEXT)
    torch.testing.assert_close(got[0], cosines[:, 0, 0])
    torch.testing.assert_close(got[1], (cosines[:, 1, 0] + cosines[:, 1, 1]) / 2)
    torch.testing.assert_close(got[2], cosines[:, 0, 0])


def test_logits_of_pairs_of_several_views_stand_in_their_own_order():
    dense = dense_embeddings()
    mixed = pairs_at([[3.0, 3.0], [3.0, 3.0], [30.0, 20.0]], [1, 0, 0])
    together = dense.logits_at(mixed, TEXT)
    for number in range(3):
        alone = pairs_at(mixed.pixels[number : number + 1], mixed.views[number : number + 1])
        torch.testing.assert_close(together[number], dense.logits_at(alone, TEXT)[0])
    assert dense.logits_at(pairs_at(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)), TEXT).shape == (
        0,
        3,
    )


def test_embeddings_at_pixels_have_unit_length_and_are_the_cells_own_at_their_centres():
    dense = dense_embeddings()
    got = dense.embeddings_at(pairs_at([[11.5, 3.5], [6.0, 9.0]], [0, 0]))
    torch.testing.assert_close(got.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(got[0], dense.embeddings[0][:, 0, 1])


# Refinements, cell by cell.


def test_prompt_denoising_removes_classes_that_are_nowhere_likely():
    logits = torch.tensor([[[0.30, 0.10]], [[0.10, 0.30]], [[0.12, 0.11]]])
    refined = denoise_prompts(logits, 0.5)
    torch.testing.assert_close(refined[:2], logits[:2])
    assert (refined[2] == -100).all()


@pytest.mark.parametrize(
    ("threshold", "removed"), [(0.26, [False] * 3), (0.28, [False, True, False]), (0.74, [True, True, False])]
)
def test_prompt_denoising_compares_the_highest_softmax_of_a_hundredfold_logits(threshold, removed):
    """Logits 0.01 apart have the scores 1 / (1 + 1 / e) = 0.731 and 0.269, where the third class is not."""
    logits = torch.tensor([[[0.02, -1.0]], [[0.01, -1.0]], [[-1.0, 1.0]]])
    refined, gone = denoise_prompts(logits, threshold), torch.tensor(removed)
    assert (refined[gone] == -100).all()
    assert torch.equal(refined[~gone], logits[~gone])


def test_a_class_as_likely_as_the_threshold_stays():
    assert torch.equal(denoise_prompts(torch.zeros(2, 1, 1), 0.5), torch.zeros(2, 1, 1))


def test_key_smoothing_takes_over_the_scores_of_cells_with_like_keys():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(3, 2, 4, generator=generator) * 0.02
    keys = torch.randn(5, 2, 4, generator=generator)
    threshold = 0.7
    got = smooth_by_keys(logits, keys, threshold)
    scores, flat = (100 * logits).softmax(0).flatten(1), keys.flatten(1)
    kinds = set()
    for cell in range(8):
        expected = scores[:, cell]
        if expected.max() < threshold:
            weights = [float(F.cosine_similarity(flat[:, cell], flat[:, other], dim=0)) for other in range(8)]
            expected = sum(weight * scores[:, other] for other, weight in enumerate(weights))
        kinds.add(bool(scores[:, cell].max() < threshold))
        torch.testing.assert_close(got.flatten(1)[:, cell], expected)
    assert kinds == {True, False}


def test_refinements_are_off_unless_asked_for():
    cosines = torch.einsum("crk,nc->nrk", dense_embeddings().embeddings[0], TEXT)
    torch.testing.assert_close(dense_embeddings().logit_map(0, TEXT), cosines)
    assert not torch.allclose(dense_embeddings(key_smoothing=1.0).logit_map(0, TEXT), cosines)
    twins = TEXT[[0, 0]]  # neither of two equal texts is ever likelier than one half
    assert (dense_embeddings(prompt_denoising=0.6).logit_map(0, twins) == -100).all()
    assert (dense_embeddings().logit_map(0, twins) > -2).all()


# Sizes, windows, scales.


def test_one_window_as_large_as_the_image_changes_nothing():
    clip, picture = resnet_clip(), image(40, 64)
    whole = MaskClip(clip).embed_images([picture]).embeddings[0]
    torch.testing.assert_close(MaskClip(clip, window=64).embed_images([picture]).embeddings[0], whole)


@torch.no_grad()
@pytest.mark.parametrize(
    ("overlap", "lefts"),  # in cells of 8 pixels; the last one ends at the border
    [(0.5, (0, 2, 4, 5)), (0.0, (0, 4, 5)), (0.75, (0, 1, 2, 3, 4, 5))],
)
@pytest.mark.usefixtures("exact_products")
def test_windows_overlap_as_much_as_asked_for_and_weigh_the_same(overlap, lefts):
    clip, picture = resnet_clip(), image(32, 72)
    got = MaskClip(clip, window=32, overlap=overlap).embed_images([picture]).embeddings[0]
    pixels = clip.normalise(picture[None])
    total = torch.zeros(8, 4, 9)
    for left in lefts:
        cells = dense_resnet(clip.model, pixels[..., left * 8 : left * 8 + 32])[0][0]
        total[:, :, left : left + 4] += F.normalize(cells, dim=0)
    torch.testing.assert_close(got, F.normalize(total, dim=0))


def test_windows_are_as_many_as_there_are_however_few_are_taken_at_once(monkeypatch):
    clip, picture = resnet_clip(), image(64, 72)
    once = MaskClip(clip, window=32).embed_images([picture]).embeddings[0]
    monkeypatch.setattr("clip2scene.teacher.maskclip.WINDOWS_AT_ONCE", 5)  # of twelve
    torch.testing.assert_close(MaskClip(clip, window=32).embed_images([picture]).embeddings[0], once)


def test_prompts_are_denoised_before_keys_are_smoothed():
    dense = dense_embeddings(key_smoothing=1.0, prompt_denoising=0.9)
    cosines = torch.einsum("crk,nc->nrk", dense.embeddings[1], TEXT)
    truth = smooth_by_keys(denoise_prompts(cosines, 0.9), dense.keys[1], 1.0)
    torch.testing.assert_close(dense.logit_map(1, TEXT), truth)


def test_two_scales_are_averaged_on_the_finer_grid():
    clip, picture = resnet_clip(), image(32, 48)
    fine, coarse = (
        MaskClip(clip, scales=(each,)).embed_images([picture]).embeddings[0] for each in (1.0, 0.5)
    )
    assert (fine.shape[1:], coarse.shape[1:]) == ((4, 6), (2, 3))
    truth = fine + F.interpolate(coarse[None], (4, 6), mode="bilinear", align_corners=False)[0]
    got = MaskClip(clip, scales=(0.5, 1.0)).embed_images([picture]).embeddings[0]
    torch.testing.assert_close(got, F.normalize(truth, dim=0))


def test_images_may_differ_in_size_and_are_resized_to_the_working_size():
    clip = resnet_clip()
    dense = MaskClip(clip).embed_images([image(32, 32), image(64, 40)])
    assert [tuple(each.shape[1:]) for each in dense.embeddings] == [(4, 4), (8, 5)]
    assert dense.sizes == ((32, 32), (64, 40))
    dense = MaskClip(clip, working_size=(16, 32)).embed_images([image(32, 32), image(64, 40)])
    assert [tuple(each.shape[1:]) for each in dense.embeddings] == [(2, 4), (2, 4)]
    assert dense.sizes == ((32, 32), (64, 40))


def test_a_working_size_without_a_pixel_is_refused():
    with pytest.raises(ValueError, match=r"working_size must be a positive .*got \(-5, 0\)"):
        MaskClip(resnet_clip(), working_size=(-5, 0))


def test_a_sample_is_read_camera_by_camera():
    pictures = [image(32, 40, seed=1), image(32, 40, seed=2)]
    # A calibration at twice the size of the stored pictures: pixels of pairs refer to the calibration.
    cameras = tuple(Camera(name, torch.eye(3), torch.eye(4), 80, 64) for name in ("left", "right"))
    cloud = PointCloud(torch.zeros(1, 3), torch.zeros(1, 1))
    sample = Sample("token", cloud, cameras, lambda view: pictures[view])
    teacher = MaskClip(resnet_clip())
    dense, direct = teacher(sample), teacher.embed_images(pictures)
    assert dense.sizes == ((64, 80), (64, 80))
    text = F.normalize(torch.randn(2, 8), dim=1)
    torch.testing.assert_close(
        dense.logits_at(pairs_at([[61.5, 20.5]], [1]), text),
        direct.logits_at(pairs_at([[30.5, 10.0]], [1]), text),
    )


def test_settings_that_mean_nothing_are_refused():
    clip = resnet_clip()
    with pytest.raises(ValueError, match="at least one cell"):
        MaskClip(clip, window=4)
    with pytest.raises(ValueError, match="overlap must lie in 0..0.9"):
        MaskClip(clip, window=32, overlap=1.0)
    with pytest.raises(ValueError, match="prompt_denoising is a score"):
        MaskClip(clip, prompt_denoising=3.0)
    with pytest.raises(ValueError, match="positive factors"):
        MaskClip(clip, scales=())


def moved_proxy():
    conv = torch.nn.Conv2d(3, 5, 8, 8)
    return ImageBackbone(conv, 5, 8, torch.zeros(3), torch.ones(3), model=conv).to(torch.device("meta"))


def proxy_of(stride):
    """A proxy of one random convolution, which takes colours as they are."""
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(5, 3, stride, stride, generator=generator)
    return ImageBackbone(
        lambda x: F.conv2d(x, weight, stride=stride), 5, stride, torch.zeros(3), torch.ones(3)
    )


@torch.no_grad()
@pytest.mark.parametrize(("stride", "fineness"), [(4, 2), (8, 1), (7, 1), (16, 1)])
def test_a_proxys_map_is_as_much_finer_as_its_cells_are_smaller(stride, fineness):
    clip, picture = clip_of("vit", tiny_transformer("vit"), 32, 8), image(32, 48)
    proxy = proxy_of(stride)
    got = MaskClip(clip, proxy=proxy, key_smoothing=0.5).embed_images([picture])
    features = proxy.cells(picture[None].permute(0, 3, 1, 2) / 255)
    dense, _ = dense_vit(clip.model, clip.normalise(picture[None]), proxy=features)
    truth = F.normalize(dense, dim=1)
    grid = (4 * fineness, 6 * fineness)
    if tuple(features.shape[2:]) != grid:
        truth = F.normalize(F.interpolate(dense, grid, mode="bilinear"), dim=1)
    assert got.embeddings[0].shape[1:] == got.keys[0].shape[1:] == grid
    torch.testing.assert_close(got.embeddings[0], truth[0], atol=2e-3, rtol=0)


@pytest.mark.parametrize("stride", [4, 7])
def test_windows_of_a_proxy_stand_where_they_were_cut(stride):
    """An image of four equal quarters: each window's map is that of the quarter by itself."""
    clip, quarter = clip_of("vit", tiny_transformer("vit"), 32, 8), image(32, 32)
    teacher = MaskClip(clip, window=32, overlap=0.0, proxy=proxy_of(stride))
    (alone,) = teacher.embed_images([quarter]).embeddings
    (whole,) = teacher.embed_images([quarter.repeat(2, 2, 1)]).embeddings
    torch.testing.assert_close(whole, alone.repeat(1, 2, 2), atol=2e-3, rtol=0)


@pytest.mark.parametrize("family", ["vit", "siglip"])
def test_the_forward_pass_is_all_on_the_device_of_its_model(family):
    """Torch refuses to mix devices; the meta device stands for a GPU, without numbers."""
    model = MaskClip(
        clip_of(family, tiny_transformer(family), 32, 8), scales=(1.0, 0.5), window=16, key_smoothing=0.5
    )
    here = model._embed_at_scales(image(32, 48))
    moved = model.to(torch.device("meta"))
    assert moved.device.type == "meta"
    there = moved._embed_at_scales(image(32, 48))
    if family == "vit":
        for changed in ({"attention": "sclip"}, {"attention": "naclip"}, {"proxy": moved_proxy()}):
            maps = replace(moved, **changed)._embed_at_scales(image(32, 48))
            assert {each.device.type for each in maps} == {"meta"}
    assert [each.shape for each in there] == [each.shape for each in here]
    assert {each.device.type for each in there} == {"meta"}


def test_a_model_whose_embeddings_are_not_finite_is_refused():
    model = tiny_resnet()
    model.visual.attnpool.c_proj.weight.data.fill_(3e38)
    clip = clip_of("resnet", model, 32, 8)
    with pytest.raises(ValueError, match="embeddings of an image that are not finite"):
        MaskClip(clip).embed_image(image(32, 32))
