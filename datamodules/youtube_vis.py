"""YouTube-VIS 2019, 2021 and 2022, and OVIS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch

from lightvid.annotations.youtube_vis import Annotations, Category
from lightvid.errors import ConfigurationError, DataError

from .augmentations import CleanAugmentation, InstanceAugmentation, PublishedAugmentation
from .base import ClipDataModule, check_choice, check_least
from .dataset import OnError
from .instance_batch import CollateInstances, InstanceByteBatch
from .instance_clips import InstanceClips, InstanceVideo, WholeVideos
from .instance_files import check_same_categories, choose_training, choose_validation, only, open_videos
from .instance_transforms import InstanceTransform
from .layout import Split
from .sampling import ClipSampling

Augmentation = Literal["clean", "published", "none"]
WAY_OUT = "data.on_error=skip leaves such videos out"


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
        files = self.choose_files(stage)
        self._categories = files["validation"].categories
        self._validation = self.whole_videos(self.open_videos("validation", files["validation"], way_out=WAY_OUT))
        if stage == "fit":
            training = files["train"]
            videos = self.open_videos("training", training, way_out=WAY_OUT)
            videos = [video for video in videos if video.is_learnable]
            if not videos:
                raise DataError(f"{training.path}: no video with a visible track to train on")
            self._train = self.training_clips(videos)

    def choose_files(self, stage: str) -> dict[Split, Annotations]:
        """The annotation files, those of the chosen videos alone: of both splits, or to "validate" of validation.

        Raises:
            DataError: as `setup`.
        """
        if self.validate_on_training:
            validation, is_local = choose_training(self.root, self.annotations, is_local=False), False
        else:
            validation, is_local = choose_validation(self.root, self.validation_annotations)
        files: dict[Split, Annotations] = {"validation": validation}
        if stage == "fit":
            files["train"] = choose_training(self.root, self.annotations, is_local=is_local)
            check_same_categories(files["train"], validation)
        chosen = self.videos
        return files if chosen is None else {split: only(file, chosen) for split, file in files.items()}

    def open_videos(self, purpose: str, annotations: Annotations, *, way_out: str) -> list[InstanceVideo]:
        """The videos of a file whose frames are there.

        Args:
            purpose: what the file is used for, to be logged.
            annotations: of the videos.
            way_out: what to do where some are not there, for the error.

        Raises:
            DataError: some are not there, and `on_error` is "raise".
        """
        videos, missing = open_videos(self.root, annotations, purpose=purpose)
        if missing and self.on_error == "raise":
            raise DataError(f"{missing[0]}; {way_out}")
        self.skipped += missing
        return videos

    def transfer_batch_to_device(self, batch: InstanceByteBatch, device: torch.device, dataloader_idx: int) -> Any:
        """Leave whole videos on the CPU: `VideoSegmenter` takes one window at a time from them."""
        return batch if batch.truth else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: InstanceByteBatch, dataloader_idx: int) -> Any:
        """Turn the bytes of training clips into floats; whole videos stay bytes."""
        return batch if batch.truth else super().on_after_batch_transfer(batch, dataloader_idx)

    def training_clips(self, videos: Sequence[InstanceVideo]) -> InstanceClips:
        """Clips of these videos, with everything that the options say; after the categories are known."""
        return InstanceClips(
            videos,
            InstanceTransform(self.shortest, self.longest, self.augmentation),
            {category.id: number for number, category in enumerate(self.categories)},
            frames=self.frames,
            sampling=self.sampling,
            max_stride=self.max_stride,
            max_instances=self.max_instances,
            seed=self.seed,
            on_error=self.on_error,
            reduced_decoding=self.reduced_decoding,
        )

    def whole_videos(self, videos: Sequence[InstanceVideo]) -> WholeVideos:
        """These videos as validation takes them."""
        return WholeVideos(
            videos,
            InstanceTransform((max(self.shortest),), self.longest),
            on_error=self.on_error,
            reduced_decoding=self.reduced_decoding,
        )


def _make_augmentation(choice: Augmentation | InstanceAugmentation) -> InstanceAugmentation | None:
    if isinstance(choice, InstanceAugmentation):
        return choice
    check_choice("augmentation", choice, get_args(Augmentation))
    if choice == "none":
        return None
    return CleanAugmentation() if choice == "clean" else PublishedAugmentation()
