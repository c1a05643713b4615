"""What the tests of restorers share: generated videos, and networks small enough to run over thousands of frames."""

import numpy as np
import torch

from lightvid.attention import FullAttention
from lightvid.backbone import SpatioTemporalTransformer
from lightvid.heads import ConvDecoder, SoftCompositionDecoder
from lightvid.networks import InpaintingGenerator
from lightvid.networks.encoded_frames import EncodedFrames
from lightvid.networks.generator import InpaintingOutput
from lightvid.stems import ConvStem, SoftSplitStem
from lightvid.stems.propagation import FlowGuidedPropagation


class GeneratedVideo:
    """A video whose frames are made when they are read; holes are where `hole(t)` says (top, left, height, width)."""

    def __init__(self, length, height=16, width=24, hole=lambda t: (4, 6, 6, 8), *, remember=True):
        self.length, self.height, self.width, self.hole = length, height, width, hole
        self.frames_read, self.masks_read, self.remember = [], [], remember

    def __len__(self):
        return self.length

    def size(self):
        return self.height, self.width

    def read(self, indices):
        self.frames_read.extend(indices if self.remember else ())
        y, x = np.mgrid[: self.height, : self.width]
        planes = [np.stack([(x * 5 + t * 3) % 256, (y * 9 + t) % 256, (x + y + 7 * t) % 256], -1) for t in indices]
        return np.stack(planes).astype(np.uint8)

    def read_masks(self, indices):
        self.masks_read.extend(indices if self.remember else ())
        masks = np.zeros((len(indices), self.height, self.width), np.uint8)
        for mask, t in zip(masks, indices, strict=True):
            if (box := self.hole(t)) is not None:
                top, left, height, width = box
                mask[top : top + height, left : left + width] = 1
        return masks


def whole(video):
    indices = range(len(video))
    return video.read(indices), video.read_masks(indices)


def plain_network(channels=16):
    """Every frame looks at every other."""
    torch.manual_seed(0)
    backbone = SpatioTemporalTransformer(channels, blocks=1, mixer=FullAttention)
    return strong(InpaintingGenerator(ConvStem(channels), backbone, ConvDecoder(channels)))


class SmallFlow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, first, second):
        return self.conv(torch.cat((first, second), 1))


def flow_guided_network():
    torch.manual_seed(0)
    propagation = FlowGuidedPropagation(8, groups=4, flow=SmallFlow())
    stem = SoftSplitStem(16, base=8, widths=(8, 8, 8, 8, 8), propagation=propagation)
    backbone = SpatioTemporalTransformer(16, blocks=1, mixer=FullAttention)
    return strong(InpaintingGenerator(stem, backbone, SoftCompositionDecoder(16, features=8, hidden=8)))


@torch.no_grad()
def strong(network):
    """Weights with which predictions use the whole range, as a trained network's do, and depend on all frames."""
    last = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    for block in network.backbone.blocks:
        for parameter in block.mixer.parameters():
            parameter.mul_(30)
    frames = torch.rand(1, 4, 3, 24, 32) * 2 - 1
    deviation = network(frames, torch.zeros(1, 4, 1, 24, 32)).frames.std()
    last.weight.mul_(0.4 / deviation)
    last.bias.zero_()
    return network.eval()


class MixingNetwork(torch.nn.Module):
    """What it says of a frame hangs strongly on every frame of the window, on their order and on the flows."""

    def forward(self, frames, masks, *, local_frames):
        return self.restore(self.encode(frames, masks), local_frames=local_frames)

    def encode(self, frames, masks):
        return EncodedFrames((frames + masks).movedim(2, -1), masks.squeeze(2), frames, tuple(frames.shape[-2:]))

    def flows(self, encoded):
        steps = encoded.thumbnails[:, 1:, :2] - encoded.thumbnails[:, :-1, :2]
        return steps, -2 * steps

    def restore(self, encoded, *, local_frames, flows=None, decode=None):
        forward, backward = self.flows(encoded[:, :local_frames]) if flows is None else flows
        weights = torch.cos(torch.arange(encoded.features.shape[1]) + 1.0).view(1, -1, 1, 1, 1)
        mixed = (weights * encoded.features.movedim(-1, 2)).sum(1, keepdim=True)
        moved = (forward.square() + backward).sum((1, 2)).view(-1, 1, 1, *encoded.size)
        frames = encoded.features.movedim(-1, 2)[:, :decode]
        return InpaintingOutput(torch.sin(mixed + moved + 2 * frames))


class Counting(torch.nn.Module):
    """A network that remembers how often it was asked for what."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.encoded, self.restored, self.decoded, self.flow_pairs = 0, [], 0, 0

    def encode(self, frames, masks):
        self.encoded += frames.shape[1]
        return self.network.encode(frames, masks)

    def flows(self, encoded):
        self.flow_pairs += encoded.features.shape[1] - 1
        return self.network.flows(encoded)

    def restore(self, encoded, *, local_frames, flows, decode):
        self.restored.append((encoded.features.shape[1], local_frames))
        self.decoded += decode
        return self.network.restore(encoded, local_frames=local_frames, flows=flows, decode=decode)


class FixedNetwork(torch.nn.Module):
    """Predicts the mean of what a window's frames show, which is no work."""

    def encode(self, frames, masks):
        return EncodedFrames(frames, masks.squeeze(2), None, tuple(frames.shape[-2:]))

    def flows(self, encoded):
        return None

    def restore(self, encoded, *, local_frames, flows, decode):
        mean = encoded.features.mean(1, keepdim=True)
        return InpaintingOutput(mean.expand(-1, decode, -1, -1, -1))
