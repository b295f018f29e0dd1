"""Tiny image-text models with random weights, for tests."""

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
