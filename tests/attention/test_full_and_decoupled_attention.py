import pytest
import torch

from lightvid.attention import FullAttention, SpatialAttention, TemporalAttention
from lightvid.errors import ConfigurationError
from lightvid.profiling import flops, peak_bytes


def by_hand(mixer, tokens):
    """Multi-head attention of tokens (L, C) to each other, one head after the other."""
    heads = []
    for index in range(mixer.heads):
        width = tokens.shape[-1] // mixer.heads
        channels = slice(index * width, (index + 1) * width)
        query, key, value = (layer(tokens)[:, channels] for layer in (mixer.query, mixer.key, mixer.value))
        heads.append((query @ key.T / width**0.5).softmax(-1) @ value)
    return mixer.output(torch.cat(heads, dim=-1))


def test_full_attention_is_joint_over_all_frames():
    mixer, x = FullAttention(8, heads=2), torch.randn(2, 3, 2, 4, 8)
    expected = torch.stack([by_hand(mixer, clip.flatten(0, 2)).view(clip.shape) for clip in x])
    torch.testing.assert_close(mixer(x), expected)


def test_spatial_attention_stays_inside_a_frame():
    mixer, x = SpatialAttention(8, heads=2), torch.randn(1, 2, 3, 4, 8)
    expected = torch.stack([by_hand(mixer, frame.flatten(0, 1)).view(3, 4, 8) for frame in x[0]])
    torch.testing.assert_close(mixer(x)[0], expected)


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 7)])
def test_temporal_attention_joins_the_frames_of_a_zone(size):
    height, width = size
    mixer, x = TemporalAttention(8, heads=2, zones=2), torch.randn(1, 3, height, width, 8)
    result = mixer(x)
    assert result.shape == x.shape
    rows, columns = (height + 1) // 2 if height > 1 else 1, (width + 1) // 2
    zone = x[0, :, :rows, :columns]
    torch.testing.assert_close(result[0, :, :rows, :columns], by_hand(mixer, zone.flatten(0, 2)).view(zone.shape))
    last = x[0, :, rows if height > 1 else 0 :, columns:]
    torch.testing.assert_close(
        result[0, :, rows if height > 1 else 0 :, columns:], by_hand(mixer, last.flatten(0, 2)).view(last.shape)
    )


def test_no_score_matrix_is_kept():
    with torch.device("meta"):
        mixer, x = FullAttention(64), torch.empty(1, 8, 60, 108, 64)
    tokens = 8 * 60 * 108
    with torch.no_grad():
        assert peak_bytes(lambda: mixer(x)) < 8 * tokens * 64 * 4
        assert flops(lambda: mixer(x)) == 4 * 2 * tokens * 64**2 + 4 * tokens**2 * 64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FullAttention(10, heads=4), "10 channels do not split into 4 equal heads"),
        (lambda: SpatialAttention(10, heads=0), "into 0 equal heads"),
        (lambda: TemporalAttention(8, zones=0), "at least 1, got 0"),
    ],
)
def test_a_wrong_choice_is_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()
