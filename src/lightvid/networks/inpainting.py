"""The inpainting generator: stem, backbone, head."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightvid.networks.initialization import Init, initialize
from lightvid.ops.grid import pad_to_multiple


@dataclass
class InpaintingOutput:
    """What every inpainting generator returns.

    Attributes:
        frames: restored frames `(B, T, 3, H, W)` in [-1, 1].
        flows: completed flows of the local frames, forward and backward, each `(B, T-1, 2, h, w)` in pixels of that
            size; None for networks without flow.
    """

    frames: Tensor
    flows: tuple[Tensor, Tensor] | None = None


class InpaintingGenerator(nn.Module):
    """Restore the holes of a clip.

    Args:
        stem: frames `(B, T, 3, H, W)` to tokens `(B, T, h, w, C)`; its `stride` says how H and W must divide.
        backbone: tokens and holes to tokens.
        head: tokens to frames in [-1, 1].
        init: `published` draws all weights as the released inpainting networks do, `default` as PyTorch does.
    """

    def __init__(self, stem: nn.Module, backbone: nn.Module, head: nn.Module, *, init: Init = "default") -> None:
        super().__init__()
        self.stem = stem
        self.backbone = backbone
        self.head = head
        initialize(self, init)

    def forward(self, masked_frames: Tensor, masks: Tensor, *, local_frames: int | None = None) -> InpaintingOutput:
        """Restore all frames; any height and width (padded and cropped inside).

        Args:
            masked_frames: `(B, T, 3, H, W)` in [-1, 1], 0 inside the holes.
            masks: `(B, T, 1, H, W)`, 1 = hole.
            local_frames: how many of the frames, from the first, are to be restored; the others are references. This
                network treats all frames alike.

        Raises:
            ValueError: shapes that do not fit each other.
        """
        _check(masked_frames, masks, local_frames)
        B, T, _, H, W = masked_frames.shape
        stride = int(self.stem.stride)  # type: ignore[arg-type]
        padded = pad_to_multiple(masked_frames.flatten(0, 1), stride, stride).unflatten(0, (B, T))
        tokens = self.stem(padded)
        holes = interpolate(masks.flatten(0, 1), size=tokens.shape[2:4], mode="nearest").view(tokens.shape[:4])
        frames = self.head(self.backbone(tokens, holes))
        return InpaintingOutput(frames[..., :H, :W])


def _check(frames: Tensor, masks: Tensor, local_frames: int | None) -> None:
    if frames.dim() != 5 or frames.shape[2] != 3:
        raise ValueError(f"masked_frames must have the shape (B, T, 3, H, W), got {tuple(frames.shape)}")
    expected = (*frames.shape[:2], 1, *frames.shape[3:])
    if masks.shape != expected:
        raise ValueError(f"masks must have the shape {expected}, got {tuple(masks.shape)}")
    if local_frames is not None and not 1 <= local_frames <= frames.shape[1]:
        raise ValueError(f"local_frames must lie between 1 and the {frames.shape[1]} frames given, got {local_frames}")
