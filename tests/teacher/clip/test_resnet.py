import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clip2scene.teacher.clip.resnet import (
    AttentionPool,
    CausalAttention,
    ClipResNet,
    ResNetClipConfig,
    resize_positions,
)


def test_pooling_by_gathering_first_equals_multi_head_attention():
    torch.manual_seed(0)
    pool = AttentionPool(side=3, channels=16, heads=4, embed_dim=5)
    for parameter in pool.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 16, 3, 3)
    tokens = pool.tokens(x).transpose(0, 1)
    truth, _ = F.multi_head_attention_forward(
        query=tokens[:1],
        key=tokens,
        value=tokens,
        embed_dim_to_check=16,
        num_heads=4,
        q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight,
        v_proj_weight=pool.v_proj.weight,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight,
        out_proj_bias=pool.c_proj.bias,
        use_separate_proj_weight=True,
        need_weights=False,
    )
    torch.testing.assert_close(pool(x), truth[0])


def test_text_attention_equals_torchs_own_with_a_causal_mask():
    torch.manual_seed(0)
    ours, theirs = CausalAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 5, 8)
    mask = torch.full((5, 5), float("-inf")).triu(1)
    torch.testing.assert_close(ours(x), theirs(x, x, x, attn_mask=mask, need_weights=False)[0])


def test_positions_are_kept_on_their_own_grid_and_smoothly_stretched_to_others():
    table = torch.cat([torch.full((1, 2), 9.0), torch.arange(9.0).repeat(2, 1).T])
    assert resize_positions(table, 3, 3) is table
    wide = resize_positions(table, 3, 6)
    assert wide.shape == (19, 2)
    assert (wide[0] == 9).all()
    grid = wide[1:, 0].view(3, 6)
    assert (grid.diff(dim=1) > 0).all()
    torch.testing.assert_close(grid, 2 * grid[1] + torch.tensor([-1.0, 0, 1]).mul(3)[:, None] - grid[1])


def test_positions_are_stretched_by_cubic_convolution():
    """Keys' kernel with a = -0.75 at distances 0.25, 0.75, 1.25 and 1.75, as bicubic resizing has it."""
    grid = torch.zeros(4, 4)
    grid[:, 1] = 1.0  # a single column of ones, which lies at 2.5 on the grid of twice as many columns
    table = torch.cat([torch.zeros(1, 1), grid.reshape(-1, 1)])
    wide = resize_positions(table, 4, 8)[1:, 0].view(4, 8)
    near, next_to, far, farthest = 0.87890625, 0.26171875, -0.10546875, -0.03515625
    expected = torch.tensor([far, next_to, near, near, next_to, far, farthest, 0.0])
    torch.testing.assert_close(wide, expected.expand(4, 8))
    tall = resize_positions(torch.cat([torch.zeros(1, 1), grid.T.reshape(-1, 1)]), 8, 4)[1:, 0].view(8, 4)
    torch.testing.assert_close(tall, expected[:, None].expand(8, 4))


def test_rn50_has_as_many_parameters_as_the_published_one():
    with torch.device("meta"):
        model = ClipResNet(ResNetClipConfig())
    assert sum(each.numel() for each in model.parameters()) == 102_007_137
    names = set(model.state_dict())
    assert {"visual.layer3.5.conv2.weight", "visual.layer1.0.downsample.0.weight", "logit_scale"} <= names
    assert {"transformer.resblocks.11.attn.in_proj_weight", "visual.attnpool.c_proj.bias"} <= names
    assert model.visual.attnpool.positional_embedding.shape == (50, 2048)


def test_layers_without_strides_are_refused():
    with pytest.raises(ValueError, match="a number of blocks and a stride"):
        ResNetClipConfig(layers=(1, 2), strides=(1,))
    with pytest.raises(ValueError, match="heads must divide"):
        ResNetClipConfig(image_heads=7)
