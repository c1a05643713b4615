"""What all inpainting data modules share: clips of videos with holes, shuffled, sharded and resumable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, get_args

import pytorch_lightning as pl
import torch
from torch import distributed

from lightvid.errors import ConfigurationError, DataError
from lightvid.video import open_video

from .batch import ByteBatch, InpaintingBatch, collate
from .clips import AnnotatedVideo, InpaintingClips, MaskKind
from .layout import Split, VideoPaths
from .loader import ResumableLoader, ValidationLoader, single_threaded_opencv
from .sampling import EpochSampler, FrameSampling, ShardedBatches, ShardedRange
from .transforms import ClipTransform

OnError = Literal["raise", "skip"]


class InpaintingDataModule(pl.LightningDataModule, ABC):
    """Clips with holes: tasks get `InpaintingBatch`, the loaders alone give `ByteBatch`. A subclass knows one layout.

    A training sample is a function of the seed and its running number: it is the same for any number of workers and in
    a resumed run, which goes on at the next batch.

    Args:
        root: the dataset's folder.
        height: of the clips, in pixels; the aspect ratio is not kept.
        width: likewise.
        frames: of a training clip.
        batch_size: clips per process.
        workers: processes that read; 0 reads in the main process.
        sampling: how the frames of a training clip are chosen, see `sample_frames`.
        masks: what the holes of training clips are, see `InpaintingClips`.
        mask_dilation: pixels by which object masks are widened.
        validation_frames: of a validation clip, from the middle of its video; by default as in training.
        validation_masks: what the holes of validation clips are; by default as in training.
        clips_per_video: how often an epoch takes each video.
        horizontal_flip: probability of mirroring a training clip.
        colour_jitter: strength of random colour changes of a training clip, see `ClipTransform`.
        seed: of everything random.
        on_error: whether a broken file ends the run ("raise"), or its clip is reported in `skipped` and, in training,
            replaced by another; in validation, left out ("skip").
        reduced_decoding: decode large JPEG images at a half, quarter or eighth where that is still large enough;
            False decodes every pixel.

    Attributes:
        skipped: one line for each clip left out so far.
    """

    def __init__(
        self,
        root: str,
        *,
        height: int = 240,
        width: int = 432,
        frames: int = 5,
        batch_size: int = 2,
        workers: int = 2,
        sampling: FrameSampling = "mixed",
        masks: MaskKind = "moving",
        mask_dilation: int = 4,
        validation_frames: int | None = None,
        validation_masks: MaskKind | None = None,
        clips_per_video: int = 1,
        horizontal_flip: float = 0.5,
        colour_jitter: float = 0.0,
        seed: int = 0,
        on_error: OnError = "raise",
        reduced_decoding: bool = True,
    ) -> None:
        super().__init__()
        _check_least(height=(height, 1), width=(width, 1), frames=(frames, 1), batch_size=(batch_size, 1))
        _check_least(workers=(workers, 0), mask_dilation=(mask_dilation, 0), clips_per_video=(clips_per_video, 1))
        _check_least(seed=(seed, 0), colour_jitter=(colour_jitter, 0), validation_frames=(validation_frames or 1, 1))
        _check_choice("sampling", sampling, get_args(FrameSampling))
        _check_choice("masks", masks, get_args(MaskKind))
        _check_choice("validation_masks", validation_masks or masks, get_args(MaskKind))
        _check_choice("on_error", on_error, get_args(OnError))
        if not 0 <= horizontal_flip <= 1:
            raise ConfigurationError(f"data.horizontal_flip is a probability from 0 to 1, got {horizontal_flip}")
        self.root = Path(root).expanduser()
        self.height = height
        self.width = width
        self.frames = frames
        self.batch_size = batch_size
        self.workers = workers
        self.sampling = sampling
        self.masks: MaskKind = masks
        self.mask_dilation = mask_dilation
        self.validation_frames = validation_frames or frames
        self.validation_masks: MaskKind = validation_masks or masks
        self.clips_per_video = clips_per_video
        self.horizontal_flip = horizontal_flip
        self.colour_jitter = colour_jitter
        self.seed = seed
        self.on_error: OnError = on_error
        self.reduced_decoding = reduced_decoding
        self.skipped: list[str] = []
        # With more processes than validation clips, some have none.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._train: InpaintingClips | None = None
        self._validation: InpaintingClips | None = None

    @abstractmethod
    def find_videos(self, split: Split) -> list[VideoPaths]:
        """List the videos of a split.

        Raises:
            DataError: the dataset is not laid out as expected.
        """

    def setup(self, stage: str) -> None:
        """List the videos and check their lengths; no frame is decoded.

        Raises:
            DataError: a folder or list is missing, or a video is unreadable or too short.
        """
        if stage == "fit" and self._train is None:
            transform = ClipTransform(
                self.height, self.width, horizontal_flip=self.horizontal_flip, colour_jitter=self.colour_jitter
            )
            videos = self._open("train", self.frames)
            self._train = self._clips(videos, transform, self.frames, self.masks, self.sampling)
        if stage in ("fit", "validate") and self._validation is None:
            transform = ClipTransform(self.height, self.width)
            videos = self._open("validation", self.validation_frames)
            self._validation = self._clips(videos, transform, self.validation_frames, self.validation_masks, None)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches, a different order in each epoch; a last incomplete one is left out."""
        assert self._train is not None, "setup('fit') comes first"
        rank, world_size = _process()
        sampler = EpochSampler(len(self._train), clips_per_video=self.clips_per_video, seed=self.seed)
        batches = ShardedBatches(sampler, self.batch_size, rank=rank, world_size=world_size)
        if len(batches) == 0:
            raise ConfigurationError(
                f"an epoch of {len(sampler)} clips has no batch of {self.batch_size} clips x {world_size} processes: "
                "lower data.batch_size or raise data.clips_per_video"
            )
        return ResumableLoader(
            self._train,
            batches,
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=single_threaded_opencv,
        )

    def val_dataloader(self) -> ValidationLoader:
        """Every readable validation video once, its frames and masks always the same."""
        assert self._validation is not None, "setup('fit') or setup('validate') comes first"
        rank, world_size = _process()
        return ValidationLoader(
            self._validation,
            self.skipped,
            batch_size=self.batch_size,
            sampler=ShardedRange(len(self._validation), rank=rank, world_size=world_size),
            collate_fn=collate,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=single_threaded_opencv,
        )

    def on_before_batch_transfer(self, batch: ByteBatch, dataloader_idx: int) -> ByteBatch:
        """Collect what was skipped; this runs in the main process, once a batch."""
        self.skipped += batch.skipped
        return batch

    def on_after_batch_transfer(self, batch: ByteBatch, dataloader_idx: int) -> InpaintingBatch:
        """Turn bytes into floats, where a GPU does it in no time."""
        return batch.to_float()

    def _clips(
        self,
        videos: list[AnnotatedVideo],
        transform: ClipTransform,
        frames: int,
        masks: MaskKind,
        sampling: FrameSampling | None,
    ) -> InpaintingClips:
        return InpaintingClips(
            videos,
            transform,
            frames=frames,
            sampling=sampling,
            masks=masks,
            mask_dilation=self.mask_dilation,
            seed=self.seed,
            on_error=self.on_error,
            reduced_decoding=self.reduced_decoding,
        )

    def _open(self, split: Split, frames: int) -> list[AnnotatedVideo]:
        """Open the videos of a split, those left out for their errors excepted."""
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder (data.root must be the folder of the dataset)")
        paths = self.find_videos(split)
        videos = []
        with ThreadPoolExecutor(8) as pool:  # for the latency of network disks
            for opened in pool.map(_open_annotated, paths, [frames] * len(paths)):
                if isinstance(opened, AnnotatedVideo):
                    videos.append(opened)
                elif self.on_error == "skip":
                    self.skipped.append(str(opened))
                else:
                    raise DataError(f"{opened}; data.on_error=skip leaves such videos out")
        if not videos:
            raise DataError(f"{self.root}: no readable video in the {split} split ({len(paths)} listed)")
        return videos


def _open_annotated(paths: VideoPaths, frames: int) -> AnnotatedVideo | DataError:
    try:
        video = open_video(paths.frames)
        if len(video) < frames:
            raise DataError(f"{video.path}: too short, {len(video)} frames for clips of {frames}")
        return AnnotatedVideo(video, None if paths.annotations is None else open_video(paths.annotations))
    except DataError as error:
        return error


def _process() -> tuple[int, int]:
    """This process's rank, and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _check_least(**bounds: tuple[float, float]) -> None:
    for name, (value, least) in bounds.items():
        if value < least:
            raise ConfigurationError(f"data.{name} must be at least {least}, got {value}")


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ConfigurationError(f"data.{name} must be one of {', '.join(choices)}, got '{value}'")
