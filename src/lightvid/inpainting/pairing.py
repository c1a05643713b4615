"""Which mask belongs to which frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lightvid.errors import DataError
from lightvid.inpainting.masks import BoxMasks, MaskSource
from lightvid.video.reading import ImageSequence, Video
from lightvid.video.streaming import FrameStream


def check_pairs(masks: MaskSource, frames: FrameStream | Video) -> list[str]:
    """Refuse masks that do not belong to a video's frames, one to each or one to all.

    Images that have names in common belong together by name, numbers by their value (`7` and `00007`). Where none is
    in common, and where either is a video file, the first mask belongs to the first frame.

    Returns:
        What was taken for granted, one line each.

    Raises:
        DataError: another number of masks than frames, or a frame without a mask of its name.
    """
    names = [Path(name).stem for name in frames.frame_names]
    if len(masks.names) == 1:
        everywhere = isinstance(masks, BoxMasks) or len(names) == 1
        return [] if everywhere else [f"masks: {masks.label} is one, which is for all frames"]
    if len(masks.names) != len(names):
        raise DataError(
            f"{masks.label}: {len(masks.names)} masks for {len(names)} frames{_what_is_missing(masks.names, names)}"
            " (expected one for each, or one image for all)"
        )
    if not (masks.named and isinstance(frames, ImageSequence)):
        return []
    known = {_value(name) for name in masks.names}
    missing = [name for name in names if _value(name) not in known]
    if len(missing) == len(names):
        return [
            f"masks: no name in common with the frames ({masks.names[0]} and {names[0]}), so they are paired in order"
        ]
    if missing:
        raise DataError(
            f"{masks.label}: none for frame {missing[0]}, though names of others are equal (expected all names of"
            f" {frames.path}, or none of them)"
        )
    return []


def _what_is_missing(masks: Sequence[str], frames: Sequence[str]) -> str:
    known = {_value(name) for name in masks}
    masked = [number for number, name in enumerate(frames) if _value(name) in known]
    steps = {later - earlier for earlier, later in pairwise(masked)}
    if len(masked) == len(masks) < len(frames) and len(steps) == 1 and steps != {1}:
        return f", of every {_ordinal(steps.pop())} frame"
    if masked and len(masked) < len(frames):
        return f", none for frame {next(name for name in frames if _value(name) not in known)}"
    return ""


def _value(name: str) -> str | int:
    return int(name) if name.isdecimal() else name


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
