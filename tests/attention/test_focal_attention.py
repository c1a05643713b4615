import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from lightvid.attention.focal import FocalAttention
from lightvid.errors import ConfigurationError
from lightvid.profiling import flops, peak_bytes


def published(attention, x, window, *, real=None, mask_wraparound=False):
    """The released attention, window by window, of a frame that divides into windows; expansion by half a window.

    Tokens that are not `real` (1, 1, H, W, 1) pool as zeros and are masked.
    """
    real = torch.ones_like(x[:1, :1, :, :, :1]) if real is None else real
    (batch, frames, height, width, channels), (rows, columns) = x.shape, window
    up, left = rows // 2, columns // 2
    grid = (height // rows, width // columns)
    cut = (x * real).reshape(batch, frames, grid[0], rows, grid[1], columns, channels).permute(0, 1, 2, 4, 6, 3, 5)
    q, k, v = attention.qkv(x).chunk(3, -1)
    border = (0, 0, left, left, up, up)
    _, k_pooled, v_pooled = (
        F.pad(p, border) for p in attention.qkv(attention.pool(cut.flatten(5))[..., 0]).chunk(3, -1)
    )
    outside = 1 - F.pad(torch.ones(*grid, 1), border)[..., 0]
    result = torch.empty_like(x)
    for i in range(grid[0]):
        for j in range(grid[1]):
            own = (..., slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns), slice(None))
            keys, values, bias = [k[own].flatten(2, 3)], [v[own].flatten(2, 3)], [1e9 * (real[own].flatten() - 1)]
            for down, right in ((-up, -left), (-up, left), (up, -left), (up, left)):
                row, column = torch.arange(rows)[:, None] - down, torch.arange(columns) - right
                kept = (row < 0) | (row >= rows) | (column < 0) | (column >= columns)
                keys.append(k.roll((down, right), (2, 3))[own][:, :, kept])
                values.append(v.roll((down, right), (2, 3))[own][:, :, kept])
                row, column = row + i * rows, column + j * columns
                wrapped = (row < 0) | (row >= height) | (column < 0) | (column >= width)
                masked = (real.roll((down, right), (2, 3))[own].view(rows, columns) == 0) | (wrapped & mask_wraparound)
                bias.append(-1e9 * masked[kept])
            near = (slice(i, i + 2 * up + 1), slice(j, j + 2 * left + 1))
            keys.append(k_pooled[:, :, *near].flatten(2, 3))
            values.append(v_pooled[:, :, *near].flatten(2, 3))
            bias.append(-100 * outside[near].flatten())
            mask = torch.cat(bias).to(x.dtype).repeat(frames)
            query, key, value = (
                part.flatten(1, 2).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
                for part in (q[own].flatten(2, 3), torch.cat(keys, 2), torch.cat(values, 2))
            )
            weights = (query @ key.mT / math.sqrt(query.shape[-1]) + mask).softmax(-1)
            result[own] = (weights @ value).transpose(1, 2).reshape(batch, frames, rows, columns, channels)
    return attention.proj(result)


def trained(channels, **options):
    """As if trained: the pooling is not the plain mean that it begins with."""
    attention = FocalAttention(channels, **options).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_(std=0.5)
    return attention


@pytest.mark.parametrize("mask_wraparound", [False, True])
@pytest.mark.parametrize(
    ("window", "grid", "frames"), [((5, 9), (4, 4), 1), ((5, 9), (1, 2), 3), ((2, 3), (3, 2), 2), ((3, 3), (1, 1), 2)]
)
def test_equals_the_released_attention_step_by_step(window, grid, frames, mask_wraparound):
    attention = trained(8, heads=2, window=window, mask_wraparound=mask_wraparound)
    x = torch.randn(2, frames, window[0] * grid[0], window[1] * grid[1], 8).double()
    expected = published(attention, x, window, mask_wraparound=mask_wraparound)
    torch.testing.assert_close(attention(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), expected)


def test_of_120_shifted_tokens_12_count_twice():
    attention = FocalAttention(2, heads=1, pooled=False)
    torch.nn.init.zeros_(attention.qkv.weight[:4])  # equal scores: every key weighs as often as it counts
    torch.nn.init.zeros_(attention.qkv.bias)
    for weight in (attention.qkv.weight[4:], attention.proj.weight):
        torch.nn.init.eye_(weight)
    torch.nn.init.zeros_(attention.proj.bias)
    weights = []
    for row in range(15):
        for column in range(27):
            x = torch.zeros(1, 1, 15, 27, 2)
            x[0, 0, row, column, 0] = 165
            weights.append((row - 5, column - 9, round(attention(x)[0, 0, 7, 13, 0].item())))
    twice = {(2, c) for c in (-4, -3, -2, -1, 9, 10, 11, 12)} | {(r, 4) for r in (-2, -1, 5, 6)}
    assert {(row, column) for row, column, weight in weights if weight == 2} == twice
    assert sum(weight == 1 for _, _, weight in weights) == 45 + 120 - 2 * 12


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (5, 10), (11, 9), (12, 20)])
@pytest.mark.parametrize("mask_wraparound", [False, True])
def test_a_frame_of_any_size_is_one_of_whole_windows_whose_added_tokens_are_never_seen(size, mask_wraparound):
    attention = trained(8, heads=2, mask_wraparound=mask_wraparound)
    x = torch.randn(1, 2, *size, 8).double()
    added = (0, 0, 0, -size[1] % 9, 0, -size[0] % 5)
    real = F.pad(torch.ones(1, 1, *size, 1).double(), added)
    whole = F.pad(x, added) + (1 - real) * torch.randn(8)
    expected = published(attention, whole, (5, 9), real=real, mask_wraparound=mask_wraparound)
    torch.testing.assert_close(attention(x), expected[:, :, : size[0], : size[1]])


def test_without_pooling_a_window_sees_nothing_beyond_its_surroundings():
    attention = trained(4, heads=1, pooled=False, mask_wraparound=True)
    x = torch.randn(1, 2, 20, 36, 4).double()
    other = x.clone()
    other[:, :, 7:] = 0
    assert torch.equal(attention(x)[:, :, :5], attention(other)[:, :, :5])
    assert not torch.allclose(attention(x)[:, :, 5:7], attention(other)[:, :, 5:7])


def test_all_frames_are_looked_at():
    attention = trained(4, heads=1)
    x = torch.randn(1, 3, 5, 9, 4).double()
    other = x.clone()
    other[:, 2] = 0
    assert not torch.allclose(attention(x)[:, 0], attention(other)[:, 0])


def test_inference_mixes_few_windows_at_a_time_into_the_same_result(monkeypatch):
    attention, x = trained(8, heads=2), torch.randn(2, 2, 10, 27, 8).double()
    monkeypatch.setattr("lightvid.attention.focal.ELEMENTS_AT_ONCE", 1)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), attention(x.clone().requires_grad_()))
    with torch.inference_mode():
        result = attention(torch.cat((x, x), dim=2))  # a size that no pass has seen yet, then training at it
    torch.testing.assert_close(attention(torch.cat((x, x), dim=2).requires_grad_()), result.clone())


def test_gradients_reach_all_weights_and_tokens():
    attention = FocalAttention(8, heads=2, window=(2, 3))
    x = torch.randn(1, 2, 4, 5, 8, requires_grad=True)
    attention(x).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in attention.parameters())
    assert x.grad.abs().amin(-1).gt(0).all()


def test_gradients_are_those_of_finite_differences():
    attention = trained(2, heads=1, window=(2, 2))
    x = torch.randn(1, 1, 3, 4, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(attention, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_float32(dtype):
    attention, x = FocalAttention(16, heads=2), torch.randn(1, 2, 10, 18, 16)
    with torch.autocast("cpu", dtype):
        result = attention(x)
    assert result.dtype == dtype
    torch.testing.assert_close(result.float(), attention(x), atol=0.03, rtol=0.03)


def test_a_compiled_mixer_gives_the_same():
    attention = FocalAttention(8, heads=2, window=(2, 3))
    whole = torch.compile(attention, fullgraph=True, backend="aot_eager", dynamic=False)
    any_size = torch.compile(attention, backend="aot_eager")
    for size, compiled in (((5, 7), whole), ((4, 9), whole), ((5, 7), any_size), ((4, 9), any_size)):
        x = torch.randn(1, 2, *size, 8)
        torch.testing.assert_close(compiled(x), attention(x))


def test_a_pretended_call_leaves_nothing_behind_for_a_real_one():
    attention = FocalAttention(8, heads=2, window=(2, 3))
    with FakeTensorMode(allow_non_fake_inputs=True):
        attention(torch.empty(1, 2, 11, 13, 8))
    result = attention(torch.randn(1, 2, 11, 13, 8))
    assert type(result) is torch.Tensor


def test_the_published_names_of_weights_are_the_only_state():
    shapes = {name: tuple(tensor.shape) for name, tensor in FocalAttention(8).state_dict().items()}
    assert shapes == {
        "qkv.weight": (24, 8),
        "qkv.bias": (24,),
        "proj.weight": (8, 8),
        "proj.bias": (8,),
        "pool.weight": (1, 45),
        "pool.bias": (1,),
    }


def cost(count, frames):
    with torch.device("meta"):
        attention, x = FocalAttention(512), torch.empty(1, frames, 20, 36, 512)
    return count(lambda: attention(x))


def test_attention_costs_169_keys_a_frame_not_210():
    tokens, frames = 720, 8
    layers = 2 * frames * 512 * 512 * (2 * tokens + 2 * (tokens + 16)) + 2 * frames * tokens * 512  # and pooling
    attention = 4 * 512 * (tokens * frames) * (169 * frames)
    assert cost(flops, frames) == layers + attention


def test_cost_is_linear_in_the_frames_but_for_scores_and_their_sums():
    """Twice the frames: layers cost twice, attention four times; its keys and values stay linear."""
    one, two, four = (cost(flops, frames) for frames in (1, 2, 4))
    assert four - 2 * two == 4 * (two - 2 * one)
    assert two - 2 * one == 2 * 4 * 512 * 720 * 169


def test_inference_holds_the_keys_of_few_windows():
    attention, x = FocalAttention(64), torch.empty(1, 8, 40, 72, 64)
    tokens = x.nbytes
    with torch.no_grad():
        peak = peak_bytes(lambda: attention(x))
    assert peak < 6 * tokens + 2 * 4 * 2**22  # queries, keys, values, result, ...; all gathered would be 7.5 more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "8 channels do not split into 3 equal heads"),
        ({"window": (5,)}, "window is \\(rows, columns\\)"),
        ({"window": (0, 9)}, "window is \\(rows, columns\\)"),
        ({"expand": (2, 10)}, "expand is \\(rows, columns\\)"),
        ({"expand": (-1, 2)}, "expand is \\(rows, columns\\)"),
    ],
)
def test_impossible_options_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        FocalAttention(8, **options)
    assert "\n" not in str(error.value)
