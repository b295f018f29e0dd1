import torch
from tests.tiny_towers import tiny_resnet, tiny_transformer

from clip2scene.teacher.value_features import dense_resnet, dense_siglip, dense_vit

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
