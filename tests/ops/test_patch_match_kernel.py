import pytest
import torch

from lightvid.ops.patch_search import PatchSearch

pytest.importorskip("triton")


def whole_numbers(*shape):
    """Features whose sums are exact, so that no order of summation can change a field."""
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(sum(shape))).float()


def both(query, key, iterations, *, valid=None, mask=None, frames=None, start=None, **options):
    from lightvid.ops.kernels.patch_match import run

    settings = {"patch": [1, 3, 3], "neighbours": 2, "similarity": "l2", "seed": 3, "exclude": 0} | options
    search = PatchSearch(query, key, valid, mask, frames, start, **settings)
    return search.run(iterations, search.wanted()), run(search, iterations)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_the_kernel_finds_the_same_field_in_images(iterations):
    plain, kernel = both(whole_numbers(1, 1, 11, 13, 2), whole_numbers(1, 1, 8, 11, 2), iterations)
    assert torch.equal(kernel[0], plain[0])
    assert torch.equal(kernel[1], plain[1])


def test_the_kernel_finds_the_same_field_in_videos():
    query, key = whole_numbers(1, 3, 5, 6, 2), whole_numbers(1, 4, 6, 5, 2)
    start = torch.randint(-1, 120, (1, 3, 5, 6, 1), dtype=torch.int32)
    options = {"patch": [3, 3, 3], "exclude": 2, "neighbours": 3, "seed": 2**40 + 7, "start": start}
    plain, kernel = both(query, key, 2, **options)
    assert torch.equal(kernel[0], plain[0])
    assert torch.equal(kernel[1], plain[1])


def test_the_kernel_finds_the_same_field_with_masks_and_lists_of_key_frames():
    valid, mask = torch.ones(2, 4, 6, 5, dtype=torch.bool), torch.ones(2, 3, 4, 5, dtype=torch.bool)
    valid[0, 2, :, 1] = valid[1, 0] = False
    mask[:, 1, 2:] = False
    frames = torch.tensor([[1, 2, -1], [0, 2, 3], [3, 0, 1]])
    query, key = whole_numbers(2, 3, 4, 5, 2), whole_numbers(2, 4, 6, 5, 2)
    plain, kernel = both(query, key, 2, valid=valid, mask=mask, frames=frames, seed=-1)
    assert (plain[0] >= 0).any()
    assert (plain[0] < 0).any()
    assert torch.equal(kernel[0], plain[0])
    assert torch.equal(kernel[1], plain[1])


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_kernel_knows_every_similarity(similarity):
    query, key = whole_numbers(1, 1, 6, 7, 2), whole_numbers(1, 1, 7, 6, 2)
    plain, kernel = both(query, key, 1, similarity=similarity, neighbours=1)
    torch.testing.assert_close(kernel[1], plain[1])


@pytest.mark.parametrize("scale", [1e-4, 1e4, 0])
def test_the_kernel_has_the_cosine_of_features_of_any_scale(scale):
    x = scale * torch.randn(1, 1, 6, 7, 2, generator=torch.Generator().manual_seed(0))
    start = torch.arange(42).int().view(1, 1, 6, 7, 1)
    plain, kernel = both(x, x, 0, similarity="cosine", start=start)
    torch.testing.assert_close(kernel[1], plain[1])
    torch.testing.assert_close(kernel[1][..., 0], torch.full((1, 1, 6, 7), -1.0 if scale else 0.0))


def test_the_kernel_takes_features_of_half_precision():
    query, key = torch.randn(1, 1, 6, 7, 3).bfloat16(), torch.randn(1, 1, 7, 6, 3).bfloat16()
    plain, kernel = both(query, key, 1, neighbours=1)
    torch.testing.assert_close(kernel[1], plain[1])
