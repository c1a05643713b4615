"""Attention of queries to a clip, dense and deformable."""

import math

import pytest
import torch
from torch import nn

from lightvid.attention import CrossAttention, DeformableCrossAttention
from lightvid.attention.cross import Memory, References
from lightvid.errors import ConfigurationError

C, HEADS = 16, 2


def disturbed(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def clip(batch=1, frames=3, height=4, width=5):
    return torch.randn(batch, frames, height, width, C)


def random_references(batch, queries, *, sizes):
    points = 0.2 + 0.6 * torch.rand(batch, queries, 3)
    return References(points, 0.2 + 0.3 * torch.rand(batch, queries, 2) if sizes else None)


def test_dense_attention_is_pytorchs_with_positions_on_the_keys():
    attention = disturbed(CrossAttention(C, heads=HEADS))
    tokens, positions, queries = clip(2), clip(1), torch.randn(2, 7, C)
    padding = torch.zeros(2, 3, 4, 5, dtype=torch.bool)
    padding[1, :, 3:] = True
    parts = attention.attention
    reference = nn.MultiheadAttention(C, HEADS, batch_first=True)
    reference.in_proj_weight.data = torch.cat([parts.query.weight, parts.key.weight, parts.value.weight])
    reference.in_proj_bias.data = torch.cat([parts.query.bias, parts.key.bias, parts.value.bias])
    reference.out_proj.load_state_dict(parts.output.state_dict())
    keys = (tokens + positions).flatten(1, 3)
    expected = reference(queries, keys, tokens.flatten(1, 3), key_padding_mask=padding.flatten(1))[0]
    result = attention(queries, Memory(tokens, positions, padding), References(torch.empty(0)))
    torch.testing.assert_close(result, expected)


def test_with_a_point_at_every_key_and_its_score_deformable_attention_is_dense_attention():
    frames, height, width = 2, 3, 4
    keys = frames * height * width
    dense = disturbed(CrossAttention(C, heads=HEADS)).double()
    sparse = DeformableCrossAttention(C, heads=HEADS, points=keys).double()
    tokens, queries = clip(1, frames, height, width).double(), torch.randn(1, 6, C, dtype=torch.float64)
    parts = dense.attention
    sparse.value.load_state_dict(parts.value.state_dict())
    sparse.output.load_state_dict(parts.output.state_dict())
    reference = torch.tensor([0.4, 0.3, 0.6], dtype=torch.float64)
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack((x, y, t), dim=-1).flatten(0, 2) + 0.5
    # a score is linear in the query: (Wq x + bq) . k / sqrt(d)
    key = parts.key(tokens).flatten(0, 3).unflatten(-1, (HEADS, -1)).transpose(0, 1) / math.sqrt(C / HEADS)
    rows = parts.query.weight.unflatten(0, (HEADS, -1))
    weight, bias = torch.zeros(HEADS, keys, 4, C).double(), torch.zeros(HEADS, keys, 4).double()
    bias[..., :3] = cells - reference * torch.tensor([width, height, frames])
    weight[..., 3, :] = key @ rows
    bias[..., 3] = torch.einsum("mkd,md->mk", key, parts.query.bias.unflatten(0, (HEADS, -1)))
    sparse.sampling.query.weight.data, sparse.sampling.query.bias.data = weight.flatten(0, 2), bias.flatten()
    references = References(reference.expand(1, 6, 3))
    expected = dense(queries, Memory(tokens), references)
    torch.testing.assert_close(sparse(queries, Memory(tokens), references), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sizes", [False, True])
def test_padding_changes_nothing_for_queries_of_the_picture(sizes):
    attention = disturbed(DeformableCrossAttention(C, heads=HEADS, points=4))
    alone, queries = clip(2), torch.randn(2, 6, C)
    padded = clip(2, 3, 6, 8)
    padded[:, :, :4, :5] = alone
    padding = torch.ones(2, 3, 6, 8, dtype=torch.bool)
    padding[:, :, :4, :5] = False
    references = random_references(2, 6, sizes=sizes)
    part = torch.tensor([5 / 8, 4 / 6])
    points = torch.cat((references.points[..., :2] * part, references.points[..., 2:]), dim=-1)
    in_padded = References(points, references.sizes * part if sizes else None)
    result = attention(queries, Memory(padded, None, padding), in_padded)
    torch.testing.assert_close(result, attention(queries, Memory(alone), references), rtol=1e-4, atol=1e-5)


def test_at_the_start_points_lie_inside_of_the_box():
    attention = DeformableCrossAttention(C, heads=4, points=12, frames=3)
    tokens = clip(1, 3, 16, 16).requires_grad_()
    references = References(torch.tensor([[[0.5, 0.5, 0.5]]]), torch.tensor([[[0.5, 0.25]]]))
    attention(torch.randn(1, 1, C), Memory(tokens), references).square().sum().backward()
    rows, columns = (tokens.grad[0].abs().sum((0, -1)) > 0).nonzero().T
    # from 4 to 12 and from 6 to 10; a point on an edge lies between the cells on both of its sides
    assert (columns.min(), columns.max()) == (3, 12)
    assert (rows.min(), rows.max()) == (5, 10)


def test_at_the_start_points_spread_over_frames_around_the_querys_own():
    attention = DeformableCrossAttention(C, heads=4, points=6, frames=3)
    tokens = clip(1, 5, 8, 8).requires_grad_()
    references = References(torch.tensor([[[0.5, 0.5, 1.5 / 5]]]))
    attention(torch.randn(1, 1, C), Memory(tokens), references).square().sum().backward()
    seen = tokens.grad[0].abs().sum((1, 2, 3)) > 0
    assert seen.tolist() == [True, True, True, False, False]


def test_gradients_reach_all_parameters_queries_tokens_and_references():
    attention = disturbed(DeformableCrossAttention(C, heads=HEADS, points=3))
    tokens, queries = clip(2).requires_grad_(), torch.randn(2, 6, C, requires_grad=True)
    references = random_references(2, 6, sizes=True)
    inputs = [tokens, queries, references.points.requires_grad_(), references.sizes.requires_grad_()]
    attention(queries, Memory(tokens), references).square().sum().backward()
    assert all(t.grad is not None and t.grad.abs().sum() > 0 for t in [*inputs, *attention.parameters()])


def test_bfloat16_under_autocast_is_close_to_float32():
    tokens, queries = clip(1), torch.randn(1, 6, C)
    for attention in (CrossAttention(C, heads=HEADS), DeformableCrossAttention(C, heads=HEADS, points=4)):
        references = random_references(1, 6, sizes=True)
        expected = attention(queries, Memory(tokens), references)
        with torch.autocast("cpu", torch.bfloat16):
            result = attention(queries, Memory(tokens), references)
        assert (result.float() - expected).norm() <= 0.03 * expected.norm()


def test_what_does_not_fit_is_refused_in_one_line():
    for options in ({"heads": 3}, {"points": 0}, {"frames": 0}):
        with pytest.raises(
            ConfigurationError, match="channels that split into heads, and at least one point and frame"
        ):
            DeformableCrossAttention(C, **options)
    with pytest.raises(ConfigurationError, match="16 channels do not split into 3 equal heads"):
        CrossAttention(C, heads=3)
