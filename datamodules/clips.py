"""Clips of videos with masks, as a map-style dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lightvid.errors import DataError
from lightvid.video import Video

from .batch import InpaintingClip
from .dataset import ClipDataset, OnError
from .masks import dilate, object_masks, random_moving_masks
from .sampling import FrameSampling, middle_frames, sample_frames
from .transforms import ClipTransform, resize_masks

MaskKind = Literal["moving", "stationary", "object", "own_object"]


class AnnotatedVideo(NamedTuple):
    """A video and, where the dataset has them, the instance masks of its frames."""

    video: Video
    annotations: Video | None = None


class InpaintingClips(ClipDataset):
    """Clips with holes: `InpaintingClip`.

    Args:
        videos: each at least `frames + reference_frames` long.
        transform: makes the clips one size.
        frames: of a clip, references not counted.
        sampling: how they are chosen, see `sample_frames`; None takes consecutive ones from the middle.
        reference_frames: of a clip, after the others.
        masks: "moving" and "stationary" are random shapes (`random_moving_masks`; of "moving" half the draws stand
            still, as published), "object" the shapes of another video's objects (of its own if there is no other),
            "own_object" those of its own.
        mask_dilation: pixels by which the masks of objects are widened.
        seed: see `ClipDataset`.
        on_error: likewise.
        reduced_decoding: see `Video.read`.
    """

    def __init__(
        self,
        videos: Sequence[AnnotatedVideo],
        transform: ClipTransform,
        *,
        frames: int,
        sampling: FrameSampling | None = "mixed",
        reference_frames: int = 0,
        masks: MaskKind = "moving",
        mask_dilation: int = 4,
        seed: int = 0,
        on_error: OnError = "raise",
        reduced_decoding: bool = True,
    ) -> None:
        super().__init__(videos, training=sampling is not None, seed=seed, on_error=on_error)
        self.transform = transform
        self.frames = frames
        self.sampling = sampling
        self.reference_frames = reference_frames
        self.masks = masks
        self.mask_dilation = mask_dilation
        self.reduced_decoding = reduced_decoding

    def read(self, rng: np.random.Generator, source: AnnotatedVideo, skipped: list[str]) -> InpaintingClip:
        """See `ClipDataset.read`."""
        video = source.video
        indices = self._choose_frames(rng, len(video))
        height, width = self.transform.height, self.transform.width
        frames = video.read(indices, reduce_to=(height, width) if self.reduced_decoding else None)
        masks = self._make_masks(rng, source, indices)
        # Only the masks of the video's own objects belong to its picture and are flipped with it.
        follows = self.masks == "own_object"
        seed = int(rng.integers(1 << 31))
        frames, own_masks = self.transform(frames, masks if follows else None, seed)
        masks = resize_masks(masks, height, width) if own_masks is None else own_masks
        if self.masks in ("object", "own_object"):
            masks = dilate(masks, self.mask_dilation)
        numbers = ", ".join(video.frame_names[index] for index in indices)
        return InpaintingClip(
            frames=torch.from_numpy(frames),
            masks=torch.from_numpy(masks),
            name=video.name,
            file=f"{video.path} [{numbers}]",
            skipped=skipped,
            local_frames=self.frames,
        )

    def _choose_frames(self, rng: np.random.Generator, length: int) -> list[int]:
        if self.sampling is None:
            return middle_frames(length, self.frames).tolist()
        return sample_frames(rng, length, self.frames, self.sampling, references=self.reference_frames).tolist()

    def _make_masks(self, rng: np.random.Generator, source: AnnotatedVideo, indices: list[int]) -> NDArray[np.uint8]:
        """`(T, h, w)`: random shapes in the size of the result, objects in that of their frames."""
        if self.masks in ("moving", "stationary"):
            height, width = self.transform.height, self.transform.width
            motion: Literal["random", "stationary"] = "random" if self.masks == "moving" else "stationary"
            return random_moving_masks(rng, len(source.video), height, width, indices, motion=motion)
        if self.masks == "object":
            source = self.videos[self._another(rng, source)]
            # A shorter video's object rests in its last frame.
            indices = [min(index, len(source.video) - 1) for index in indices]
        if source.annotations is None:
            raise DataError(f"{source.video.path}: no annotations for this video, which masks={self.masks} needs")
        return object_masks(source.video, source.annotations, indices)

    def _another(self, rng: np.random.Generator, source: AnnotatedVideo) -> int:
        others = [index for index, other in enumerate(self.videos) if other is not source]
        return others[int(rng.integers(len(others)))] if others else 0
