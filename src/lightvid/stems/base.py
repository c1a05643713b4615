"""What the stems of inpainting networks share: frames are encoded one by one, then neighbours may help each other."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from lightvid.errors import ConfigurationError
from lightvid.stems.output import StemOutput
from lightvid.stems.propagation import FlowGuidedPropagation, Flows, thumbnails


class InpaintingStem(nn.Module, ABC):
    """Frames to tokens, in three steps that an inference over a long video can take apart.

    Args:
        channels: width of the tokens.
        inputs: planes of a frame: 3, or 4 where the masks are given beside the colours.
        width: channels of the features.
        propagation: completes the features of consecutive frames by those of their neighbours; None leaves them.
    """

    def __init__(self, channels: int, *, inputs: int, width: int, propagation: FlowGuidedPropagation | None) -> None:
        super().__init__()
        if propagation is not None and propagation.channels != width:
            raise ConfigurationError(
                f"the propagation has {propagation.channels} channels and the stem's features {width}:"
                " give both the same"
            )
        self.channels = channels
        self.inputs = inputs
        self.propagation = propagation

    @abstractmethod
    def encode(self, frames: Tensor) -> Tensor:
        """Features of each frame by itself: `(B, T, inputs, H, W)`, sides divisible by 4, to `(B, T, H/4, W/4, c)`."""

    @abstractmethod
    def tokenise(self, features: Tensor) -> StemOutput:
        """Tokens from features `(B, T, h, w, c)`; without propagation they are those of each frame by itself."""

    @abstractmethod
    def token_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the tokens of features with so many."""

    def propagate(self, features: Tensor, flows: Flows | None) -> Tensor:
        """Complete the features of consecutive frames, which come first; `flows` says of how many.

        Args:
            features: `(B, T, h, w, c)`, of local and then of reference frames.
            flows: of the local frames, `(B, local - 1, 2, h, w)` each; None leaves the features as they are.
        """
        if self.propagation is None or flows is None:
            return features
        local = flows[0].shape[1] + 1
        completed = self.propagation(features[:, :local], flows)
        return torch.cat((completed, features[:, local:].to(completed.dtype)), dim=1)

    def forward(self, frames: Tensor, *, local_frames: int | None = None) -> StemOutput:
        """Frames `(B, T, inputs, H, W)` to tokens `(B, T, h, w, C)` and, where the head needs them, features.

        Args:
            frames: in [-1, 1], sides divisible by 4.
            local_frames: how many of the first are consecutive; all by default. Only propagation asks.
        """
        flows = None
        if self.propagation is not None:
            flows = self.propagation.flows(thumbnails(frames[:, :local_frames, :3]))
        return self.tokenise(self.propagate(self.encode(frames), flows))
