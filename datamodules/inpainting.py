"""What all inpainting data modules share: clips of videos with holes, shuffled, sharded and resumable."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

from lightvid.errors import ConfigurationError, DataError
from lightvid.video import open_video

from .base import ClipDataModule, check_choice, check_least
from .batch import ByteBatch, collate
from .clips import AnnotatedVideo, InpaintingClips, MaskKind
from .dataset import OnError
from .layout import Split, VideoPaths
from .sampling import FrameSampling
from .transforms import ClipTransform


class InpaintingDataModule(ClipDataModule):
    """Clips with holes: tasks get `InpaintingBatch`, the loaders alone give `ByteBatch`. A subclass knows one layout.

    A training sample is a function of the seed and its running number: it is the same for any number of workers and in
    a resumed run, which goes on at the next batch.

    Args:
        root: the dataset's folder.
        height: of the clips, in pixels; the aspect ratio is not kept.
        width: likewise.
        frames: of a training clip, references not counted.
        batch_size: clips per process.
        workers: processes that read; 0 reads in the main process.
        sampling: how the frames of a training clip are chosen, see `sample_frames`.
        reference_frames: sparse frames of the same video after those of a training clip, with `local_and_reference`.
        masks: what the holes of training clips are, see `InpaintingClips`.
        mask_dilation: pixels by which object masks are widened.
        validation_frames: of a validation clip, consecutive, from the middle of its video; by default as in training,
            without references.
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
        reference_frames: int = 0,
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
        super().__init__(
            root,
            batch_size=batch_size,
            validation_batch_size=batch_size,
            workers=workers,
            clips_per_video=clips_per_video,
            seed=seed,
            on_error=on_error,
        )
        check_least(height=(height, 1), width=(width, 1), frames=(frames, 1), batch_size=(batch_size, 1))
        check_least(workers=(workers, 0), mask_dilation=(mask_dilation, 0), clips_per_video=(clips_per_video, 1))
        self.validation_frames = frames if validation_frames is None else validation_frames
        check_least(seed=(seed, 0), colour_jitter=(colour_jitter, 0), validation_frames=(self.validation_frames, 1))
        check_least(reference_frames=(reference_frames, 0))
        check_choice("sampling", sampling, get_args(FrameSampling))
        if reference_frames and sampling != "local_and_reference":
            raise ConfigurationError(
                f"data.reference_frames={reference_frames} needs data.sampling=local_and_reference, got '{sampling}'"
            )
        check_choice("masks", masks, get_args(MaskKind))
        check_choice("validation_masks", validation_masks or masks, get_args(MaskKind))
        check_choice("on_error", on_error, get_args(OnError))
        if not 0 <= horizontal_flip <= 1:
            raise ConfigurationError(f"data.horizontal_flip is a probability from 0 to 1, got {horizontal_flip}")
        self.height = height
        self.width = width
        self.frames = frames
        self.sampling = sampling
        self.reference_frames = reference_frames
        self.masks: MaskKind = masks
        self.mask_dilation = mask_dilation
        self.validation_masks: MaskKind = validation_masks or masks
        self.horizontal_flip = horizontal_flip
        self.colour_jitter = colour_jitter
        self.reduced_decoding = reduced_decoding

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
            self._train = self.training_clips(self._open("train", self.frames + self.reference_frames))
        if stage in ("fit", "validate") and self._validation is None:
            self._validation = self.validation_clips(self._open("validation", self.validation_frames))

    def training_clips(self, videos: list[AnnotatedVideo]) -> InpaintingClips:
        """Random clips of these videos, with everything that the options say."""
        transform = ClipTransform(
            self.height, self.width, horizontal_flip=self.horizontal_flip, colour_jitter=self.colour_jitter
        )
        return self._clips(
            videos, transform, self.frames, self.masks, self.sampling, reference_frames=self.reference_frames
        )

    def validation_clips(self, videos: list[AnnotatedVideo]) -> InpaintingClips:
        """The clips of these videos that validation takes."""
        transform = ClipTransform(self.height, self.width)
        return self._clips(videos, transform, self.validation_frames, self.validation_masks, None)

    @property
    def collate(self) -> Callable[[list[Any]], ByteBatch]:
        """See `ClipDataModule.collate`."""
        return collate

    def _clips(
        self,
        videos: list[AnnotatedVideo],
        transform: ClipTransform,
        frames: int,
        masks: MaskKind,
        sampling: FrameSampling | None,
        *,
        reference_frames: int = 0,
    ) -> InpaintingClips:
        return InpaintingClips(
            videos,
            transform,
            frames=frames,
            sampling=sampling,
            reference_frames=reference_frames,
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
