"""Per-frame losses of instance masks, in which only valid pixels count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightvid.errors import ConfigurationError

MASK_STRIDE = 4  # of predicted masks: pixels per cell, in each direction


def sigmoid_focal_loss(logits: Tensor, labels: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss of each element, `-alpha_t (1 - p_t)^gamma log p_t` (Lin et al., ICCV 2017, Eq. 5).

    Args:
        logits: of any shape.
        labels: of the same shape and dtype, 0 to 1.
        alpha: weight of positives; negatives have 1 - alpha.
        gamma: how much the well classified are discounted.
    """
    probability = logits.sigmoid()
    hit = probability * labels + (1 - probability) * (1 - labels)
    balance = alpha * labels + (1 - alpha) * (1 - labels)
    return balance * (1 - hit) ** gamma * F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def dice_loss(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """`1 - (2 sum(p g) + 1) / (sum(p) + sum(g) + 1)` over the pixels of each frame (V-Net, Milletari et al., 2016).

    Args:
        logits: `(..., H, W)`.
        truth: the same shape, 0 to 1.
        weight: broadcasts to it: how much each pixel counts.

    Returns:
        `(...)`.
    """
    probability = logits.sigmoid()
    common = (weight * probability * truth).sum((-2, -1))
    total = (weight * (probability + truth)).sum((-2, -1))
    return 1 - (2 * common + 1) / (total + 1)


def mean_over_pixels(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of `(..., H, W)` over the pixels of each frame; 0 for a frame without any that count."""
    return (values * weight).sum((-2, -1)) / weight.sum((-2, -1)).clamp_min(1)


def at_prediction(truth: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Targets at the resolution of predicted masks.

    Args:
        truth: `(M, T, H, W)` bool.
        padding_mask: `(M, T, H, W)` bool, True = padding; None = all pixels are valid.

    Returns:
        The share of each cell's valid pixels that belong to the mask, and how much the cell counts: the share of its
        pixels that are valid. Both float32, `(M, T, ceil(H / 4), ceil(W / 4))`; the second broadcasts to that.
    """
    valid = truth.new_ones(1, 1, *truth.shape[-2:]) if padding_mask is None else ~padding_mask
    valid_pixels = _cell_sums(valid)
    return _cell_sums(truth) / valid_pixels.clamp_min(1), valid_pixels / MASK_STRIDE**2


def at_target(logits: Tensor, truth: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted logits upsampled bilinearly to the targets; then targets and weights as `at_prediction` has them."""
    size = truth.shape[-2:]
    weight = logits.new_ones(1, 1, *size) if padding_mask is None else (~padding_mask).to(logits.dtype)
    return F.interpolate(logits, size, mode="bilinear", align_corners=False), truth.to(logits.dtype), weight


def check_mask_size(masks: Tensor, truth: Tensor) -> None:
    """Refuse predicted masks that are not at a quarter of the targets' size.

    Raises:
        ConfigurationError: they are not.
    """
    expected = [-(-side // MASK_STRIDE) for side in truth.shape[-2:]]
    if list(masks.shape[-2:]) != expected:
        predicted, annotated = ("x".join(map(str, reversed(part.shape[-2:]))) for part in (masks, truth))
        raise ConfigurationError(
            f"predicted masks of {predicted} for frames of {annotated}: expected a quarter, {expected[1]}x{expected[0]}"
        )


def _cell_sums(masks: Tensor) -> Tensor:
    """How many pixels of each cell are True; the last cells may reach beyond the frame."""
    height, width = masks.shape[-2:]
    padded = F.pad(masks, (0, -width % MASK_STRIDE, 0, -height % MASK_STRIDE))
    cells = padded.unflatten(-1, (-1, MASK_STRIDE)).unflatten(-3, (-1, MASK_STRIDE))
    return cells.sum((-3, -1), dtype=torch.float32)
