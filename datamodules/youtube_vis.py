"""YouTube-VIS 2019, 2021 and 2022, and OVIS."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal, get_args

import torch

from lightvid.annotations.youtube_vis import (
    Annotations,
    Category,
    find_images,
)
from lightvid.errors import ConfigurationError, DataError
from lightvid.video.reading import FrameFolder

from .augmentations import CleanAugmentation, InstanceAugmentation, PublishedAugmentation
from .base import ClipDataModule, check_choice, check_least
from .dataset import OnError
from .instance_batch import CollateInstances, InstanceByteBatch
from .instance_clips import InstanceClips, InstanceVideo, WholeVideos
from .instance_files import check_same_categories, choose_training, choose_validation
from .instance_transforms import InstanceTransform
from .sampling import ClipSampling

logger = logging.getLogger(__name__)

Augmentation = Literal["clean", "published", "none"]


class YouTubeVISDataModule(ClipDataModule):
    """Clips with instances: tasks get `InstanceBatch` in training, and `InstanceByteBatch`, on the CPU, in validation.

    Reads the layouts of the archives of YouTube-VIS 2019, 2021 and 2022 and of OVIS, and those of VisTR and VNext. The
    benchmarks' validation files have no tracks; with such a file, training and validation use the local split that
    `lightvid split-vis ROOT` writes. Validation gives whole videos, one a batch.

    Args:
        root: the dataset's folder.
        frames: of a training clip.
        batch_size: clips per process.
        workers: processes that read; 0 reads in the main process.
        shortest: the shorter side of the frames in pixels; of several, each training clip draws one, and validation
            takes the largest.
        longest: the most that the longer side may be; None sets no limit.
        size_divisor: a batch is padded to multiples of it.
        sampling: how the frames of a training clip are chosen, see `sample_clip`.
        max_stride: likewise.
        max_instances: the most tracks of a training clip; None takes all that are visible.
        augmentation: of training clips: "clean" (`CleanAugmentation`), "published" (`PublishedAugmentation`), "none",
            or one of these classes with its options.
        annotations: the training file, absolute or relative to `root`, instead of the one that is found.
        validation_annotations: likewise for validation.
        videos: names of the only videos to take; None takes all.
        validate_on_training: validate on the training file, to see whether a network can learn its videos by heart.
        clips_per_video: how often an epoch takes each video.
        seed: of everything random.
        on_error: whether a broken file ends the run ("raise"), or its clip is reported in `skipped` and, in training,
            replaced by another; in validation, left out ("skip").
        reduced_decoding: decode large JPEG images at a half, quarter or eighth where that is still large enough;
            False decodes every pixel.
    """

    def __init__(
        self,
        root: str,
        *,
        frames: int = 36,
        batch_size: int = 1,
        workers: int = 2,
        shortest: int | Sequence[int] = 300,
        longest: int | None = 540,
        size_divisor: int = 1,
        sampling: ClipSampling = "consecutive",
        max_stride: int = 3,
        max_instances: int | None = None,
        augmentation: Augmentation | InstanceAugmentation = "clean",
        annotations: str | None = None,
        validation_annotations: str | None = None,
        videos: list[str] | None = None,
        validate_on_training: bool = False,
        clips_per_video: int = 1,
        seed: int = 0,
        on_error: OnError = "raise",
        reduced_decoding: bool = True,
    ) -> None:
        super().__init__(
            root,
            batch_size=batch_size,
            validation_batch_size=1,
            workers=workers,
            clips_per_video=clips_per_video,
            seed=seed,
            on_error=on_error,
        )
        self.shortest = (shortest,) if isinstance(shortest, int) else tuple(shortest)
        check_least(frames=(frames, 1), batch_size=(batch_size, 1), workers=(workers, 0), seed=(seed, 0))
        check_least(clips_per_video=(clips_per_video, 1), size_divisor=(size_divisor, 1), max_stride=(max_stride, 1))
        check_least(shortest=(min(self.shortest, default=0), 1), longest=(1 if longest is None else longest, 1))
        check_least(max_instances=(1 if max_instances is None else max_instances, 1))
        check_choice("sampling", sampling, get_args(ClipSampling))
        check_choice("on_error", on_error, get_args(OnError))
        self.frames = frames
        self.longest = longest
        self.size_divisor = size_divisor
        self.sampling: ClipSampling = sampling
        self.max_stride = max_stride
        self.max_instances = max_instances
        self.augmentation = _make_augmentation(augmentation)
        self.annotations = annotations
        self.validation_annotations = validation_annotations
        self.videos = videos
        self.validate_on_training = validate_on_training
        self.reduced_decoding = reduced_decoding
        self._categories: list[Category] | None = None

    @property
    def categories(self) -> list[Category]:
        """The categories of the dataset's files, sorted by id: class k is the k-th; known after `setup`."""
        if self._categories is None:
            raise ConfigurationError("the categories of a dataset are known after setup('fit') or setup('validate')")
        return self._categories

    @property
    def classes(self) -> int:
        """How many categories there are."""
        return len(self.categories)

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """See `ClipDataModule.collate`."""
        return CollateInstances(self.size_divisor)

    def setup(self, stage: str) -> None:
        """Read the annotation files and look for the videos; no frame is decoded.

        Raises:
            DataError: a file or folder is missing, wrong or has no tracks, or the files have different categories.
        """
        is_ready = self._validation is not None and (self._train is not None or stage == "validate")
        if stage not in ("fit", "validate") or is_ready:
            return
        if self.validate_on_training:
            validation, is_local = choose_training(self.root, self.annotations, is_local=False), False
        else:
            validation, is_local = choose_validation(self.root, self.validation_annotations)
        self._validation = WholeVideos(
            self._open("validation", validation),
            InstanceTransform((max(self.shortest),), self.longest),
            on_error=self.on_error,
            reduced_decoding=self.reduced_decoding,
        )
        self._categories = validation.categories
        if stage == "fit":
            training = choose_training(self.root, self.annotations, is_local=is_local)
            check_same_categories(training, validation)
            self._train = self._make_clips(training)

    def transfer_batch_to_device(self, batch: InstanceByteBatch, device: torch.device, dataloader_idx: int) -> Any:
        """Leave whole videos on the CPU: `VideoSegmenter` takes one window at a time from them."""
        return batch if batch.truth else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: InstanceByteBatch, dataloader_idx: int) -> Any:
        """Turn the bytes of training clips into floats; whole videos stay bytes."""
        return batch if batch.truth else super().on_after_batch_transfer(batch, dataloader_idx)

    def _make_clips(self, training: Annotations) -> InstanceClips:
        videos = [video for video in self._open("training", training) if _is_learnable(video)]
        if not videos:
            raise DataError(f"{training.path}: no video with a visible track to train on")
        return InstanceClips(
            videos,
            InstanceTransform(self.shortest, self.longest, self.augmentation),
            {category.id: number for number, category in enumerate(training.categories)},
            frames=self.frames,
            sampling=self.sampling,
            max_stride=self.max_stride,
            max_instances=self.max_instances,
            seed=self.seed,
            on_error=self.on_error,
            reduced_decoding=self.reduced_decoding,
        )

    def _open(self, purpose: str, annotations: Annotations) -> list[InstanceVideo]:
        """The chosen videos whose frames are there."""
        if self.videos is not None:
            annotations = only(annotations, self.videos)
        images = find_images(self.root, annotations.videos)
        logger.info(
            "%s: %s (%d videos, %d tracks, %d categories), frames in %s",
            purpose,
            annotations.path,
            len(annotations.videos),
            len(annotations.tracks or []),
            len(annotations.categories),
            images,
        )
        with ThreadPoolExecutor(8) as pool:  # for the latency of network disks
            present = list(pool.map(lambda entry: (images / entry.file_names[0]).is_file(), annotations.videos))
        for entry, is_there in zip(annotations.videos, present, strict=True):
            if not is_there:
                message = (
                    f"{images / entry.file_names[0]}: no such frame, of video {entry.id} in {annotations.path.name}"
                )
                if self.on_error == "raise":
                    raise DataError(f"{message}; data.on_error=skip leaves such videos out")
                self.skipped.append(message)
        tracks = annotations.tracks_by_video()
        return [
            InstanceVideo(FrameFolder(images, entry.name, list(entry.file_names)), entry, tracks[entry.id])
            for entry, is_there in zip(annotations.videos, present, strict=True)
            if is_there
        ]


def only(annotations: Annotations, names: Sequence[str]) -> Annotations:
    """The videos of these names, with their tracks and all categories.

    Raises:
        DataError: none of them has such a name.
    """
    videos = [video for video in annotations.videos if video.name in names]
    if not videos:
        known = ", ".join(video.name for video in annotations.videos[:3])
        raise DataError(f"{annotations.path}: none of data.videos={list(names)} is in it; it has {known}, ...")
    ids = {video.id for video in videos}
    tracks = [track for track in annotations.tracks or [] if track.video_id in ids]
    return replace(annotations, videos=videos, tracks=tracks)


def _make_augmentation(choice: Augmentation | InstanceAugmentation) -> InstanceAugmentation | None:
    if isinstance(choice, InstanceAugmentation):
        return choice
    check_choice("augmentation", choice, get_args(Augmentation))
    if choice == "none":
        return None
    return CleanAugmentation() if choice == "clean" else PublishedAugmentation()


def _is_learnable(video: InstanceVideo) -> bool:
    return any(not track.is_crowd and any(track.segmentations) for track in video.tracks)
