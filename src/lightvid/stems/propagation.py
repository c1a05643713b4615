"""Flow-guided propagation of features, forwards and backwards through time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.errors import ConfigurationError
from lightvid.ops import maps_to_tokens, tokens_to_maps, warp, without_autocast
from lightvid.ops.deformable_conv import deformable_conv2d
from lightvid.stems.spynet import SPyNet

Flows = tuple[Tensor, Tensor]


class FlowGuidedPropagation(nn.Module):
    """Features of consecutive frames, completed by those that flow brings from their neighbours (E2FGVI, Li et al.,
    CVPR 2022): flow is estimated on frames with holes, features are aligned by a second-order deformable convolution
    (BasicVSR++, Chan et al., CVPR 2022) around it, once backwards and once forwards, and both are fused.

    Args:
        channels: of the features, divisible by half of `groups`.
        flow: estimates flow on frames of the features' size; SPyNet of published sizes by default.
        groups: of channels with offsets of their own: half for the last frame, half for the one before it.
        max_residue: how far a learned offset may lead away from the flow, in pixels of the features.
        published_flow_order: use the flows of the backward pass in the order of the released code, which takes the
            first flow for the last frame. Its weights were trained so; BasicVSR++ and ProPainter take the flow of the
            frame in question.
    """

    def __init__(
        self,
        channels: int = 128,
        *,
        flow: nn.Module | None = None,
        groups: int = 16,
        max_residue: float = 10.0,
        published_flow_order: bool = False,
    ) -> None:
        super().__init__()
        if groups < 2 or groups % 2 or (2 * channels) % groups:
            raise ConfigurationError(f"groups is even and divides twice the {channels} channels, got {groups}")
        self.channels = channels
        self.published_flow_order = published_flow_order
        self.flow = SPyNet() if flow is None else flow
        self.backward_alignment = SecondOrderAlignment(channels, groups=groups, max_residue=max_residue)
        self.forward_alignment = SecondOrderAlignment(channels, groups=groups, max_residue=max_residue)
        self.backward_update = _update(2 * channels, channels)
        self.forward_update = _update(3 * channels, channels)
        self.fusion = nn.Conv2d(2 * channels, channels, 1)

    def flows(self, frames: Tensor) -> Flows:
        """Flow between consecutive frames.

        Args:
            frames: `(B, T, 3, h, w)` in [-1, 1], of the features' size, 0 inside the holes.

        Returns:
            Forward (frame t to t + 1) and backward (t + 1 to t), each `(B, T-1, 2, h, w)` in pixels of that size.
        """
        batch, steps = frames.shape[0], frames.shape[1] - 1
        if steps == 0:
            nothing = frames.new_zeros(batch, 0, 2, *frames.shape[3:])
            return nothing, nothing
        colours = (frames.float() + 1) / 2
        earlier, later = colours[:, :-1].flatten(0, 1), colours[:, 1:].flatten(0, 1)
        both = self.flow(torch.cat((earlier, later)), torch.cat((later, earlier)))
        forward, backward = both.unflatten(0, (2, batch, steps)).unbind(0)
        return forward, backward

    def forward(self, features: Tensor, flows: Flows) -> Tensor:
        """Complete features.

        Args:
            features: `(B, T, h, w, C)` of consecutive frames.
            flows: as `flows` gives them for these frames.

        Returns:
            `(B, T, h, w, C)`.
        """
        batch, length = features.shape[:2]
        maps = list(tokens_to_maps(features).unflatten(0, (batch, length)).unbind(1))
        forward, backward = (list(flow.unbind(1)) for flow in flows)
        if not self.published_flow_order:
            forward.reverse()
        completed = self._pass(self.backward_alignment, self.backward_update, [[x] for x in reversed(maps)], forward)
        completed.reverse()
        seen = [[x, later] for x, later in zip(maps, completed, strict=True)]
        carried = self._pass(self.forward_alignment, self.forward_update, seen, backward)
        fused = [self.fusion(torch.cat(pair, dim=1)) + x for x, *pair in zip(maps, completed, carried, strict=True)]
        return maps_to_tokens(torch.stack(fused, dim=1).flatten(0, 1), batch)

    def _pass(
        self, alignment: SecondOrderAlignment, update: nn.Module, seen: list[list[Tensor]], flows: list[Tensor]
    ) -> list[Tensor]:
        """One direction. `seen[i]` is what is known of the i-th frame visited, `flows[i]` leads from it to the last."""
        states: list[Tensor] = []
        for index, known in enumerate(seen):
            if index == 0:
                aligned = torch.zeros_like(known[0])
            else:
                earlier = (states[-2], flows[index - 2]) if index > 1 else None
                aligned = alignment(known[0], states[-1], flows[index - 1], earlier)
            states.append(aligned + update(torch.cat((*known, aligned), dim=1)))
        return states


class SecondOrderAlignment(nn.Module):
    """Brings the states of the last two frames to the current one: a modulated deformable convolution whose offsets
    are the flow and a learned residue (BasicVSR++, Chan et al., CVPR 2022, Eq. 5-8).

    Args:
        channels: of a state.
        groups: see `FlowGuidedPropagation`.
        max_residue: likewise.
    """

    def __init__(self, channels: int, *, groups: int, max_residue: float) -> None:
        super().__init__()
        self.groups = groups
        self.max_residue = max_residue
        self.weight = nn.Parameter(torch.empty(channels, 2 * channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(channels))
        self.offsets = nn.Sequential(
            nn.Conv2d(3 * channels + 4, channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, 27 * groups, 3, padding=1),
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Begin with the flow alone, all taps at half weight."""
        bound = (self.weight.shape[1] * 9) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)
        last = self.offsets[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, last: Tensor, flow: Tensor, earlier: tuple[Tensor, Tensor] | None) -> Tensor:
        """Align.

        Args:
            x: features of the current frame, `(B, C, h, w)`.
            last: state of the frame visited before it.
            flow: from the current frame to that one, `(B, 2, h, w)`.
            earlier: state of the frame before that one and the flow from that one to it; None where there is none.

        Returns:
            `(B, C, h, w)`.
        """
        if earlier is None:
            earlier_state, earlier_flow = torch.zeros_like(last), torch.zeros_like(flow)
            warped = earlier_state
        else:
            earlier_state = earlier[0]
            earlier_flow = flow + warp(earlier[1], flow)
            warped = warp(earlier_state, earlier_flow)
        condition = torch.cat((warp(last, flow), x, warped, flow.to(x), earlier_flow.to(x)), dim=1)
        features = self.offsets[:-1](condition)
        with without_autocast(x.device):  # positions of thousands of pixels want float32
            learned = self.offsets[-1](features.to(self.weight.dtype)).float()
            residue, weights = learned.split((18 * self.groups, 9 * self.groups), dim=1)
            towards = torch.cat([_per_tap(part, 9 * self.groups // 2) for part in (flow, earlier_flow)], dim=1)
            offset = self.max_residue * residue.tanh() + towards
            states = torch.cat((last, earlier_state), dim=1)
            return deformable_conv2d(states, offset, self.weight, self.bias, mask=weights.sigmoid(), padding=1)


def _per_tap(flow: Tensor, taps: int) -> Tensor:
    """A flow `(B, 2, h, w)` as the offset (y first) of so many taps, `(B, 2 * taps, h, w)`."""
    return flow.float().flip(1).repeat(1, taps, 1, 1)


def _update(inputs: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


def thumbnails(frames: Tensor) -> Tensor:
    """Frames `(B, T, 3, H, W)` at a quarter of their size, on which flow is estimated."""
    small = F.interpolate(frames.flatten(0, 1), scale_factor=0.25, mode="bilinear", align_corners=True)
    return small.unflatten(0, frames.shape[:2])
