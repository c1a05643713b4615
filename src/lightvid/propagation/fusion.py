"""What to make of several frames that show, or seem to show, the same hidden pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightvid.flow.regions import Box, Field, Region, channel_mean, sample_cubic
from lightvid.propagation.enlarging import Enlargement
from lightvid.propagation.footage import Footage
from lightvid.propagation.judging import Evidence, to_pixels

# Grey levels of cost; what costs more is not believed.
LIMIT = 18.0
# A sighting counts 1/e for so many grey levels of cost above the cheapest.
SELECTIVITY = 4.0
# Colours that differ by so much (standard deviation in grey levels) are different things.
SAME_COLOUR = 12.0
# Sightings that count for less than this part of the one that counts most are left out.
NEGLIGIBLE = 0.1
# Cost of what is not seen.
UNSEEN = 1e3


def fuse(footage: Footage, box: Box, evidence: list[Evidence]) -> tuple[Field, Region]:
    """Colours of a hole from sightings of it: the mean of those that agree with the best supported colour.

    Args:
        footage: of the video.
        box: around the hole, at the size of the flow.
        evidence: on this box, at least one.

    Returns:
        `(H', W', 3)` colours of the box at the size of the frames, and `(H', W')`, which of them to believe.
    """
    weights, believed = _weights(evidence)
    large = Enlargement(footage, box)
    good = large.field(believed.astype(np.float32)) > 0.5
    colours, total = np.zeros((*good.shape, 3), np.float32), np.full((*good.shape, 1), 1e-12, np.float32)
    for one, weight in zip(evidence, weights, strict=True):
        if not weight.any():
            continue
        share = large.field(weight)[..., None]
        picture = footage.still(one.sighting.frame).picture
        shown = sample_cubic(picture, large.positions(one.sighting.positions))
        colours += share * (shown + large.field(to_pixels(one.offset, weight.shape)))
        total += share
    return np.asarray(colours / total, np.float32), good


def _weights(evidence: list[Evidence]) -> tuple[Field, Region]:
    """How much each sighting counts, `(sightings, h, w)`, and where the cheapest is good enough."""
    shape = evidence[0].sighting.seen.shape
    costs = np.stack([np.where(one.sighting.seen, to_pixels(one.cost, shape), np.inf) for one in evidence])
    cheapest = costs.min(0)
    believed = cheapest < LIMIT
    weights = np.exp((np.where(believed, cheapest, 0) - costs) / SELECTIVITY)
    weights *= np.stack([to_pixels(agreement, shape) for agreement in _agreement(evidence)])
    weights[(weights < NEGLIGIBLE * weights.max(0)) | ~believed] = 0
    return weights, believed


def _agreement(evidence: list[Evidence]) -> NDArray[np.float32]:
    """How near each sighting's colour is to the best supported one, `(sightings, rows, columns)` in 0 to 1."""
    costs = np.stack([np.where(one.seen > 0, one.cost, UNSEEN) for one in evidence])
    votes = np.exp(-np.minimum((costs - costs.min(0)) / SELECTIVITY, 50)) * (costs < UNSEEN)
    colours = [one.colours for one in evidence]
    support = votes.copy()
    for i, colour in enumerate(colours):
        for j in range(i):
            same = _likeness(colour, colours[j])
            support[i] += same * votes[j]
            support[j] += same * votes[i]
    best = np.where(costs < UNSEEN, support, -1).argmax(0)
    reference = np.take_along_axis(np.stack(colours), best[None, ..., None], 0)[0]
    return np.stack([np.maximum(_likeness(colour, reference), 1e-6) for colour in colours])


def _likeness(first: Field, second: Field) -> Field:
    return np.asarray(np.exp(channel_mean(np.square(first - second)) / (-2 * SAME_COLOUR**2)), np.float32)
