"""The inpainting generator: stem, backbone, head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.backbone import SpatioTemporalTransformer
from lightvid.errors import ConfigurationError
from lightvid.networks.encoded_frames import EncodedFrames
from lightvid.networks.initialisation import Initialisation, initialise
from lightvid.stems import InpaintingStem, thumbnails

PadMode = Literal["replicate", "mirror"]


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
        stem: frames `(B, T, 3, H, W)` to tokens `(B, T, h, w, C)` and features for the head.
        backbone: tokens to tokens.
        head: tokens and the stem's features to frames in [-1, 1].
        mask_input: give the stem the masks as a fourth plane. The published networks see only the frames, where a hole
            looks like grey.
        init: "published" draws all weights from N(0, 0.02), "default" leaves PyTorch's initialisation.
        pad_to: frames whose height and width are no multiples of these are continued below and on the right, and the
            result is cut: multiples of 4. E2FGVI was published with (60, 108), whole windows of its attention.
        pad_mode: "replicate" repeats the last row and column, "mirror" reflects the frame, edge included (E2FGVI).
    """

    def __init__(
        self,
        stem: InpaintingStem,
        backbone: SpatioTemporalTransformer,
        head: nn.Module,
        *,
        mask_input: bool = False,
        init: Initialisation = "default",
        pad_to: Sequence[int] = (4, 4),
        pad_mode: PadMode = "replicate",
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
        if len(pad_to) != 2 or any(side < 4 or side % 4 for side in pad_to):
            raise ConfigurationError(f"pad_to is (height, width), multiples of 4, got {list(pad_to)}")
        self.stem = stem
        self.backbone = backbone
        self.head = head
        self.mask_input = mask_input
        self.pad_to = (pad_to[0], pad_to[1])
        self.pad_mode = pad_mode
        initialise(self, init)

    def forward(self, masked_frames: Tensor, masks: Tensor, *, local_frames: int | None = None) -> InpaintingOutput:
        """Restore a clip.

        Args:
            masked_frames: `(B, T, 3, H, W)` in [-1, 1], 0 inside the holes.
            masks: `(B, T, 1, H, W)`, 1 = hole.
            local_frames: how many of the first frames are consecutive, all by default; only flow-guided networks ask.
        """
        encoded = self.encode(masked_frames, masks)
        return self._restore(encoded, self._local(encoded, local_frames), None, None, overwrite=True)

    def encode(self, masked_frames: Tensor, masks: Tensor) -> EncodedFrames:
        """The part of the network that looks at each frame by itself, for inference that needs a frame more than once.

        Args:
            masked_frames: `(B, T, 3, H, W)` in [-1, 1], 0 inside the holes; any frames.
            masks: `(B, T, 1, H, W)`, 1 = hole.
        """
        _check(masked_frames, masks)
        frames, padded_masks = self._pad(masked_frames), self._pad(masks)
        planes = torch.cat((frames, padded_masks.to(frames)), dim=2) if self.mask_input else frames
        features = self.stem.encode(planes)
        size = self.stem.token_size(features.shape[2], features.shape[3])
        holes = F.interpolate(padded_masks.flatten(0, 1).float(), size=size).squeeze(1)
        small = None if self.stem.propagation is None else thumbnails(frames)
        height, width = masked_frames.shape[-2:]
        return EncodedFrames(features, holes.unflatten(0, masks.shape[:2]), small, (height, width))

    def flows(self, encoded: EncodedFrames) -> tuple[Tensor, Tensor] | None:
        """Completed flow between consecutive frames; that of a pair does not depend on the other frames.

        Args:
            encoded: consecutive frames.

        Returns:
            Forward and backward, each `(B, T-1, 2, h, w)`; None for networks without flow guidance.
        """
        if self.stem.propagation is None or encoded.thumbnails is None:
            return None
        return self.stem.propagation.flows(encoded.thumbnails)

    def restore(
        self,
        encoded: EncodedFrames,
        *,
        local_frames: int | None = None,
        flows: tuple[Tensor, Tensor] | None = None,
        decode: int | None = None,
    ) -> InpaintingOutput:
        """The rest of the network: `network(frames, masks)` is `network.restore(network.encode(frames, masks))`.

        Args:
            encoded: frames, those that are consecutive first. They are not changed.
            local_frames: how many are consecutive, all by default.
            flows: of the local frames, as `flows` gives them; estimated by default.
            decode: give only so many frames, the first; all by default.
        """
        return self._restore(encoded, self._local(encoded, local_frames), flows, decode, overwrite=False)

    def _restore(
        self,
        encoded: EncodedFrames,
        local_frames: int,
        flows: tuple[Tensor, Tensor] | None,
        decode: int | None,
        *,
        overwrite: bool,
    ) -> InpaintingOutput:
        if flows is None:
            flows = self.flows(encoded[:, :local_frames])
        tokens, features = self.stem.tokenise(self.stem.propagate(encoded.features, flows))
        # Where the tokens are not needed again and there are no gradients, the backbone works in their memory.
        tokens = self.backbone(tokens, encoded.holes, overwrite_x=overwrite or tokens is not encoded.features)
        frames = self.head(tokens[:, :decode], None if features is None else features[:, :decode])
        height, width = encoded.size
        return InpaintingOutput(frames[..., :height, :width], flows)

    def _local(self, encoded: EncodedFrames, local_frames: int | None) -> int:
        frames = encoded.features.shape[1]
        if local_frames is not None and not 1 <= local_frames <= frames:
            raise ValueError(f"expected 1 to {frames} local frames for a clip of as many, got {local_frames}")
        return local_frames or frames

    def _pad(self, x: Tensor) -> Tensor:
        """Continue `(B, T, c, H, W)` below and on the right until its sides are multiples of `pad_to`."""
        height, width = x.shape[-2:]
        below, right = -height % self.pad_to[0], -width % self.pad_to[1]
        if not below and not right:
            return x
        if self.pad_mode == "replicate":
            x_float = x if x.is_floating_point() else x.float()
            return F.pad(x_float, (0, right, 0, below, 0, 0), mode="replicate")
        rows, columns = (
            _mirrored(length, length + more, x.device) for length, more in ((height, below), (width, right))
        )
        return x.index_select(-2, rows).index_select(-1, columns)


def _mirrored(length: int, target: int, device: torch.device) -> Tensor:
    """Positions 0 ... length - 1, length - 1 ... 0, 0 ... and so on, `target` of them."""
    folded = torch.arange(target, device=device) % (2 * length)
    return torch.minimum(folded, 2 * length - 1 - folded)


def _check(frames: Tensor, masks: Tensor) -> None:
    if frames.dim() != 5 or frames.shape[2] != 3:
        raise ValueError(f"expected frames (B, T, 3, H, W), got {tuple(frames.shape)}")
    expected = torch.Size((*frames.shape[:2], 1, *frames.shape[3:]))
    if masks.shape != expected:
        raise ValueError(f"expected masks {tuple(expected)} for frames {tuple(frames.shape)}, got {tuple(masks.shape)}")
