"""Reconstruction losses."""

from torch import Tensor

from lightvid.ops.processes import mean_over_processes


def region_l1(prediction: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """L1 distance inside a region, `mean|(p - x) r| / mean(r)` (STTN, Zeng et al., ECCV 2020, Eq. 4-5).

    Both means run over the whole batch, so that the value does not depend on the size of the region, and a clip with a
    large region weighs more than one with a small region. An empty region gives 0. The region's mean is that of all
    processes, which must all call this: then the mean of their gradients is the gradient of one process with their
    batches.

    Args:
        prediction: `(B, T, 3, H, W)`.
        target: `(B, T, 3, H, W)`.
        region: `(B, T, 1, H, W)`, 1 inside: the masks for the hole loss, `1 - masks` for the valid loss.
    """
    region = region.float()
    distance = ((prediction.float() - target.float()) * region).abs().mean()
    return distance / mean_over_processes(region.mean()).clamp_min(1e-8)
