"""The inpainting generator: stem, backbone, head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.backbone import SpatioTemporalTransformer
from lightvid.errors import ConfigurationError
from lightvid.networks.initialisation import Initialisation, initialise


@dataclass
class InpaintingOutput:
    """What a generator answers.

    Attributes:
        frames: restored frames `(B, T, 3, H, W)` in [-1, 1], whole: the visible pixels are predicted, too.
        flows: completed forward and backward flows of flow-guided networks, each `(B, T-1, 2, h, w)`; else None.
    """

    frames: Tensor
    flows: tuple[Tensor, Tensor] | None = None


class InpaintingGenerator(nn.Module):
    """Fill the holes of a clip of any size.

    Args:
        stem: frames `(B, T, 3, H, W)` to a `StemOutput`, tokens `(B, T, h, w, C)` and features for the head.
        backbone: tokens to tokens.
        head: tokens and the stem's features to frames in [-1, 1].
        mask_input: give the stem the masks as a fourth plane. The published networks see only the frames, where a hole
            looks like grey.
        init: "published" draws all weights from N(0, 0.02), "default" leaves PyTorch's initialisation.
    """

    def __init__(
        self,
        stem: nn.Module,
        backbone: SpatioTemporalTransformer,
        head: nn.Module,
        *,
        mask_input: bool = False,
        init: Initialisation = "default",
    ) -> None:
        super().__init__()
        for name, part in (("stem", stem), ("head", head)):
            channels = getattr(part, "channels", backbone.channels)
            if channels != backbone.channels:
                raise ConfigurationError(
                    f"the {name} has {channels} channels and the backbone {backbone.channels}: give both the same"
                )
        given, wanted = getattr(stem, "features", None), getattr(head, "features", None)
        if given != wanted:
            raise ConfigurationError(
                f"the head takes {wanted or 'no'} features from the stem, which gives {given or 'none'}:"
                " choose a stem and a head that belong together"
            )
        planes = 4 if mask_input else 3
        if getattr(stem, "inputs", planes) != planes:
            raise ConfigurationError(f"mask_input={mask_input} needs a stem with inputs={planes}, got {stem.inputs}")
        self.stem = stem
        self.backbone = backbone
        self.head = head
        self.mask_input = mask_input
        initialise(self, init)

    def forward(self, masked_frames: Tensor, masks: Tensor, *, local_frames: int | None = None) -> InpaintingOutput:
        """Restore a clip.

        Args:
            masked_frames: `(B, T, 3, H, W)` in [-1, 1], 0 inside the holes.
            masks: `(B, T, 1, H, W)`, 1 = hole.
            local_frames: how many of the first frames are consecutive; only flow-guided networks look at it.
        """
        _check(masked_frames, masks, local_frames)
        height, width = masked_frames.shape[-2:]
        frames, masks = _pad(masked_frames), _pad(masks)
        tokens, features = self.stem(torch.cat((frames, masks.to(frames)), dim=2) if self.mask_input else frames)
        holes = F.interpolate(masks.flatten(0, 1).float(), size=tokens.shape[2:4]).squeeze(1)
        # The tokens are not needed again: without gradients, the backbone works in their memory.
        tokens = self.backbone(tokens, holes.unflatten(0, masks.shape[:2]), overwrite_x=True)
        return InpaintingOutput(self.head(tokens, features)[..., :height, :width])


def _pad(x: Tensor) -> Tensor:
    """Continue the last row and column of `(B, T, c, H, W)` until both sides are multiples of 4."""
    below, right = -x.shape[-2] % 4, -x.shape[-1] % 4
    if not below and not right:
        return x
    x_float = x if x.is_floating_point() else x.float()
    return F.pad(x_float, (0, right, 0, below, 0, 0), mode="replicate")


def _check(frames: Tensor, masks: Tensor, local_frames: int | None) -> None:
    if frames.dim() != 5 or frames.shape[2] != 3:
        raise ValueError(f"expected frames (B, T, 3, H, W), got {tuple(frames.shape)}")
    expected = torch.Size((*frames.shape[:2], 1, *frames.shape[3:]))
    if masks.shape != expected:
        raise ValueError(f"expected masks {tuple(expected)} for frames {tuple(frames.shape)}, got {tuple(masks.shape)}")
    if local_frames is not None and not 1 <= local_frames <= frames.shape[1]:
        raise ValueError(f"expected 1 to {frames.shape[1]} local frames for a clip of as many, got {local_frames}")
