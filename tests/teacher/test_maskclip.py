import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clip2scene.teacher.clip.load import Clip, clip_of_resnet, word_tokenizer
from clip2scene.teacher.clip.resnet import ClipResNet, ResNetClipConfig
from clip2scene.teacher.maskclip import (
    DenseEmbeddings,
    MaskClip,
    denoise_prompts,
    dense_resnet,
    dense_siglip,
    dense_vit,
    smooth_by_keys,
)
from clip2scene.types import Camera, Pairs, PointCloud, Sample

NO_WORDS = ["a"]


def resnet(image_size=32):
    torch.manual_seed(0)
    config = ResNetClipConfig(8, image_size, (1, 1), (1, 2), 4, 2, 5, 12, 8, 2, 1)
    model = ClipResNet(config).eval()
    for parameter in model.visual.attnpool.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def resnet_clip():
    return clip_of_resnet(
        resnet(), word_tokenizer(NO_WORDS, 12), torch.full((3,), 0.5), torch.full((3,), 0.25)
    )


def transformer(kind, image_size=32):
    import transformers

    torch.manual_seed(0)
    common = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    vision = {**common, "image_size": image_size, "patch_size": 8}
    text = {**common, "vocab_size": 11}
    if kind == "vit":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        config.vision_config._attn_implementation = "eager"
        model = transformers.CLIPModel(config)
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def clip_of(family, model, image_size, patch):
    half = torch.full((3,), 0.5)
    return Clip(
        family, model, lambda texts: torch.zeros(1, 1), lambda text: [], half, half, image_size, patch
    )


def image(height, width, seed=0):
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def pairs_at(pixels, views):
    pixels = torch.as_tensor(pixels, dtype=torch.float32)
    return Pairs(torch.arange(len(pixels)), torch.as_tensor(views), pixels, torch.ones(len(pixels)))


def every_pixel(height, width, view=0):
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([u, v], -1).reshape(-1, 2)
    return pairs_at(pixels, torch.full((len(pixels),), view))


# The dense answer of a cell against the model's own global answer, with its attention forced onto that cell.


@torch.no_grad()
def test_a_resnets_cell_is_what_its_pooling_gives_with_attention_forced_onto_it(monkeypatch):
    model, pixels = resnet(), torch.randn(1, 3, 32, 32)
    dense, keys = dense_resnet(model, pixels)
    assert dense.shape == (1, 8, 4, 4)
    assert keys.shape == (1, 32, 4, 4)
    for cell in range(16):
        forced = torch.zeros(1, 2, 17)
        forced[:, :, 1 + cell] = 1
        monkeypatch.setattr(model.visual.attnpool, "attention", lambda tokens, forced=forced: forced)
        torch.testing.assert_close(dense[0, :, cell // 4, cell % 4], model.encode_image(pixels)[0])


@torch.no_grad()
def test_a_resnet_without_positions_leaves_out_the_position_embedding_only():
    model, pixels = resnet(), torch.randn(1, 3, 32, 32)
    plain, _ = dense_resnet(model, pixels, positions=False)
    nn.init.zeros_(model.visual.attnpool.positional_embedding)
    torch.testing.assert_close(dense_resnet(model, pixels)[0], plain)


@torch.no_grad()
def test_a_vits_cell_is_what_its_last_block_gives_when_every_token_sees_itself_alone():
    model, pixels = transformer("vit"), torch.randn(1, 3, 32, 32)
    tower = model.vision_model
    tokens = []
    tower.encoder.layers[-1].register_forward_pre_hook(
        lambda _, args, kwargs: tokens.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    tower(pixel_values=pixels)
    alone = torch.full((17, 17), float("-inf")).fill_diagonal_(0.0)[None, None]
    output = tower.encoder.layers[-1](tokens[0], attention_mask=alone)
    output = output[0] if isinstance(output, tuple) else output
    truth = model.visual_projection(tower.post_layernorm(output))[0, 1:].T.view(8, 4, 4)
    torch.testing.assert_close(dense_vit(model, pixels)[0][0], truth)


@torch.no_grad()
def test_a_vits_only_cell_is_the_global_answer_with_the_class_token_in_its_place():
    model = transformer("vit", image_size=8)
    pixels = torch.randn(1, 3, 8, 8)
    embeddings = model.vision_model.embeddings
    # Make the class token equal to the patch's: then both see two equal tokens, and attention cannot matter.
    patch = embeddings.patch_embedding(pixels).flatten()
    positions = embeddings.position_embedding.weight
    embeddings.class_embedding.copy_(patch + positions[1] - positions[0])
    dense, _ = dense_vit(model, pixels)
    image = model.get_image_features(pixel_values=pixels)
    torch.testing.assert_close(dense[0, :, 0, 0], getattr(image, "pooler_output", image)[0])


@torch.no_grad()
def test_a_siglips_only_cell_is_its_global_answer():
    model = transformer("siglip", image_size=8)
    pixels = torch.randn(2, 3, 8, 8)
    image = model.get_image_features(pixel_values=pixels)
    torch.testing.assert_close(
        dense_siglip(model, pixels)[0][:, :, 0, 0], getattr(image, "pooler_output", image)
    )


@torch.no_grad()
def test_a_siglips_cell_is_what_its_head_makes_of_that_token_alone():
    model, pixels = transformer("siglip"), torch.randn(1, 3, 32, 32)
    tokens = model.vision_model(pixel_values=pixels).last_hidden_state
    truth = torch.cat([model.vision_model.head(tokens[:, cell : cell + 1]) for cell in range(16)])
    torch.testing.assert_close(dense_siglip(model, pixels)[0][0].flatten(1).T, truth)


@torch.no_grad()
def test_a_vit_can_drop_the_skip_and_the_feed_forward_part():
    model, pixels = transformer("vit"), torch.randn(1, 3, 32, 32)
    answers = [
        dense_vit(model, pixels, residual=residual, feed_forward=feed_forward)[0]
        for residual in (True, False)
        for feed_forward in (True, False)
    ]
    for number, each in enumerate(answers):
        assert not any(torch.allclose(each, other) for other in answers[:number])
    block = model.vision_model.encoder.layers[-1]
    for parameter in block.mlp.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(dense_vit(model, pixels)[0], answers[1])


@pytest.mark.parametrize("family", ["vit", "siglip"])
@torch.no_grad()
def test_a_transformer_looks_at_images_of_any_size(family):
    model = transformer(family)
    seen = MaskClip(clip_of(family, model, 32, 8)).look([image(45, 90)])
    assert seen.embeddings[0].shape[1:] == (6, 11)
    torch.testing.assert_close(seen.embeddings[0].norm(dim=0), torch.ones(6, 11))


# Full-size models with random weights.


@torch.no_grad()
def test_rn50_at_full_size_gives_a_cell_for_every_32_pixels():
    clip = clip_of_resnet(
        ClipResNet(ResNetClipConfig(text_layers=1)),
        word_tokenizer(NO_WORDS, 77),
        torch.zeros(3),
        torch.ones(3),
    )
    seen = MaskClip(clip).look([image(224, 416)])
    assert seen.embeddings[0].shape == (1024, 7, 13)
    assert seen.embeddings[0].isfinite().all()


@torch.no_grad()
def test_vit_b_16_at_full_size_gives_a_cell_for_every_16_pixels():
    import transformers

    text = {"num_hidden_layers": 1, "vocab_size": 100}
    config = transformers.CLIPConfig(text_config=text, vision_config={"patch_size": 16}, projection_dim=512)
    model = transformers.CLIPModel(config).eval()
    assert sum(each.numel() for each in model.vision_model.parameters()) == 85_799_424
    seen = MaskClip(clip_of("vit", model, 224, 16)).look([image(224, 416)])
    assert seen.embeddings[0].shape == (512, 14, 26)
    assert seen.embeddings[0].isfinite().all()


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


def test_between_cell_centres_logits_are_blended_and_beyond_them_held():
    # Cells of 8 pixels: centres at 3.5, 11.5, ... in pixel coordinates.
    dense = dense_embeddings()
    cosines = torch.einsum("crk,nc->nrk", dense.embeddings[0], TEXT)
    got = dense.logits_at(pairs_at([[3.5, 3.5], [7.5, 11.5], [-0.4, 3.5]], [0, 0, 0]), TEXT)
    torch.testing.assert_close(got[0], cosines[:, 0, 0])
    torch.testing.assert_close(got[1], (cosines[:, 1, 0] + cosines[:, 1, 1]) / 2)
    torch.testing.assert_close(got[2], cosines[:, 0, 0])


def test_pairs_of_several_views_are_answered_in_their_own_order():
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


def test_prompt_denoising_silences_classes_that_are_nowhere_likely():
    logits = torch.tensor([[[0.30, 0.10]], [[0.10, 0.30]], [[0.12, 0.11]]])
    refined = denoise_prompts(logits, 0.5)
    torch.testing.assert_close(refined[:2], logits[:2])
    assert (refined[2] == -100).all()


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
    whole = MaskClip(clip).look([picture]).embeddings[0]
    torch.testing.assert_close(MaskClip(clip, window=64).look([picture]).embeddings[0], whole)


@torch.no_grad()
@pytest.mark.parametrize(
    ("overlap", "lefts"),  # in cells of 8 pixels; the last one ends at the border
    [(0.5, (0, 2, 4, 5)), (0.0, (0, 4, 5)), (0.75, (0, 1, 2, 3, 4, 5))],
)
def test_windows_overlap_as_much_as_asked_for_and_each_has_one_vote(overlap, lefts):
    clip, picture = resnet_clip(), image(32, 72)
    got = MaskClip(clip, window=32, overlap=overlap).look([picture]).embeddings[0]
    pixels = clip.normalise(picture[None])
    total = torch.zeros(8, 4, 9)
    for left in lefts:
        seen = dense_resnet(clip.model, pixels[..., left * 8 : left * 8 + 32])[0][0]
        total[:, :, left : left + 4] += F.normalize(seen, dim=0)
    torch.testing.assert_close(got, F.normalize(total, dim=0))


def test_two_scales_are_averaged_on_the_finer_grid():
    clip, picture = resnet_clip(), image(32, 48)
    fine, coarse = (MaskClip(clip, scales=(each,)).look([picture]).embeddings[0] for each in (1.0, 0.5))
    assert (fine.shape[1:], coarse.shape[1:]) == ((4, 6), (2, 3))
    truth = fine + F.interpolate(coarse[None], (4, 6), mode="bilinear", align_corners=False)[0]
    got = MaskClip(clip, scales=(0.5, 1.0)).look([picture]).embeddings[0]
    torch.testing.assert_close(got, F.normalize(truth, dim=0))


def test_images_may_differ_in_size_and_are_seen_in_the_working_size():
    clip = resnet_clip()
    seen = MaskClip(clip).look([image(32, 32), image(64, 40)])
    assert [tuple(each.shape[1:]) for each in seen.embeddings] == [(4, 4), (8, 5)]
    assert seen.sizes == ((32, 32), (64, 40))
    seen = MaskClip(clip, working_size=(16, 32)).look([image(32, 32), image(64, 40)])
    assert [tuple(each.shape[1:]) for each in seen.embeddings] == [(2, 4), (2, 4)]
    assert seen.sizes == ((32, 32), (64, 40))


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
    seen, direct = teacher(sample), teacher.look(pictures)
    assert seen.sizes == ((64, 80), (64, 80))
    text = F.normalize(torch.randn(2, 8), dim=1)
    torch.testing.assert_close(
        seen.logits_at(pairs_at([[61.5, 20.5]], [1]), text),
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
