"""Enough evidence of what a hole hides, and no more than is worth its time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lightvid.flow.regions import Box
from lightvid.propagation.footage import Footage
from lightvid.propagation.judging import Evidence, judge, to_pixels
from lightvid.propagation.tracks import Sighting, along_camera, along_flow

# A frame is looked at where it shows this part of the hole that was not seen often enough.
WORTHWHILE = 0.05
# A pixel has been seen enough on a track after so many convincing sightings, or DOUBTFUL times as many others.
FLOW_SIGHTINGS, CAMERA_SIGHTINGS = 2, 4
DOUBTFUL = 2
# Grey levels of cost below which a sighting is convincing.
CONVINCING = 8.0
# Frames from one sighting along the camera's motion to the next: what passes before the background has then moved on.
CAMERA_SPACING = 2


def gather(footage: Footage, index: int, box: Box) -> list[Evidence]:
    """What frames before and after `index` show of a box around its hole, along the flow and the camera's motion."""
    return [
        evidence
        for step in (1, -1)
        for track, sightings, spacing in (
            (along_flow, FLOW_SIGHTINGS, 1),
            (along_camera, CAMERA_SIGHTINGS, CAMERA_SPACING),
        )
        for evidence in _enough(track(footage, index, box, step), footage, index, box, sightings, spacing)
    ]


def _enough(
    track: Iterator[Sighting], footage: Footage, index: int, box: Box, sightings: int, spacing: int
) -> Iterator[Evidence]:
    """Judge the sightings of a track until each pixel of the hole was seen so many times."""
    hole = footage.still(index).small_hole[box]
    wanted = np.full(hole.shape, sightings * DOUBTFUL)
    last = None
    for sighting in track:
        if last is not None and abs(sighting.frame - last) < spacing:
            continue
        if (sighting.seen & hole & (wanted > 0)).sum() <= WORTHWHILE * hole.sum():
            continue
        evidence = judge(footage, index, box, sighting)
        yield evidence
        last = sighting.frame
        convincing = to_pixels(evidence.cost, hole.shape) < CONVINCING
        wanted -= sighting.seen * np.where(convincing, DOUBTFUL, 1)
        if wanted[hole].max() <= 0:
            return
