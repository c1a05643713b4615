import pytest
import torch
from torch.nn import functional as F

from lightvid.ops import PatchGrid, overlap_count, soft_composition, soft_split

GRID = PatchGrid()


@pytest.mark.parametrize("grid", [GRID, PatchGrid(5, 2, 2), PatchGrid(3, 3, 1)])
@pytest.mark.parametrize("size", [(12, 18), (13, 7), (14, 8), (1, 5)])
def test_a_soft_split_is_a_linear_layer_on_unfolded_patches(size, grid):
    maps, weight, bias = torch.randn(2, 3, *size), torch.randn(8, 3 * grid.kernel**2), torch.randn(8)
    unfolded = F.unfold(maps, grid.kernel, stride=grid.stride, padding=grid.padding)
    expected = F.linear(unfolded.mT, weight, bias).mT.unflatten(2, grid.tokens(*size))
    torch.testing.assert_close(soft_split(maps, weight, bias, grid), expected)


@pytest.mark.parametrize("grid", [GRID, PatchGrid(5, 2, 2)])
@pytest.mark.parametrize("size", [(12, 18), (13, 7), (14, 8), (1, 5)])
def test_a_soft_composition_is_a_linear_layer_and_a_folding(size, grid):
    rows, columns = grid.tokens(*size)
    tokens, weight, bias = (
        torch.randn(2, 8, rows, columns),
        torch.randn(3 * grid.kernel**2, 8),
        torch.randn(3 * grid.kernel**2),
    )
    patches = F.linear(tokens.flatten(2).mT, weight, bias).mT
    expected = F.fold(patches, size, grid.kernel, stride=grid.stride, padding=grid.padding)
    torch.testing.assert_close(soft_composition(tokens, weight, bias, size, grid), expected)


def test_the_overlap_count_is_the_folding_of_ones():
    ones = F.unfold(torch.ones(1, 1, 60, 108), 7, stride=3, padding=3)
    expected = F.fold(ones, (60, 108), 7, stride=3, padding=3)
    count = overlap_count(torch.empty(0), (60, 108), GRID)
    assert torch.equal(count, expected)
    assert count[..., 3:-3, 3:-3].unique().tolist() == [4, 6, 9]


def test_a_map_that_does_not_have_these_tokens_is_refused():
    with pytest.raises(ValueError, match=r"a map of \(13, 18\) has \(5, 6\) patches, got tokens \(1, 8, 4, 6\)"):
        soft_composition(torch.zeros(1, 8, 4, 6), torch.zeros(3 * 49, 8), None, (13, 18), GRID)
