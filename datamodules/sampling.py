"""Which frames of which video a training step sees: functions of the seed and a running number, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

FrameSampling = Literal["mixed", "random", "consecutive", "local_and_reference"]
ClipSampling = Literal["circular", "consecutive", "spread"]
Request = tuple[int, int]  # draw, video


def sample_frames(
    rng: np.random.Generator, length: int, count: int, sampling: FrameSampling = "mixed", *, references: int = 0
) -> NDArray[np.intp]:
    """Choose distinct frames, in ascending order; references, likewise in ascending order, come after the others.

    Args:
        rng: the only source of randomness.
        length: frames of the video, at least `count + references`.
        count: frames to choose, not counting references.
        sampling: "random" takes frames from anywhere, "consecutive" a uniformly placed run; "mixed" tosses a coin
            between them (STTN, Zeng et al., ECCV 2020). "local_and_reference" takes a run, and references from the rest
            of the video (E2FGVI, Li et al., CVPR 2022).
        references: how many of them; 0 for the other samplings.
    """
    if sampling == "mixed":
        sampling = "random" if rng.random() < 0.5 else "consecutive"
    if sampling == "random":
        return np.sort(rng.choice(length, count, replace=False))
    start = int(rng.integers(length - count + 1))
    run = np.arange(start, start + count)
    if sampling == "consecutive":
        return run
    rest = np.delete(np.arange(length), run)
    return np.concatenate((run, np.sort(rng.choice(rest, references, replace=False))))


def middle_frames(length: int, count: int) -> NDArray[np.intp]:
    """The `count` consecutive frames in the middle of `length`."""
    return np.arange(count) + (length - count) // 2


def sample_clip(
    rng: np.random.Generator, length: int, count: int, sampling: ClipSampling, *, max_stride: int = 1
) -> NDArray[np.intp]:
    """Choose `count` frames of a video of any length, in the order of the clip.

    Args:
        rng: the only source of randomness.
        length: frames of the video.
        count: frames of the clip.
        sampling: "circular" ends at a drawn frame f and wraps around, frame j is (f - count + 1 + j) mod length (VisTR,
            Wang et al., CVPR 2021); "consecutive" is a uniformly placed run; "spread" a run with a drawn stride. The
            last two go to and fro through a video that is shorter than the clip.
        max_stride: the largest stride of "spread"; less where the video is too short for it.
    """
    if sampling == "circular":
        return (int(rng.integers(length)) - count + 1 + np.arange(count)) % length
    stride = 1
    if sampling == "spread" and count > 1:
        stride = int(rng.integers(1, max(1, min(max_stride, (length - 1) // (count - 1))) + 1))
    start = int(rng.integers(max(1, length - (count - 1) * stride)))
    return to_and_fro(start + stride * np.arange(count), length)


def to_and_fro(positions: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Frames at positions that may lie beyond the end: 0 1 2 1 0 1 2 ... for a video of 3."""
    period = max(1, 2 * (length - 1))
    folded = positions % period
    return np.minimum(folded, period - folded) if length > 1 else 0 * positions


class EpochSampler(Sampler[Request]):
    """A permutation of all videos for every epoch, as requests `(draw, video)`.

    The draw is the running number since training began; everything random about a sample follows from it.

    Args:
        videos: how many there are.
        clips_per_video: how often an epoch takes each.
        seed: of the permutations.
    """

    def __init__(self, videos: int, *, clips_per_video: int = 1, seed: int = 0) -> None:
        self.videos = videos
        self.clips_per_video = clips_per_video
        self.length = videos * clips_per_video
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; Lightning calls this when each begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Request]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        first = self.epoch * self.length
        return ((first + position, int(item) % self.videos) for position, item in enumerate(order))


class ShardedBatches(Sampler[list[Request]]):
    """This process's part of each global batch; a last incomplete global batch is left out.

    Global batch k is the requests from `k * batch_size * world_size`, and process r takes the r-th `batch_size` of
    them: two processes see together what one process with twice the batch sees.

    Args:
        sampler: all requests of an epoch.
        batch_size: of one process.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.start = 0

    def __len__(self) -> int:
        return len(self.sampler) // (self.batch_size * self.world_size)

    def __iter__(self) -> Iterator[list[Request]]:
        """The batches from `start` on."""
        requests = list(self.sampler)
        for batch in range(self.start, len(self)):
            first = (batch * self.world_size + self.rank) * self.batch_size
            yield requests[first : first + self.batch_size]


class ShardedRange(Sampler[Request]):
    """Every video once, in order, dealt out to the processes in turn: for validation."""

    def __init__(self, videos: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, videos, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Request]:
        return ((index, index) for index in self.indices)
