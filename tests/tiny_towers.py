"""Tiny image-text models with random weights, for tests."""

import json

import torch
from torch import nn

from clip2scene.teacher.clip.resnet import ClipResNet, ResNetClipConfig


def tiny_resnet(image_size=32):
    torch.manual_seed(0)
    config = ResNetClipConfig(8, image_size, (1, 1), (1, 2), 4, 2, 5, 12, 8, 2, 1)
    model = ClipResNet(config).eval()
    for parameter in model.visual.attnpool.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def save_tiny_segformer(folder, names, size):
    """Write a SegFormer's folder: its classes' names, and the (height, width) that images are resized to."""
    import transformers

    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[4, 8, 8, 8], num_attention_heads=[1] * 4, decoder_hidden_size=8
    )
    config.id2label = dict(enumerate(names))
    model = transformers.SegformerForSemanticSegmentation(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    nn.init.normal_(model.decode_head.classifier.weight, std=5.0)
    nn.init.zeros_(model.decode_head.classifier.bias)  # so that several classes are seen
    model.eval().save_pretrained(folder)
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.3]}
    settings = {**colours, "size": {"height": size[0], "width": size[1]}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def tiny_transformer(kind, image_size=32):
    import transformers

    torch.manual_seed(0)
    common = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    vision = {**common, "image_size": image_size, "patch_size": 8}
    text = {**common, "vocab_size": 11}
    if kind == "vit":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        config.vision_config._attn_implementation = "eager"
        model = transformers.CLIPModel(config)
    elif kind == "tips":
        sizes = {name: value for name, value in vision.items() if name != "intermediate_size"}
        settings = transformers.Tipsv2Config(text_config=text, vision_config={**sizes, "mlp_ratio": 2})
        model = transformers.Tipsv2Model(settings)
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()
