import pytest
import torch
from torch.nn import functional as F

from lightvid.attention import PatchAttention
from lightvid.errors import ConfigurationError
from lightvid.profiling import saved_bytes


def test_a_head_is_scaled_dot_product_attention_between_unfolded_patches():
    attention = PatchAttention(6, divisions=(1, 3))
    x = torch.randn(2, 4, 6, 9, 6)
    heads = []
    for head, patch in enumerate(((6, 9), (2, 3))):
        channels = slice(3 * head, 3 * head + 3)
        rows = []
        for layer in (attention.query, attention.key, attention.value):
            maps = layer(x)[..., channels].flatten(0, 1).permute(0, 3, 1, 2)
            rows.append(F.unfold(maps, patch, stride=patch).transpose(1, 2).reshape(2, -1, 3 * patch[0] * patch[1]))
        mixed = F.scaled_dot_product_attention(*rows).unflatten(1, (4, -1)).flatten(0, 1).transpose(1, 2)
        heads.append(F.fold(mixed, (6, 9), patch, stride=patch))
    expected = F.leaky_relu(attention.output(torch.cat(heads, dim=1)), 0.2)
    torch.testing.assert_close(attention(x).flatten(0, 1).permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (13, 3), (12, 12)])
def test_any_size_of_features_works(size):
    attention = PatchAttention(8, divisions=(1, 3, 6, 12))
    x = torch.randn(1, 2, *size, 8)
    result = attention(x)
    assert result.shape == x.shape
    assert result.isfinite().all()


def test_inference_gives_what_training_gives_and_leaves_its_input_alone():
    attention = PatchAttention(8, divisions=(1, 30))  # 1800 patches: several chunks of queries
    x = torch.randn(1, 2, 30, 30, 8)
    before = x.clone()
    with torch.no_grad():
        lean = attention(x)
    torch.testing.assert_close(lean, attention(x))
    assert torch.equal(x, before)


def test_holes_change_nothing_unless_keys_are_masked():
    x, holes = torch.randn(1, 2, 6, 6, 8), torch.zeros(1, 2, 6, 6)
    holes[:, :, :3] = 1
    attention = PatchAttention(8, divisions=(2, 3))
    assert torch.equal(attention(x, holes), attention(x))
    attention.mask_keys = True
    assert not torch.allclose(attention(x, holes), attention(x))


def test_masked_keys_are_not_looked_at():
    attention = PatchAttention(8, divisions=(1, 2), mask_keys=True)
    holes = torch.zeros(1, 2, 4, 4)
    holes[:, 0] = 1
    x = torch.randn(1, 2, 4, 4, 8)
    other = torch.cat((torch.randn(1, 1, 4, 4, 8), x[:, 1:]), dim=1)
    torch.testing.assert_close(attention(x, holes)[:, 1], attention(other, holes)[:, 1])


def test_a_patch_is_masked_only_if_more_than_half_of_it_is_hole():
    attention = PatchAttention(4, divisions=(1,), mask_keys=True)
    x, holes = torch.randn(1, 2, 2, 4, 4), torch.zeros(1, 2, 2, 4)
    holes[:, 0, 0] = 1
    torch.testing.assert_close(attention(x, holes), attention(x))
    holes[:, 0, 1, 0] = 1
    assert not torch.allclose(attention(x, holes), attention(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_but_holes_is_attended_to_uniformly(dtype):
    attention = PatchAttention(8, divisions=(2,), mask_keys=True).to(dtype)
    x = torch.randn(1, 2, 4, 4, 8, dtype=dtype)
    result = attention(x, torch.ones(1, 2, 4, 4))
    torch.nn.init.zeros_(attention.key.weight)  # equal scores: uniform attention by other means
    torch.nn.init.zeros_(attention.key.bias)
    torch.testing.assert_close(result, attention(x))


def test_bfloat16_autocast_is_close_to_float32():
    attention = PatchAttention(8, divisions=(1, 2))
    x = torch.randn(1, 2, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        result = attention(x)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), attention(x), atol=0.03, rtol=0.03)


def test_autocast_keeps_its_copy_of_the_input_once():
    attention, x = PatchAttention(64, divisions=(1, 1, 1, 1)), torch.randn(1, 1, 16, 16, 64)
    with torch.autocast("cpu", torch.bfloat16):
        kept = saved_bytes(lambda: attention(x), exclude=[x, *attention.parameters()])
    maps = 1 + 3 + 1 + 1  # input, query and key and value, heads, output
    weights = sum(parameter.nbytes for parameter in attention.parameters()) / 2
    assert kept <= 1.1 * (maps * x.nbytes / 2 + weights)


def test_channels_that_do_not_split_into_heads_are_refused_in_one_line():
    with pytest.raises(ConfigurationError, match="10 channels do not split into 4 equal heads"):
        PatchAttention(10)
    with pytest.raises(ConfigurationError, match="patches per side"):
        PatchAttention(10, divisions=(0, 1))
