"""The Frechet distance between two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> Tensor:
    """Squared Frechet distance between the normal distributions of two sets of features.

    `|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2))` with sample means m and covariances S (Heusel et al., NeurIPS
    2017, Eq. 6). With centred features X1 and X2, the last trace is the sum of the singular values of `X1 X2^T`, over
    `sqrt((n - 1) (m - 1))`: no root of a matrix is taken, so that it is exact with fewer samples than dimensions, too.

    Args:
        first: `(n, d)` with at least 2 samples.
        second: `(m, d)`, likewise.

    Returns:
        A scalar of float64, 0 or more.
    """
    if first.dim() != 2 or second.dim() != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"expected features (n, d) and (m, d), got {tuple(first.shape)} and {tuple(second.shape)}")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"expected at least 2 samples in both sets, got {len(first)} and {len(second)}")
    means = [features.double().mean(0) for features in (first, second)]
    one, two = (_scatter_root(features, mean) for features, mean in zip((first, second), means, strict=True))
    cross = torch.linalg.svdvals(one @ two.T).sum()
    distance = (means[0] - means[1]).square().sum() + one.square().sum() + two.square().sum() - 2 * cross
    return distance.clamp_min(0)


def _scatter_root(features: Tensor, mean: Tensor) -> Tensor:
    """A matrix R of at most d rows with `R^T R` the sample covariance."""
    centred = (features.double() - mean) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if centred.shape[0] > centred.shape[1] else centred
