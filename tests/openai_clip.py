"""OpenAI's CLIP written down plainly, to make files like theirs and to say what they should answer.

The names, shapes and number formats of the weights are those of the published models; the code is our own,
and as slow as it is plain.
"""

import warnings
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

RESNETS = {
    "RN50": dict(embed=1024, image=224, vision=(3, 4, 6, 3), width=64, text=512),
    "RN101": dict(embed=512, image=224, vision=(3, 4, 23, 3), width=64, text=512),
    "RN50x4": dict(embed=640, image=288, vision=(4, 6, 10, 6), width=80, text=640),
}
VITS = {
    "ViT-B/32": dict(embed=512, image=224, vision=12, width=768, patch=32, text=512),
    "ViT-B/16": dict(embed=512, image=224, vision=12, width=768, patch=16, text=512),
    "ViT-L/14": dict(embed=768, image=224, vision=24, width=1024, patch=14, text=768),
    "ViT-L/14@336px": dict(embed=768, image=336, vision=24, width=1024, patch=14, text=768),
}

_SMALL = dict(embed=32, text=64, tokens=600, context=12, layers=2)
TINY = {
    "resnet": dict(image=64, vision=(2, 1, 1, 1), width=16, **_SMALL),
    "vit": dict(image=32, vision=2, width=128, patch=8, **_SMALL),
}


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width, causal):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1 = nn.LayerNorm(width)
        mlp = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU())]
        self.mlp = nn.Sequential(OrderedDict([*mlp, ("c_proj", nn.Linear(4 * width, width))]))
        self.ln_2 = nn.LayerNorm(width)
        self.causal = causal

    def forward(self, x):  # tokens first, as OpenAI has it
        mask = torch.full((len(x), len(x)), float("-inf")).triu(1) if self.causal else None
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, causal):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, causal) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


class VisionTransformer(nn.Module):
    def __init__(self, image, patch, width, layers, embed):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * 0.1)
        self.positional_embedding = nn.Parameter(torch.randn((image // patch) ** 2 + 1, width) * 0.1)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, causal=False)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed) * width**-0.5)

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        x = self.transformer(x.transpose(0, 1)).transpose(0, 1)
        return self.ln_post(x[:, 0]) @ self.proj


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = None
        if stride > 1 or inputs != planes * 4:
            conv, norm = nn.Conv2d(inputs, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
            parts = [("-1", nn.AvgPool2d(stride)), ("0", conv), ("1", norm)]
            self.downsample = nn.Sequential(OrderedDict(parts))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.avgpool(F.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class AttentionPool(nn.Module):
    def __init__(self, side, channels, heads, embed):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, channels) * 0.1)
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, embed)
        self.heads = heads

    def forward(self, x):
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.positional_embedding[:, None]
        query, key, value = (
            project(each).unflatten(2, (self.heads, -1)).permute(1, 2, 0, 3)
            for project, each in ((self.q_proj, x[:1]), (self.k_proj, x), (self.v_proj, x))
        )
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        return self.c_proj((weights @ value)[:, :, 0].flatten(1))


class ModifiedResNet(nn.Module):
    def __init__(self, image, layers, width, embed):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        inputs = width
        for number, blocks in enumerate(layers):
            planes = width * 2**number
            stage = [Bottleneck(inputs, planes, 2 if number else 1)]
            inputs = planes * 4
            stage += [Bottleneck(inputs, planes, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{number + 1}", nn.Sequential(*stage))
        self.attnpool = AttentionPool(image // 32, inputs, inputs // 64, embed)

    def forward(self, x):
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)))
        x = F.avg_pool2d(x, 2)
        return self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class OpenAIClip(nn.Module):
    def __init__(self, *, embed, image, vision, width, text, patch=None, tokens=49408, context=77, layers=12):
        super().__init__()
        if patch is None:
            self.visual = ModifiedResNet(image, vision, width, embed)
        else:
            self.visual = VisionTransformer(image, patch, width, vision, embed)
        self.transformer = Transformer(text, layers, causal=True)
        self.token_embedding = nn.Embedding(tokens, text)
        self.positional_embedding = nn.Parameter(torch.randn(context, text) * 0.1)
        self.ln_final = nn.LayerNorm(text)
        self.text_projection = nn.Parameter(torch.randn(text, embed) * text**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))
        for name, size in (("input_resolution", image), ("context_length", context), ("vocab_size", tokens)):
            self.register_buffer(name, torch.tensor(size))

    def encode_image(self, images):
        return self.visual(images)

    def encode_text(self, tokens):
        x = self.token_embedding(tokens) + self.positional_embedding
        x = self.ln_final(self.transformer(x.transpose(0, 1)).transpose(0, 1))
        return x[torch.arange(len(x)), tokens.argmax(1)] @ self.text_projection


def in_half_precision(model):
    """List the weights that OpenAI keeps in half: convolutions, linear maps, attentions, last projections."""
    names = {"text_projection", "visual.proj"} & set(dict(model.named_parameters()))
    for prefix, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.MultiheadAttention):
            names |= {f"{prefix}.{name}" for name, _ in module.named_parameters(recurse=False)}
    return names


def make(**sizes):
    """Make a model with random weights, rounded as OpenAI's are, and spread so that every one matters."""
    torch.manual_seed(0)
    model = OpenAIClip(**sizes).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point() and value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.1)
        for name, parameter in model.named_parameters():
            if name in in_half_precision(model):
                parameter.copy_(parameter.half())
    return model


def state_dict(model):
    """Give a model's weights in the precisions that OpenAI keeps them in."""
    halves = in_half_precision(model)
    return {name: value.half() if name in halves else value for name, value in model.state_dict().items()}


def save_archive(model, path):
    """Save a model as OpenAI did: a TorchScript archive."""
    images = torch.zeros(1, 3, *[int(model.input_resolution)] * 2)
    tokens = torch.zeros(1, int(model.context_length), dtype=torch.long)
    methods = {"encode_image": images, "encode_text": tokens}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have people use something else
        traced = torch.jit.trace_module(model, methods, check_trace=False)
        halves = in_half_precision(model)
        kept = {name: value.data for name, value in traced.named_parameters()}
        for name, parameter in traced.named_parameters():
            parameter.data = kept[name].half() if name in halves else kept[name]
        traced.save(str(path))
        for name, parameter in model.named_parameters():  # traced and model share theirs
            parameter.data = kept[name]
    return path
