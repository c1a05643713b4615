import pytest
import torch
from torch.nn import functional as F

from lightvid.ops.patches import PatchVolume, fold_border, pad_volume, patch_costs
from lightvid.profiling import peak_bytes


def unfolded(x, size):
    """Every patch of `(B, T, H, W, C)` in full, `(B, T * H * W, P)`."""
    t, y, x_ = (side // 2 for side in size)
    maps = F.pad(x.permute(0, 4, 1, 2, 3), (x_, x_, y, y, t, t), mode="replicate")
    patches = maps.unfold(2, size[0], 1).unfold(3, size[1], 1).unfold(4, size[2], 1)
    return patches.permute(0, 2, 3, 4, 5, 6, 7, 1).flatten(4).flatten(1, 3)


def full_costs(query, key, index, size, similarity):
    flat = index.flatten(1, 3).long()
    keys = torch.stack([rows[at.clamp(min=0)] for rows, at in zip(unfolded(key, size), flat, strict=True)])
    queries = unfolded(query, size).unsqueeze(2)
    if similarity == "l2":
        cost = (queries - keys).square().mean(-1)
    elif similarity == "dot":
        cost = -(queries * keys).mean(-1)
    else:
        cost = -F.cosine_similarity(queries, keys, dim=-1)
    return cost.masked_fill(flat < 0, torch.inf).view(index.shape)


@pytest.mark.parametrize("similarity", ["l2", "dot", "cosine"])
@pytest.mark.parametrize("size", [(1, 3, 3), (3, 3, 5), (1, 7, 7)])
def test_a_cost_compares_two_whole_patches(size, similarity):
    query, key = torch.randn(2, 2, 5, 6, 3).double(), torch.randn(2, 3, 4, 7, 3).double()
    index = torch.randint(-1, 3 * 4 * 7, (2, 2, 5, 6, 4)).int()
    cost = patch_costs(query, key, index, patch=size, similarity=similarity)
    torch.testing.assert_close(cost, full_costs(query, key, index, size, similarity))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_compared_in_float32(dtype):
    query, key = torch.randn(1, 1, 6, 6, 4).to(dtype), torch.randn(1, 1, 6, 6, 4)
    index = torch.randint(36, (1, 1, 6, 6, 2)).int()
    cost = patch_costs(query, key, index, patch=3)
    assert cost.dtype == torch.float32
    assert torch.equal(cost, patch_costs(query.float(), key, index, patch=3))


def test_inputs_need_not_be_contiguous():
    query, key = torch.randn(1, 4, 2, 6, 6), torch.randn(1, 4, 2, 6, 6)
    index = torch.randint(72, (1, 2, 6, 6, 2)).int()
    views = [volume.permute(0, 2, 3, 4, 1) for volume in (query, key)]
    expected = patch_costs(*(view.contiguous() for view in views), index, patch=3)
    assert torch.equal(patch_costs(*views, index, patch=3), expected)


def test_equal_patches_cost_exactly_nothing():
    x = 1000 + torch.randn(1, 1, 8, 8, 3)
    index = torch.arange(64).int().view(1, 1, 8, 8, 1)
    assert not patch_costs(x, x, index, patch=5).any()


def test_the_cosine_of_empty_patches_is_finite():
    x, index = torch.zeros(1, 1, 4, 4, 2), torch.zeros(1, 1, 4, 4, 1, dtype=torch.int32)
    assert not patch_costs(x, x, index, patch=3, similarity="cosine").any()


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_cosine_does_not_depend_on_the_scale_of_features(scale):
    x, index = scale * torch.randn(1, 1, 6, 6, 2), torch.arange(36).int().view(1, 1, 6, 6, 1)
    cost = patch_costs(x, x, index, patch=3, similarity="cosine")
    torch.testing.assert_close(cost, torch.full_like(cost, -1), rtol=0, atol=1e-3)
    unequal = patch_costs(x, x.flip(3), index, patch=3, similarity="cosine")
    ones = patch_costs(x / scale, x.flip(3) / scale, index, patch=3, similarity="cosine")
    torch.testing.assert_close(unequal, ones)


def test_what_is_no_position_of_the_keys_is_no_key():
    query, key = torch.randn(2, 1, 4, 4, 2), torch.randn(2, 2, 3, 5, 2)
    index = torch.tensor([0, 29, 30, 31, 2**31 - 1, -1, -7]).int().expand(2, 1, 4, 4, 7)
    for similarity in ("l2", "dot", "cosine"):
        cost = patch_costs(query, key, index, patch=3, similarity=similarity)
        assert cost[..., :2].isfinite().all()
        assert (cost[..., 2:] == torch.inf).all()


def test_norms_are_those_of_the_whole_patches():
    x = torch.randn(2, 3, 5, 6, 4).double()
    norms = PatchVolume(x, (3, 5, 3)).squared_norms()
    torch.testing.assert_close(norms.flatten(1), unfolded(x, (3, 5, 3)).square().sum(-1))


def test_folding_the_border_is_the_adjoint_of_padding():
    x = torch.randn(2, 3, 4, 5, 2, dtype=torch.float64, requires_grad=True)
    padded = pad_volume(x, (3, 7, 5))
    grad = torch.randn_like(padded)
    padded.backward(grad)
    torch.testing.assert_close(fold_border(grad, (3, 7, 5)), x.grad)


def test_memory_does_not_grow_with_the_patch():
    def peak(patch):
        x = torch.empty(1, 1, 256, 256, 16, device="meta")
        index = torch.empty(1, 1, 256, 256, 3, dtype=torch.int32, device="meta")
        return peak_bytes(lambda: patch_costs(x, x, index, patch=patch))

    assert peak(11) < 1.1 * peak(3)


@pytest.mark.parametrize("patch", [4, (1, 3, 2), 0, (3, 3), 3.0, (1, 3.0, 3), "123", None])
def test_a_patch_has_a_centre(patch):
    x, index = torch.zeros(1, 1, 8, 8, 2), torch.zeros(1, 1, 8, 8, 1, dtype=torch.int32)
    with pytest.raises(ValueError, match="odd"):
        patch_costs(x, x, index, patch=patch)


@pytest.mark.parametrize(
    "query, key, index, message",
    [
        ((1, 8, 8, 2), (1, 1, 8, 8, 2), (1, 1, 8, 8, 1), "query must be"),
        ((1, 1, 8, 8, 2), (1, 1, 8, 8, 3), (1, 1, 8, 8, 1), "agree"),
        ((1, 1, 8, 8, 2), (2, 1, 8, 8, 2), (1, 1, 8, 8, 1), "agree"),
        ((1, 1, 8, 8, 2), (1, 1, 8, 8, 2), (1, 1, 8, 7, 1), "index must be"),
    ],
)
def test_wrong_shapes_are_named(query, key, index, message):
    with pytest.raises(ValueError, match=message):
        patch_costs(torch.zeros(query), torch.zeros(key), torch.zeros(index, dtype=torch.int32), patch=3)
