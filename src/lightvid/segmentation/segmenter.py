"""Segmenting whole videos with a network that sees a window of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightvid.errors import ConfigurationError, DataError
from lightvid.segmentation.linking import Instances, Linker, Piece
from lightvid.segmentation.masks import encode_masks
from lightvid.segmentation.queries import choose_queries
from lightvid.segmentation.scoring import Classification, PublishedScoring, Scoring, SigmoidScoring
from lightvid.segmentation.tracks import Track, TrackResult, track_results
from lightvid.segmentation.windows import overlapping_windows, ping_pong, repeat
from lightvid.video.ahead import one_ahead
from lightvid.video.preparation import fit_size, normalise, resize_bilinear

MASK_STRIDE = 4  # pixels of the network's frames to a cell of its masks, see `InstanceOutput`


class VideoSegmenter:
    """Finds, segments and tracks the instances of videos of any length.

    The network sees overlapping windows, whose instances are joined to tracks (see `Linker`). A frame that has left all
    windows is kept as run lengths only: memory does not grow with the video, save for those.

    A softmax network is taken as VisTR's published protocol takes it: all queries, one class each (`PublishedScoring`),
    a video shorter than the window repeated from its start. Longer videos, which that protocol does not know, are
    joined from windows.

    Args:
        network: called with frames `(1, T, 3, h, w)`, answers an `InstanceOutput`; in evaluation mode. The work is done
            on its device.
        frames: of a window, as in training.
        overlap: frames that windows share, at least 1 for tracks to go on; half of `frames`, rounded up, if not given.
        classification: how the network's class logits are meant, see `InstancePrediction`.
        category_ids: of class 0, 1, ...
        shortest: size of frames' shorter side for the network, in pixels.
        longest: bound of the longer side.
        any_length: whether the network takes fewer frames than `frames`; otherwise a shorter video is extended.
        patience: frames for which a track that windows have lost may be found again; as many as a window has if not
            given.
        tracks_per_video: most results, the best ones.
        score_threshold: least score of a query in a window and of a result. 0.01 if not given, for softmax 0.
        mask_threshold: probability that a pixel of a mask exceeds.
        duplicate_iou: of queries with one class and a greater IoU only the best stays (None: all); sigmoid only.
        visibility: see `SigmoidScoring`; sigmoid only.
        further_classes: see `SigmoidScoring`; sigmoid only.
        precision: of the network's autocast, such as `torch.bfloat16`; None leaves autocast as it is.

    Raises:
        ConfigurationError: an overlap or a threshold that cannot be.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        frames: int,
        overlap: int | None = None,
        classification: Classification = "sigmoid",
        category_ids: Sequence[int],
        shortest: int,
        longest: int | None = None,
        any_length: bool = False,
        patience: int | None = None,
        tracks_per_video: int = 100,
        score_threshold: float | None = None,
        mask_threshold: float = 0.5,
        duplicate_iou: float | None = 0.6,
        visibility: float = 0.25,
        further_classes: float | None = 0.05,
        precision: torch.dtype | None = None,
    ) -> None:
        if frames < 1 or not 0 <= (overlap or 0) < frames:
            raise ConfigurationError(f"overlap={overlap}: windows of {frames} frames share 0 to {frames - 1} frames")
        if not 0 < mask_threshold < 1:
            raise ConfigurationError(f"mask_threshold={mask_threshold}: expected a probability between 0 and 1")
        published = classification == "softmax"
        self.network = network
        self.frames = frames
        self.overlap = min(frames - 1, (frames + 1) // 2) if overlap is None else overlap
        self.category_ids = list(category_ids)
        self.shortest = shortest
        self.longest = longest
        self.any_length = any_length
        self.patience = frames if patience is None else patience
        self.tracks_per_video = tracks_per_video
        self.score_threshold = (0.0 if published else 0.01) if score_threshold is None else score_threshold
        self.mask_threshold = math.log(mask_threshold / (1 - mask_threshold))
        self.duplicate_iou = None if published else duplicate_iou
        self.scoring: Scoring = (
            PublishedScoring() if published else SigmoidScoring(visibility=visibility, further_classes=further_classes)
        )
        self.extend = repeat if published else ping_pong
        self.precision = precision

    def segment(
        self,
        read: Callable[[Sequence[int]], NDArray[np.uint8]],
        length: int,
        height: int,
        width: int,
        *,
        video_id: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[TrackResult]:
        """Segment a video, reading the next window's frames while the network works on the last.

        Args:
            read: gives the frames with these numbers, `(n, height, width, 3)` uint8 RGB, such as `Video.read`. It is
                called in another thread.
            length: frames of the video.
            height: of its frames, in pixels.
            width: likewise.
            video_id: written into the results.
            progress: called with the number of frames that the network has seen, after each window.

        Returns:
            The tracks, best score first; their masks have the video's size.

        Raises:
            DataError: no frames, or frames of another size.
        """
        size = fit_size(height, width, shortest=self.shortest, longest=self.longest)

        def prepare(indices: Sequence[int]) -> Tensor:
            frames = read(indices)
            if frames.shape[1:3] != (height, width):
                found = f"{frames.shape[2]}x{frames.shape[1]}"
                raise DataError(f"frame {indices[0]}: {found} pixels in a video of {width}x{height}")
            return normalise(torch.from_numpy(resize_bilinear(frames, *size)))

        windows = overlapping_windows(length, self.frames, self.overlap)
        return self._segment(one_ahead(_sliding(windows, prepare)), length, (height, width), video_id, progress)

    def segment_clip(self, frames: Tensor, size: tuple[int, int], video_id: int = 0) -> list[TrackResult]:
        """Segment a clip that is in memory, such as one of a validation set.

        Args:
            frames: of the network's size, without padding: `(T, h, w, 3)` uint8 RGB, or `(T, 3, h, w)` float,
                ImageNet-normalised. On any device; one window at a time goes to the network's and is normalised there.
            size: height and width of the video, which the masks shall have.
            video_id: written into the results.

        Returns:
            As `segment`.
        """
        windows = overlapping_windows(len(frames), self.frames, self.overlap)
        device = self._device(frames)

        def prepare(window: range) -> Tensor:
            part = frames[window.start : window.stop].to(device)
            return normalise(part) if part.dtype == torch.uint8 else part

        clips = ((window, prepare(window)) for window in windows)
        return self._segment(clips, len(frames), size, video_id, None)

    @torch.no_grad()
    def _segment(
        self,
        clips: Iterator[tuple[range, Tensor]],
        length: int,
        size: tuple[int, int],
        video_id: int,
        progress: Callable[[int], None] | None,
    ) -> list[TrackResult]:
        if length < 1:
            raise DataError(f"video {video_id}: it has no frames")
        linker, tracks = Linker(self.scoring, patience=self.patience), dict[int, Track]()
        extent = (1.0, 1.0)
        for window, frames in clips:
            extent = self._extent(*frames.shape[-2:])
            self._store(linker.add(self._instances(window, frames)), tracks, size, extent)
            if progress is not None:
                progress(window.stop)
        self._store(linker.finish(), tracks, size, extent)
        return track_results(
            tracks.values(),
            self.scoring,
            video_id=video_id,
            length=length,
            category_ids=self.category_ids,
            score_threshold=self.score_threshold,
            limit=self.tracks_per_video,
        )

    def _instances(self, window: range, frames: Tensor) -> Instances:
        """What the network finds in one window, without what is no object."""
        count = len(frames)
        if count < self.frames and not self.any_length:
            frames = frames[self.extend(count, self.frames)]
        device = self._device(frames)
        autocast = torch.autocast(device.type, dtype=self.precision) if self.precision else nullcontext()
        with autocast:
            output = self.network(frames[None].to(device))
        probabilities = self.scoring.probabilities(output.logits[0, :count].float()).transpose(0, 1)
        masks = output.masks[0, :count].transpose(0, 1)
        chosen = choose_queries(
            probabilities,
            masks,
            self.scoring,
            mask_threshold=self.mask_threshold,
            score_threshold=self.score_threshold,
            duplicate_iou=self.duplicate_iou,
        )
        return Instances(window.start, masks[chosen].float(), probabilities[chosen])

    def _device(self, frames: Tensor) -> torch.device:
        """The network's, or that of the frames if it has no parameters."""
        return next((parameter.device for parameter in self.network.parameters()), frames.device)

    def _extent(self, height: int, width: int) -> tuple[float, float]:
        """The part of its masks that a frame of this size fills.

        Cells are squares of pixels, and the last ones reach beyond a frame whose size is no multiple of theirs.
        Published networks have learnt masks that are stretched to end with the frame.
        """
        if isinstance(self.scoring, PublishedScoring):
            return 1.0, 1.0
        rows, columns = (-(-side // MASK_STRIDE) for side in (height, width))
        return height / (MASK_STRIDE * rows), width / (MASK_STRIDE * columns)

    def _store(
        self, pieces: list[Piece], tracks: dict[int, Track], size: tuple[int, int], extent: tuple[float, float]
    ) -> None:
        for piece in pieces:
            track = tracks.setdefault(piece.track, Track(piece.start))
            masks = encode_masks(piece.masks, size, self.mask_threshold, extent=extent)
            track.append(piece.start, masks, piece.probabilities.to("cpu", copy=True))  # not a view of the window


def _sliding(windows: list[range], prepare: Callable[[Sequence[int]], Tensor]) -> Iterator[tuple[range, Tensor]]:
    """Each window with its frames, of which only those are read that the window before did not have."""
    frames, end = torch.empty(0), 0
    for window in windows:
        shared = frames[len(frames) - max(0, end - window.start) :]
        new = prepare(range(max(end, window.start), window.stop))
        frames, end = torch.cat([shared, new]) if len(shared) else new, window.stop
        yield window, frames
