"""Between frames in bytes and what inpainting networks take and give."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightvid.errors import CheckpointError
from lightvid.inpainting.video import Frames


def masked_input(frames: Sequence[Frames], masks: Sequence[Frames], device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch of one clip for a network; it travels to the device in bytes.

    Args:
        frames: each `(H, W, 3)` uint8 RGB.
        masks: each `(H, W)`, 1 = hole.
        device: where the result lies.

    Returns:
        Frames `(1, T, 3, H, W)` in [-1, 1], 0 inside the holes, and masks `(1, T, 1, H, W)`, both float32.
    """
    holes = torch.from_numpy(np.stack(masks)).to(device).float().view(1, len(masks), 1, *masks[0].shape)
    planes = torch.from_numpy(np.stack(frames)).to(device).movedim(-1, -3).unsqueeze(0).float()
    return (planes / 255 * 2 - 1) * (1 - holes), holes


def composite(frame: Frames, mask: Frames, prediction: NDArray[np.uint8]) -> Frames:
    """The prediction inside the hole and the frame, bit for bit, outside; all `(H, W, 3)`, the mask `(H, W)`."""
    return np.where(mask[..., None] > 0, prediction, frame)


def check_finite(prediction: Tensor, frame: int, precision: torch.dtype | None) -> None:
    """Refuse what a network predicts for a frame if it is no picture.

    Raises:
        CheckpointError: it holds NaN or infinity.
    """
    if prediction.isfinite().all():
        return
    reduced = precision not in (None, torch.float32)
    at, way_out = (f" in {precision}", "take fp32") if reduced else ("", "its weights are unusable, or out of range")
    raise CheckpointError(f"frame {frame}: what the network predicts is not finite{at} ({way_out})")


def autocast(device: torch.device, precision: torch.dtype | None) -> AbstractContextManager[object]:
    """Autocast to a precision; None leaves autocast as it is."""
    return nullcontext() if precision is None else torch.autocast(device.type, dtype=precision)


def place(network: nn.Module, device: torch.device | str | None) -> torch.device:
    """Move a network to a device and set it to evaluation; None leaves it where its parameters are."""
    network.eval()
    if device is not None:
        network.to(device)
        return torch.device(device)
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
