"""Enough evidence of what a hole hides, and no more than is worth its time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lightvid.flow.regions import Box, Region
from lightvid.propagation.footage import Footage
from lightvid.propagation.judging import Evidence, judge, to_pixels
from lightvid.propagation.tracks import Sighting, along_camera, along_flow

# A frame is looked at where it shows this part of the hole that was not seen often enough.
WORTHWHILE = 0.05
# A pixel has been seen enough on a track at so many convincing sightings, or DOUBTFUL times as many that are not.
OBSERVATIONS = 2
DOUBTFUL = 2
# Grey levels of cost below which a sighting is convincing.
CONVINCING = 8.0


def gather(footage: Footage, index: int, box: Box) -> list[Evidence]:
    """What frames before and after `index` show of a box around its hole, along the flow and the camera's motion."""
    hole = footage.still(index).small_hole[box]
    return [
        evidence
        for step in (1, -1)
        for track in (along_flow, along_camera)
        for evidence in _enough(track(footage, index, box, step), hole, footage, index, box)
    ]


def _enough(track: Iterator[Sighting], hole: Region, footage: Footage, index: int, box: Box) -> Iterator[Evidence]:
    wanted = np.full(hole.shape, OBSERVATIONS * DOUBTFUL)
    for sighting in track:
        if (sighting.seen & hole & (wanted > 0)).sum() <= WORTHWHILE * hole.sum():
            continue
        evidence = judge(footage, index, box, sighting)
        yield evidence
        convincing = to_pixels(evidence.cost, hole.shape) < CONVINCING
        wanted -= sighting.seen * np.where(convincing, DOUBTFUL, 1)
        if wanted[hole].max() <= 0:
            return
