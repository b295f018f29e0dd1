import pytest
import torch
import torch.nn.functional as F
from tests import openai_clip
from tests.tiny_towers import tiny_resnet, tiny_transformer

from clip2scene.teacher import value_features
from clip2scene.teacher.clip.openai import load_openai_model
from clip2scene.teacher.last_attention import gather_by_proxy, gather_from_alike_cells
from clip2scene.teacher.value_features import (
    check_last_layer,
    dense_resnet,
    dense_siglip,
    dense_tips,
    dense_vit,
)

pytestmark = pytest.mark.usefixtures("exact_products")

# Each cell against the model's own image embedding, with its attention forced onto that cell.


@torch.no_grad()
def test_a_resnets_cell_is_what_its_pooling_gives_with_attention_forced_onto_it(monkeypatch):
    model, pixels = tiny_resnet(), torch.randn(1, 3, 32, 32)
    dense, keys = dense_resnet(model, pixels)
    assert dense.shape == (1, 8, 4, 4)
    assert keys.shape == (1, 32, 4, 4)
    for cell in range(16):
        forced = torch.zeros(1, 2, 17)
        forced[:, :, 1 + cell] = 1
        monkeypatch.setattr(model.visual.attnpool, "attention", lambda tokens, forced=forced: forced)
        torch.testing.assert_close(dense[0, :, cell // 4, cell % 4], model.encode_image(pixels)[0])


@torch.no_grad()
def test_a_vits_cell_is_what_its_last_block_gives_when_every_token_attends_to_itself_alone():
    model, pixels = tiny_transformer("vit"), torch.randn(1, 3, 32, 32)
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
def test_a_vits_only_cell_is_the_image_embedding_with_the_class_token_in_its_place():
    model = tiny_transformer("vit", image_size=8)
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
def test_a_siglips_only_cell_is_its_image_embedding():
    model = tiny_transformer("siglip", image_size=8)
    pixels = torch.randn(2, 3, 8, 8)
    image = model.get_image_features(pixel_values=pixels)
    torch.testing.assert_close(
        dense_siglip(model, pixels)[0][:, :, 0, 0], getattr(image, "pooler_output", image)
    )


@torch.no_grad()
def test_a_siglips_cell_is_what_its_head_makes_of_that_token_alone():
    model, pixels = tiny_transformer("siglip"), torch.randn(1, 3, 32, 32)
    tokens = model.vision_model(pixel_values=pixels).last_hidden_state
    truth = torch.cat([model.vision_model.head(tokens[:, cell : cell + 1]) for cell in range(16)])
    torch.testing.assert_close(dense_siglip(model, pixels)[0][0].flatten(1).T, truth)


@torch.no_grad()
def test_a_tipss_cell_is_what_its_last_block_gives_when_every_token_attends_to_itself_alone():
    model, pixels = tiny_transformer("tips"), torch.randn(1, 3, 32, 40)
    tower, tokens = model.vision_model, []
    tower.encoder.layer[-1].register_forward_pre_hook(lambda _, args: tokens.append(args[0]))
    tower(pixel_values=pixels)
    alone = torch.full((22, 22), float("-inf")).fill_diagonal_(0.0)[None, None]
    truth = tower.layernorm(tower.encoder.layer[-1](tokens[0], attention_mask=alone))
    dense, keys = dense_tips(model, pixels)
    assert keys.shape == dense.shape == (1, 16, 4, 5)
    torch.testing.assert_close(dense[0], truth[0, 2:].T.view(16, 4, 5))


# Other attentions of the last layer.


@torch.no_grad()
def test_an_attention_that_gathers_from_itself_alone_is_maskclip_to_the_bit(monkeypatch):
    def alone(q, k, v, attention, grid):
        return v.transpose(1, 2).flatten(2)

    monkeypatch.setattr(value_features, "attend", alone)
    model, pixels = tiny_transformer("vit"), torch.randn(2, 3, 32, 48)
    assert torch.equal(dense_vit(model, pixels, attention="sclip")[0], dense_vit(model, pixels)[0])


def plain_vit(model, pixels, attention, proxy=None):
    """The read-outs written out on OpenAI's own architecture, head by head, one view."""
    tower = model.visual
    block = tower.transformer.resblocks[-1]
    caught = []
    handle = block.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    tower(pixels)
    handle.remove()
    x = caught[0][:, 0]
    normed = block.ln_1(x)
    heads, width = block.attn.num_heads, x.shape[1] // block.attn.num_heads
    q, k, v = F.linear(normed, block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, 1)
    side = round((len(x) - 1) ** 0.5)
    places = torch.stack([torch.arange(side**2) // side, torch.arange(side**2) % side], 1).float()
    near = torch.zeros(len(x), len(x))
    near[1:, 1:] = torch.exp(-torch.cdist(places, places).square() / (2 * 5.0**2))
    mixed = torch.zeros_like(v)
    for head in range(heads):
        mine = slice(head * width, (head + 1) * width)
        qq, kk = (each[:, mine] @ each[:, mine].T / width**0.5 for each in (q, k))
        weights = {
            "maskclip": torch.eye(len(x)),
            "sclip": qq.softmax(1) + kk.softmax(1),
            "clearclip": qq.softmax(1),
            "naclip": (kk + near).softmax(1),
        }[attention]
        mixed[:, mine] = weights @ v[:, mine]
    if proxy is not None:
        unit = F.normalize(proxy[0].flatten(1), dim=0)
        cosines = unit.T @ unit
        m = 3 * (cosines - 1.2 * cosines.mean())
        values = v[1:].T.unflatten(1, (side, side))[None]
        grid = proxy.shape[2:]
        values = F.interpolate(values, grid, mode="bilinear", align_corners=False)[0].flatten(1)
        mixed = m.masked_fill(m < 0, -torch.inf).softmax(1) @ values.T
    y = F.linear(mixed, block.attn.out_proj.weight, block.attn.out_proj.bias)
    if proxy is None and attention in ("maskclip", "sclip"):
        y = x + y
        y = y + block.mlp(block.ln_2(y))
    cells = y if proxy is not None else y[1:]
    return (tower.ln_post(cells) @ tower.proj).T


@pytest.fixture(scope="module")
def openai_vit(tmp_path_factory):
    model = openai_clip.make(**openai_clip.TINY["vit"])
    path = openai_clip.save_archive(model, tmp_path_factory.mktemp("openai") / "ViT.pt")
    return model.float(), load_openai_model(path)


@pytest.mark.parametrize("attention", ["maskclip", "sclip", "clearclip", "naclip"])
@torch.no_grad()
def test_an_archive_of_openais_in_the_layout_of_transformers_is_read_as_each_method_says(
    openai_vit, attention
):
    (theirs, ours), pixels = openai_vit, torch.randn(1, 3, 32, 32)
    found, _ = dense_vit(ours, pixels, attention=attention)
    truth = plain_vit(theirs, pixels, attention).view(found.shape[1:])
    torch.testing.assert_close(found[0], truth, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_vits_values_are_gathered_by_a_proxy_on_its_own_grid(openai_vit):
    (theirs, ours), pixels = openai_vit, torch.randn(1, 3, 32, 32)
    proxy = torch.randn(1, 7, 3, 5) + 0.4
    found, keys = dense_vit(ours, pixels, proxy=proxy)
    assert found.shape[2:] == (3, 5) and keys.shape[2:] == (4, 4)
    truth = plain_vit(theirs, pixels, "maskclip", proxy).view(found.shape[1:])
    torch.testing.assert_close(found[0], truth, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_every_attention_of_a_vit_gives_another_map_and_the_same_keys():
    model, pixels = tiny_transformer("vit"), torch.randn(2, 3, 32, 48)
    read = [dense_vit(model, pixels, attention=each) for each in ("maskclip", "sclip", "clearclip", "naclip")]
    for at, (dense, keys) in enumerate(read):
        assert dense.shape == (2, 8, 4, 6)
        assert torch.equal(keys, read[0][1])
        assert all(not torch.allclose(dense, other, atol=1e-3) for other, _ in read[:at])


@torch.no_grad()
def test_a_resnets_cells_are_gathered_before_or_after_its_projections_alike():
    model, pixels = tiny_resnet(), torch.randn(2, 3, 32, 48)
    pool, cells = model.visual.attnpool, model.visual.cells(pixels)
    values = pool.v_proj(pool.tokens(cells)[:, 1:]).transpose(1, 2).unflatten(2, (4, 6))
    proxy = torch.randn(2, 7, 5, 7) + 0.4

    def project(gathered):
        return (
            pool.c_proj(gathered.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, gathered.shape[2:])
        )

    (found,) = dense_resnet(model, pixels, attention="cells", with_keys=False)
    torch.testing.assert_close(found, project(gather_from_alike_cells(values, cells)), atol=1e-4, rtol=1e-4)
    (found,) = dense_resnet(model, pixels, proxy=proxy, with_keys=False)
    torch.testing.assert_close(found, project(gather_by_proxy(values, proxy)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "attention", "proxy", "fault"),
    [
        ("siglip", "naclip", False, "--teacher.attention must be maskclip for a SigLIP, got 'naclip'"),
        ("resnet", "sclip", False, "--teacher.attention must be maskclip or cells for a CLIP ResNet"),
        ("vit", "cells", False, "must be maskclip or sclip or clearclip or naclip for a CLIP ViT"),
        ("tips", "naclip", False, "--teacher.attention must be maskclip for a TIPSv2, got 'naclip'"),
        ("siglip", "maskclip", True, "--teacher.proxy goes with a CLIP ViT or ResNet, got a SigLIP"),
        ("vit", "naclip", True, "takes the place of an attention, got --teacher.attention naclip"),
    ],
)
def test_what_a_family_has_no_place_for_is_refused_with_what_it_has(family, attention, proxy, fault):
    with pytest.raises(ValueError, match=fault):
        check_last_layer(family, attention, with_proxy=proxy)
