"""Clips with instances for training, and whole videos for validation, as map-style datasets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightvid.annotations import rle
from lightvid.annotations.youtube_vis import Track, VideoEntry
from lightvid.errors import DataError
from lightvid.video import Video

from .dataset import ClipDataset, OnError
from .instance_batch import InstanceClip, VideoTruth
from .instance_transforms import InstanceTransform, make_targets
from .sampling import ClipSampling, sample_clip

REDRAWS = 5


class InstanceVideo(NamedTuple):
    """A video, its record in the annotation file, and its tracks."""

    video: Video
    entry: VideoEntry
    tracks: list[Track]

    @property
    def is_learnable(self) -> bool:
        """Whether an instance, not a crowd, is visible in it."""
        return any(not track.is_crowd and any(track.segmentations) for track in self.tracks)


class InstanceClips(ClipDataset):
    """Augmented clips of `frames` frames: `InstanceClip` without truth.

    Where a crop leaves no instance visible another clip of the video is drawn; the last of several is taken as it is.

    Args:
        videos: of any length; crowds are not learnt from.
        transform: resizes and augments.
        classes: of each category id.
        frames: of a clip.
        sampling: how they are chosen, see `sample_clip`.
        max_stride: likewise.
        max_instances: the most tracks of a clip, drawn from those visible; None takes all.
        seed: see `ClipDataset`.
        on_error: likewise.
        reduced_decoding: see `Video.read`.
    """

    def __init__(
        self,
        videos: Sequence[InstanceVideo],
        transform: InstanceTransform,
        classes: dict[int, int],
        *,
        frames: int,
        sampling: ClipSampling = "consecutive",
        max_stride: int = 1,
        max_instances: int | None = None,
        seed: int = 0,
        on_error: OnError = "raise",
        reduced_decoding: bool = True,
    ) -> None:
        super().__init__(videos, training=True, seed=seed, on_error=on_error)
        self.transform = transform
        self.classes = classes
        self.frames = frames
        self.sampling: ClipSampling = sampling
        self.max_stride = max_stride
        self.max_instances = max_instances
        self.reduced_decoding = reduced_decoding

    def read(self, rng: np.random.Generator, source: InstanceVideo, skipped: list[str]) -> InstanceClip:
        """See `ClipDataset.read`."""
        for _ in range(REDRAWS):
            clip = self._draw(rng, source, skipped)
            if len(clip.targets.classes):
                break
        return clip

    def _draw(self, rng: np.random.Generator, source: InstanceVideo, skipped: list[str]) -> InstanceClip:
        length = len(source.entry)
        indices = sample_clip(rng, length, self.frames, self.sampling, max_stride=self.max_stride).tolist()
        tracks = self._choose_tracks(rng, source, indices)
        frames = _read_frames(source, indices, self.transform, self.reduced_decoding)
        masks = _read_masks(source, tracks, indices, *frames.shape[1:3])
        frames, masks = self.transform(frames, masks, int(rng.integers(1 << 31)))
        return InstanceClip(
            frames=torch.from_numpy(frames),
            targets=make_targets([self.classes[track.category_id] for track in tracks], masks),
            name=source.video.name,
            file=_describe(source, indices),
            skipped=skipped,
        )

    def _choose_tracks(self, rng: np.random.Generator, source: InstanceVideo, indices: list[int]) -> list[Track]:
        tracks = [
            track
            for track in source.tracks
            if not track.is_crowd and any(track.segmentations[index] is not None for index in indices)
        ]
        if self.max_instances is None or len(tracks) <= self.max_instances:
            return tracks
        return [tracks[place] for place in np.sort(rng.choice(len(tracks), self.max_instances, replace=False))]


class WholeVideos(ClipDataset):
    """All frames of each video, resized and not augmented: `InstanceClip` with truth and without targets.

    Args:
        videos: with all their tracks.
        transform: resizes.
        on_error: see `ClipDataset`.
        reduced_decoding: see `Video.read`.
    """

    def __init__(
        self,
        videos: Sequence[InstanceVideo],
        transform: InstanceTransform,
        *,
        on_error: OnError = "raise",
        reduced_decoding: bool = True,
    ) -> None:
        super().__init__(videos, training=False, on_error=on_error)
        self.transform = transform
        self.reduced_decoding = reduced_decoding

    def read(self, rng: np.random.Generator, source: InstanceVideo, skipped: list[str]) -> InstanceClip:
        """See `ClipDataset.read`."""
        entry = source.entry
        indices = list(range(len(entry)))
        frames = _read_frames(source, indices, self.transform, self.reduced_decoding)
        frames, masks = self.transform(frames, np.zeros((0, *frames.shape[:3]), np.uint8), 0)
        return InstanceClip(
            frames=torch.from_numpy(frames),
            targets=make_targets([], masks),
            name=source.video.name,
            file=_describe(source, indices),
            skipped=skipped,
            truth=VideoTruth(
                video_id=entry.id,
                name=source.video.name,
                height=entry.height,
                width=entry.width,
                length=len(entry),
                tracks=[track_record(track) for track in source.tracks],
            ),
        )


def _read_frames(
    source: InstanceVideo, indices: list[int], transform: InstanceTransform, reduced: bool
) -> NDArray[np.uint8]:
    """The frames, which must have the annotated size, or that size reduced in decoding."""
    height, width = source.entry.height, source.entry.width
    unique, places = np.unique(indices, return_inverse=True)
    frames = source.video.read(unique.tolist(), reduce_to=transform.least_size(height, width) if reduced else None)
    if not any(frames.shape[1:3] == (-(-height // by), -(-width // by)) for by in (1, 2, 4, 8)):
        size = f"{frames.shape[2]}x{frames.shape[1]}"
        file = source.video.frame_names[indices[0]]
        raise DataError(f"{source.video.path}/{file}: {size} pixels, but {width}x{height} in the annotation file")
    return frames if len(unique) == len(indices) and (np.diff(indices) > 0).all() else frames[places]


def _read_masks(
    source: InstanceVideo, tracks: list[Track], indices: list[int], height: int, width: int
) -> NDArray[np.uint8]:
    """`(G, T, height, width)`, resized where the frames were reduced in decoding."""
    masks = np.zeros((len(tracks), len(indices), height, width), np.uint8)
    by = round(source.entry.height / height)
    # The middle of the block that a pixel of a reduced frame stands for; the last block may be smaller.
    rows = np.minimum(np.arange(height) * by + by // 2, source.entry.height - 1)
    columns = np.minimum(np.arange(width) * by + by // 2, source.entry.width - 1)
    for of_track, track in zip(masks, tracks, strict=True):
        for mask, index in zip(of_track, indices, strict=True):
            if (segmentation := track.segmentations[index]) is not None:
                label = f"video {source.entry.id} ({source.video.name}): track {track.id}, frame {index}"
                decoded = rle.decode(segmentation, source.entry.height, source.entry.width, label)
                mask[:] = decoded if by == 1 else decoded[rows[:, None], columns]
    return masks


def _describe(source: InstanceVideo, indices: list[int]) -> str:
    numbers = ", ".join(source.video.frame_names[index].rpartition("/")[2] for index in indices)
    return f"{source.video.path / source.video.name} [{numbers}]"


def track_record(track: Track) -> dict[str, Any]:
    """A track as annotation files have it; its boxes are left out."""
    return {
        "id": track.id,
        "video_id": track.video_id,
        "category_id": track.category_id,
        "iscrowd": int(track.is_crowd),
        "segmentations": list(track.segmentations),
        "areas": list(track.areas),
    }
