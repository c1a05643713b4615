"""The clips that inpainting is evaluated on: true frames, masks and restored frames, paired and brought to one size."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from lightvid.errors import DataError
from lightvid.inpainting.masks import MaskSource, dilate_masks, open_masks
from lightvid.inpainting.pairing import check_pairs
from lightvid.inpainting.video import Frames
from lightvid.video import Video, open_video
from lightvid.video.reading import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from lightvid.video.streaming import FrameStream

logger = logging.getLogger(__name__)

Pairing = Literal["name", "sorted"]

FRAMES = (".zip", *VIDEO_SUFFIXES)
HIDDEN = 128
FRAMES_AT_ONCE = 8


@dataclass(frozen=True)
class Clip:
    """A video whose true frames are known, and a `MaskedVideo` for restorers.

    Frames are resized by Pillow's bicubic filter, masks to the nearest pixel; then the holes are widened, as published.

    Attributes:
        name: of the video.
        frames: the true ones.
        masks: as many, or one for all frames.
        resolution: (height, width) to evaluate at; that of the video if None.
        dilate: times that a 3x3 cross widens the holes.
    """

    name: str
    frames: Video | FrameStream
    masks: MaskSource
    resolution: tuple[int, int] | None
    dilate: int

    def __len__(self) -> int:
        return len(self.frames)

    def size(self) -> tuple[int, int]:
        """Height and width of the evaluated frames."""
        return self.resolution or self.frames.size()

    def read_truth(self, indices: Sequence[int]) -> Frames:
        """`(N, H, W, 3)` RGB."""
        return _resize(self.frames.read(indices), self.size(), Image.Resampling.BICUBIC)

    def read(self, indices: Sequence[int]) -> Frames:
        """As `read_truth`, with grey in the holes: no restorer can look at what it should find."""
        frames = self.read_truth(indices).copy()
        frames[self.read_masks(indices) > 0] = HIDDEN
        return frames

    def close(self) -> None:
        """Close a video file; the next read opens it again."""
        _close(self.frames)

    def read_masks(self, indices: Sequence[int]) -> Frames:
        """`(N, H, W)`, 1 = hole."""
        masks = self.masks.read([0] * len(indices) if len(self.masks.names) == 1 else indices)
        return dilate_masks(_resize(masks, self.size(), Image.Resampling.NEAREST), self.dilate)


class RestoredFiles:
    """The restored frames that another program has written for a clip: a `Restorer` of that clip alone.

    Args:
        path: folder, zip or video file of the frames.
        clip: that they belong to.

    Raises:
        DataError: another number or size of frames than the clip's.
    """

    def __init__(self, path: Path, clip: Clip) -> None:
        self.results = results = _open(path)
        if len(results) != len(clip):
            raise DataError(f"{results.path}: {len(results)} restored frames for the {len(clip)} of {clip.frames.path}")
        self._check_size(results.size(), clip)

    def restore(self, clip: Clip, *, start: int = 0) -> Iterator[Frames]:
        """Frame after frame from `start` on, as they are."""
        try:
            for first in range(start, len(clip), FRAMES_AT_ONCE):
                frames = self.results.read(range(first, min(first + FRAMES_AT_ONCE, len(clip))))
                self._check_size(frames.shape[1:], clip)
                yield from frames
        finally:  # also where nobody asks for more
            _close(self.results)

    def _check_size(self, shape: Sequence[int], clip: Clip) -> None:
        if tuple(shape[:2]) != clip.size():
            raise DataError(
                f"{self.results.path}: restored frames of {_text(shape)}, evaluated at {_text(clip.size())}: give "
                f"--size {_text(shape)}, or restore at that size"
            )


def find_clips(
    frames: Path,
    masks: Path,
    *,
    pair: Pairing = "name",
    only: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    dilate: int = 4,
) -> list[Clip]:
    """Pair the videos of two folders.

    Args:
        frames: folder with one folder, zip or video file per video.
        masks: folder with one folder or zip of masks, or one mask, per video.
        pair: by equal names, or by the place in sorted order, which takes folders of as many entries.
        only: names of videos to take.
        size: (height, width), see `Clip`.
        dilate: see `Clip`.

    Raises:
        DataError: an empty folder, a video without masks, or masks that do not belong to its frames (`check_pairs`).
    """
    videos = list_entries(frames, FRAMES)
    holes = list_entries(masks, (*FRAMES, *IMAGE_SUFFIXES))
    if pair == "sorted":
        if len(videos) != len(holes):
            raise DataError(
                f"{masks}: masks of {len(holes)} videos for the {len(videos)} of {frames}: pairing by sorted order"
                " takes as many"
            )
        holes = dict(zip(videos, holes.values(), strict=True))
    videos = _chosen(videos, only, frames)
    check_partners(videos, holes, frames, masks, hint=": give --pair sorted if their order is the same")
    clips = [Clip(name, _open(path), open_masks(holes[name]), size, dilate) for name, path in videos.items()]
    for clip in clips:
        for note in check_pairs(clip.masks, clip.frames):
            logger.info("%s: %s", clip.name, note)
        _check_size(clip)
    return clips


def list_entries(root: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Folders, and files of these suffixes, by their names without suffix, sorted.

    Raises:
        DataError: no such folder, nothing in it, or two entries of one name.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder (expected one folder or file per video in it)")
    found: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or not (path.is_dir() or path.suffix.lower() in suffixes):
            continue
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise DataError(f"{root}: {found[name].name} and {path.name} are of one name: keep one of them")
        found[name] = path
    if not found:
        raise DataError(f"{root}: no videos in it (expected one folder per video, or {', '.join(suffixes)})")
    return found


def check_partners(
    videos: dict[str, Path], others: dict[str, Path], root: Path, other_root: Path, *, hint: str = ""
) -> None:
    """Refuse videos that have no entry of their name in another folder.

    Raises:
        DataError: naming the first; `hint` is added where all names differ.
    """
    missing = [name for name in videos if name not in others]
    if len(missing) == len(videos):
        raise DataError(
            f"{other_root}: no name in common with {root} (it has {next(iter(others))}, not {missing[0]}){hint}"
        )
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{other_root}: nothing for {missing[0]}{more} of {root}: add it, or choose videos by --only")


def _open(path: Path) -> Video | FrameStream:
    """What is read in order; a video file is closed until it is read, as there may be hundreds."""
    if path.suffix.lower() not in VIDEO_SUFFIXES or path.is_dir():
        return open_video(path)
    stream = FrameStream(path)
    stream.close()
    return stream


def _close(frames: Video | FrameStream) -> None:
    if isinstance(frames, FrameStream):
        frames.close()


def _check_size(clip: Clip) -> None:
    masks, frames = clip.masks, clip.frames
    if clip.resolution is None and masks.size() != clip.size():
        raise DataError(
            f"{masks.label}: masks of {_text(masks.size())} for frames of {_text(clip.size())} in {frames.path}: give"
            " both a size (--size)"
        )


def _chosen(videos: dict[str, Path], only: Sequence[str] | None, root: Path) -> dict[str, Path]:
    if only is None:
        return videos
    if unknown := [name for name in only if name not in videos]:
        raise DataError(f"{root}: no video {unknown[0]} in it (--only)")
    return {name: videos[name] for name in only}


def _resize(images: Frames, size: tuple[int, int], method: Image.Resampling) -> Frames:
    if images.shape[1:3] == size:
        return images
    height, width = size
    return np.stack([np.asarray(Image.fromarray(image).resize((width, height), method)) for image in images])


def _text(shape: Sequence[int]) -> str:
    """Width and height of `(H, W, ...)`."""
    return f"{shape[1]}x{shape[0]}"
