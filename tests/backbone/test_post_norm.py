"""Blocks that normalise after each sum, with positions at the attention, padding and dropout."""

from functools import partial

import pytest
import torch
from torch import nn

from lightvid.attention import DeformableAttention, FullAttention, PatchAttention
from lightvid.backbone import MLP, SinePositions, SpatioTemporalTransformer
from lightvid.backbone.block import TokenContext
from lightvid.errors import ConfigurationError

C, HIDDEN = 24, 40


def backbone(**options):
    given = {
        "blocks": 2,
        "mixer": partial(FullAttention, heads=4),
        "feed_forward": partial(MLP, hidden=HIDDEN),
        "norm": "post",
        "positions": SinePositions(C),
        "positions_at": "attention",
    }
    return SpatioTemporalTransformer(C, **given | options)


def copy_to(layer, block):
    """The weights of a block to PyTorch's layer."""
    mixer, feed = block.mixer, block.feed_forward
    state = {
        "self_attn.in_proj_weight": torch.cat([mixer.query.weight, mixer.key.weight, mixer.value.weight]),
        "self_attn.in_proj_bias": torch.cat([mixer.query.bias, mixer.key.bias, mixer.value.bias]),
        "self_attn.out_proj.weight": mixer.output.weight,
        "self_attn.out_proj.bias": mixer.output.bias,
    }
    parts = {
        "linear1": feed.linear1,
        "linear2": feed.linear2,
        "norm1": block.mixer_norm,
        "norm2": block.feed_forward_norm,
    }
    state |= {f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in ("weight", "bias")}
    layer.load_state_dict(state)
    return layer


def random_norms(module):
    for layer in module.modules():
        if isinstance(layer, nn.LayerNorm):
            nn.init.normal_(layer.weight, 1, 0.3)
            nn.init.normal_(layer.bias)
    return module


def test_a_block_is_pytorchs_encoder_layer():
    block = random_norms(backbone()).blocks[0]
    layer = copy_to(nn.TransformerEncoderLayer(C, 4, HIDDEN, dropout=0.0, batch_first=True), block)
    tokens = torch.randn(2, 3, 4, 5, C)
    padding = torch.zeros(2, 3, 4, 5, dtype=torch.bool)
    padding[1, :, :, 3:] = True
    torch.testing.assert_close(block(tokens, TokenContext()), layer(tokens.flatten(1, 3)).view_as(tokens))
    expected = layer(tokens.flatten(1, 3), src_key_padding_mask=padding.flatten(1)).view_as(tokens)
    torch.testing.assert_close(block(tokens, TokenContext(padding=padding)), expected)


def test_positions_at_attention_reach_queries_and_keys_but_not_values():
    block, tokens, positions = backbone().blocks[0], torch.randn(1, 2, 3, 4, C), torch.randn(1, 2, 3, 4, C)
    attention = nn.MultiheadAttention(C, 4, batch_first=True)
    layer = copy_to(nn.TransformerEncoderLayer(C, 4, HIDDEN, batch_first=True), block)
    attention.load_state_dict(layer.self_attn.state_dict())
    flat, placed = tokens.flatten(1, 3), (tokens + positions).flatten(1, 3)
    expected = attention(placed, placed, flat)[0].view_as(tokens)
    torch.testing.assert_close(block.mixer(tokens, positions=positions), expected)


def test_a_mixer_without_positions_sees_tokens_with_them_and_0_in_the_padding():
    network = backbone(mixer=partial(PatchAttention, divisions=(1, 1)), blocks=1)
    seen = []
    network.blocks[0].mixer.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    tokens, padding = torch.randn(1, 1, 4, 4, C), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    padding[..., 2:] = True
    network(tokens, padding=padding)
    placed = tokens + SinePositions(C).encode(tokens, padding)
    torch.testing.assert_close(seen[0], placed.masked_fill(padding.unsqueeze(-1), 0))


@pytest.mark.parametrize(
    "mixer", [partial(FullAttention, heads=4), partial(DeformableAttention, heads=4, points=3, mode="trilinear"),
              partial(DeformableAttention, heads=4, points=3, mode="per_frame")]
)  # fmt: skip
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_lies_in_the_padding_changes_nothing_outside_of_it(mixer, norm):
    network = backbone(mixer=mixer, norm=norm, final_norm=norm == "pre")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    alone = torch.randn(1, 3, 4, 5, C)
    padded = torch.randn(1, 3, 6, 9, C)
    padded[:, :, :4, :5] = alone
    padding = torch.ones(1, 3, 6, 9, dtype=torch.bool)
    padding[:, :, :4, :5] = False
    torch.testing.assert_close(network(padded, padding=padding)[:, :, :4, :5], network(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_recomputing_blocks_gives_the_same_gradients(norm):
    kept, recomputed = backbone(norm=norm), backbone(norm=norm, residual="checkpoint")
    recomputed.load_state_dict(kept.state_dict())
    tokens = torch.randn(1, 2, 3, 4, C)

    def gradients(network):
        network(tokens).square().sum().backward()
        return [p.grad for p in network.parameters()]

    torch.testing.assert_close(gradients(recomputed), gradients(kept))


def test_dropout_acts_in_training_only():
    network = backbone(dropout=0.5, mixer=partial(FullAttention, heads=4, dropout=0.5))
    tokens = torch.randn(1, 2, 3, 4, C)
    assert not torch.allclose(network(tokens), network(tokens))
    network.eval()
    assert torch.equal(network(tokens), network(tokens))
    plain = backbone()
    plain.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(tokens), plain(tokens))


@pytest.mark.parametrize("residual", ["reversible", "reversible_split"])
def test_reversible_schemes_refuse_it_in_one_line(residual):
    with pytest.raises(ConfigurationError, match="set norm=pre"):
        backbone(residual=residual)
