import pytest
import torch
from torch import nn

from lightvid.ops import chunking, map_frames, maps_to_tokens, tokens_to_maps


@pytest.fixture
def two_at_once(monkeypatch):
    monkeypatch.setattr(chunking, "ELEMENTS_AT_ONCE", 2 * 3 * 4 * 5)


def test_tokens_and_maps_are_views_of_one_memory():
    tokens = torch.randn(2, 3, 4, 5, 6)
    maps = tokens_to_maps(tokens)
    assert maps.shape == (6, 6, 4, 5)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert maps.data_ptr() == maps_to_tokens(maps, 2).data_ptr() == tokens.data_ptr()
    assert torch.equal(maps_to_tokens(maps, 2), tokens)


def test_without_gradients_a_few_frames_pass_at_a_time(two_at_once):
    seen = []

    def function(frames):
        seen.append(len(frames))
        return frames * 2

    frames = torch.randn(5, 3, 4, 5)
    with torch.no_grad():
        assert torch.equal(map_frames(function, frames), frames * 2)
    assert seen == [2, 2, 1]


def test_the_result_can_take_the_memory_of_the_input(two_at_once):
    frames = torch.randn(5, 3, 4, 5)
    expected = frames + 1
    with torch.no_grad():
        result = map_frames(lambda part: part + 1, frames, out=frames)
    assert result is frames
    assert torch.equal(frames, expected)


def test_the_memory_format_of_the_function_is_kept(two_at_once):
    conv = nn.Conv2d(3, 8, 3, padding=1)
    frames = torch.randn(5, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert map_frames(conv, frames).is_contiguous(memory_format=torch.channels_last)


def test_recomputing_gives_the_same_gradients(two_at_once):
    conv = nn.Conv2d(3, 3, 3, padding=1)
    frames = torch.randn(5, 3, 4, 5, requires_grad=True)
    gradients = [
        torch.autograd.grad(map_frames(conv, frames, recompute=recompute).square().sum(), [frames, conv.weight])
        for recompute in (False, True)
    ]
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)
