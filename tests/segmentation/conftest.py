"""Synthetic videos of coloured squares, and a network that knows the colours."""

import numpy as np
import pytest
import torch
from torch import nn

from lightvid.networks.instance_output import InstanceOutput
from lightvid.video.preparation import normalise

# One object each: far apart, so that the network can tell them however frames are resized.
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]], np.uint8)


class ColourNetwork(nn.Module):
    """Finds the pixels of each colour; an object's class is its colour's number modulo 3.

    Which query an object gets changes from call to call, as nothing holds a trained network to an order. The queries
    from the number of colours on repeat the first ones with less confidence.
    """

    def __init__(self, *, queries=5, classes=3, shuffle=True, confidence=6.0):
        super().__init__()
        self.queries, self.classes, self.shuffle, self.confidence = queries, classes, shuffle, confidence
        self.calls = []

    def forward(self, frames, padding_mask=None):
        order = np.arange(self.queries)
        if self.shuffle:
            order = np.roll(order[::-1], len(self.calls))
        self.calls.append(tuple(frames.shape))
        rows, columns = (torch.arange(2, side + 2, 4).clamp_max(side - 1) for side in frames.shape[-2:])
        small = frames[..., rows, :][..., columns]
        colours = normalise(torch.from_numpy(COLOURS)[:, None, None]).flatten(1)
        masks = [(small - colours[q % 5][:, None, None]).abs().amax(2) < 0.5 for q in order]
        masks = torch.stack(masks, 2)
        logits = torch.full((*masks.shape[:3], self.classes), -6.0)
        for place, query in enumerate(order):
            strength = self.confidence - 2 * (query // 5)
            logits[:, :, place, query % 5 % self.classes] = torch.where(masks[:, :, place].any((2, 3)), strength, -6.0)
        return InstanceOutput(logits, logits.new_zeros(*logits.shape[:3], 4), masks.float() * 12 - 6)


@pytest.fixture
def colour_network():
    return ColourNetwork


@pytest.fixture
def paint():
    """Paint squares into black frames, later objects over earlier ones.

    `objects` maps a colour's number to a function from the frame's number to the corner (y, x), or None where absent.
    """

    def paint(length, objects, *, height=48, width=80, side=16):
        frames = np.zeros((length, height, width, 3), np.uint8)
        for colour, place in objects.items():
            for t in range(length):
                if (corner := place(t)) is not None:
                    y, x = corner
                    frames[t, max(y, 0) : y + side, max(x, 0) : x + side] = COLOURS[colour]
        return frames

    return paint


@pytest.fixture
def loaded(monkeypatch, colour_network):
    """What was loaded, by the loader that stands in for the real one."""
    calls = []

    def load(name, source):
        network = colour_network()
        network.classification = "sigmoid"
        network.frames = 6
        network.overlap = None
        network.category_names = ["ball", "dog", "person"]
        network.category_ids = [3, 5, 8]
        network.input_size = {"shortest": 48, "longest": 100}
        calls.append((name, str(source), network))
        return network

    monkeypatch.setattr("lightvid.checkpoints.load", load)
    return calls
