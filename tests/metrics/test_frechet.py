"""The Frechet distance, where a matrix root can be trusted and where it cannot."""

import pytest
import torch
from scipy.linalg import sqrtm

from lightvid.metrics import frechet_distance


def features(samples, dimensions, seed):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)
    return torch.randn(samples, dimensions, generator=generator, dtype=torch.float64) @ mixing + seed


def by_matrix_root(first, second):
    one, two = torch.cov(first.T), torch.cov(second.T)
    root = sqrtm((one @ two).numpy()).real.trace()
    return (first.mean(0) - second.mean(0)).square().sum() + one.trace() + two.trace() - 2 * root


@pytest.mark.parametrize("samples", [(40, 60), (13, 200)])
def test_it_is_the_formula_with_the_root_of_the_matrix_where_covariances_have_full_rank(samples):
    first, second = features(samples[0], 12, 1), features(samples[1], 12, 2)
    expected = by_matrix_root(first, second).item()
    assert frechet_distance(first, second).item() == pytest.approx(expected, rel=1e-6)


def test_one_dimension_is_the_formula_of_normal_distributions():
    first, second = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [9.0]])  # means 1, 7; variances 2, 8
    assert frechet_distance(first, second).item() == pytest.approx(36 + (2**0.5 - 8**0.5) ** 2)


def test_fifty_videos_of_1024_features_give_a_finite_symmetric_distance():
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(50, 1024, generator=generator)
    second = (first + 0.01 * torch.randn(50, 1024, generator=generator)).clamp_min(0)
    there, back = frechet_distance(first, second), frechet_distance(second, first)
    assert 0 < there < 1
    torch.testing.assert_close(there, back)
    assert 0 <= frechet_distance(first, first) < 1e-9


def test_rank_deficient_covariances_have_the_distance_of_the_space_that_they_span():
    first, second = features(5, 3, 1), features(6, 3, 2)
    wide = torch.zeros(3, 100, dtype=torch.float64)
    wide[:, 50:53] = torch.eye(3)
    expected = frechet_distance(first, second)
    torch.testing.assert_close(frechet_distance(first @ wide, second @ wide), expected)


def test_a_single_sample_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2 samples"):
        frechet_distance(torch.rand(1, 4), torch.rand(3, 4))
