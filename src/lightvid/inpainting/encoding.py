"""Frames of a video as a network has encoded them, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightvid.inpainting.tensors import autocast, masked_input
from lightvid.inpainting.video import Frames
from lightvid.networks.encoded_frames import EncodedFrames
from lightvid.networks.generator import InpaintingGenerator

Flows = tuple[Tensor, Tensor]


class EncodedVideo:
    """The encoded frames of a video, and the flows between them, that the next windows look at.

    Args:
        network: encodes them.
        device: where it is, and where they stay.
        precision: see `autocast`.
    """

    def __init__(self, network: InpaintingGenerator, device: torch.device, precision: torch.dtype | None) -> None:
        self.network = network
        self.device = device
        self.precision = precision
        self.frames: dict[int, EncodedFrames] = {}
        self.flows: dict[int, Flows | None] = {}  # between a frame and the one behind it

    @torch.no_grad()
    def encode(self, indices: Sequence[int], frames: Sequence[Frames], masks: Sequence[Frames]) -> None:
        """Encode frames, each `(H, W, 3)` with a mask `(H, W)`, in one batch."""
        with autocast(self.device, self.precision):
            encoded = self.network.encode(*masked_input(frames, masks, self.device))
        for place, index in enumerate(indices):
            self.frames[index] = encoded[:, [place]]

    def clip(self, indices: Sequence[int]) -> EncodedFrames:
        """These frames together."""
        return EncodedFrames.cat([self.frames[index] for index in indices])

    @torch.no_grad()
    def flows_of(self, local: range) -> Flows | None:
        """Forward and backward flow between consecutive frames, `(1, T-1, 2, h, w)` each; None if there is none.

        Pair by pair: a pair's flow shall be the same to the last bit, whichever windows see it.
        """
        pairs = [self._flow(index) for index in local[:-1]]
        found = [pair for pair in pairs if pair is not None]
        if not found:
            return None
        return torch.cat([pair[0] for pair in found], dim=1), torch.cat([pair[1] for pair in found], dim=1)

    def keep(self, needed: Callable[[int], bool]) -> None:
        """Forget what is not needed."""
        self.frames = {index: frame for index, frame in self.frames.items() if needed(index)}
        self.flows = {index: flow for index, flow in self.flows.items() if index in self.frames}

    def _flow(self, index: int) -> Flows | None:
        if index not in self.flows:
            with autocast(self.device, self.precision):
                self.flows[index] = self.network.flows(self.clip((index, index + 1)))
        return self.flows[index]


def batch_of(index: int, length: int, reference_stride: int, size: int) -> range:
    """The frames that a frame of a video of `length` frames is encoded with.

    They depend on nothing else, so that the result is the same to the last bit wherever a restoration starts.
    Multiples of `reference_stride`, which are needed long before their neighbours, are alone.
    """
    reference = index - index % reference_stride
    if index == reference:
        return range(index, index + 1)
    first = index - (index - reference - 1) % size
    return range(first, min(first + size, reference + reference_stride, length))
