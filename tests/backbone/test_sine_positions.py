"""VisTR's positions: the published formula, with and without padding."""

import math

import pytest
import torch

from lightvid.backbone import SinePositions


def expected(index, last, features):
    """One axis of one cell: `index` counted from 1 among `last` cells."""
    position = 2 * math.pi * index / (last + 1e-6)
    angles = [position / 10000 ** (2 * (i // 2) / features) for i in range(features)]
    return torch.tensor([math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)])


def at(t, y, x, sizes, features):
    return torch.cat([expected(i + 1, n, features) for i, n in zip((t, y, x), sizes, strict=True)])


@pytest.mark.parametrize("cell", [(0, 0, 0), (2, 3, 4), (1, 0, 4)])
def test_channels_are_time_row_and_column(cell):
    positions = SinePositions(384).encode(torch.empty(2, 3, 4, 5, 384))
    assert positions.shape == (1, 3, 4, 5, 384)
    torch.testing.assert_close(positions[0][cell], at(*cell, (3, 4, 5), 128), rtol=0, atol=2e-6)


@pytest.mark.parametrize("cell", [(0, 0, 0), (1, 2, 3)])
def test_padding_does_not_count(cell):
    padding = torch.zeros(2, 2, 5, 6, dtype=torch.bool)
    padding[1, :, 3:] = True
    padding[1, :, :, 4:] = True
    encoded = SinePositions(96).encode(torch.empty(2, 2, 5, 6, 96), padding)
    torch.testing.assert_close(encoded[1][cell], at(*cell, (2, 3, 4), 32), rtol=0, atol=2e-6)
    torch.testing.assert_close(encoded[0][cell], at(*cell, (2, 5, 6), 32), rtol=0, atol=2e-6)
    assert encoded.isfinite().all()


def test_channels_left_over_are_0():
    positions = SinePositions(64).encode(torch.empty(1, 1, 2, 2, 64))
    assert positions[..., :60].abs().sum(-1).min() > 0
    assert not positions[..., 60:].any()


def test_positions_are_added_in_the_dtype_of_the_tokens():
    positions, tokens = SinePositions(12), torch.randn(1, 2, 3, 4, 12)
    torch.testing.assert_close(positions(tokens), tokens + positions.encode(tokens))
    assert positions(tokens.bfloat16()).dtype == torch.bfloat16
