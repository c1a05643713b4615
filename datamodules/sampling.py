"""Which frames of which video a training step sees: functions of the seed and a running number, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

FrameSampling = Literal["mixed", "random", "consecutive"]
Request = tuple[int, int]  # draw, video


def sample_frames(
    rng: np.random.Generator, length: int, count: int, sampling: FrameSampling = "mixed"
) -> NDArray[np.intp]:
    """Choose `count` of `length` frames, in ascending order.

    Args:
        rng: the only source of randomness.
        length: frames of the video, at least `count`.
        count: frames to choose.
        sampling: "random" takes distinct frames from anywhere, "consecutive" a uniformly placed run; "mixed" tosses a
            coin between them (STTN, Zeng et al., ECCV 2020).
    """
    if sampling == "mixed":
        sampling = "random" if rng.random() < 0.5 else "consecutive"
    if sampling == "random":
        return np.sort(rng.choice(length, count, replace=False))
    return np.arange(count) + rng.integers(length - count + 1)


def middle_frames(length: int, count: int) -> NDArray[np.intp]:
    """The `count` consecutive frames in the middle of `length`."""
    return np.arange(count) + (length - count) // 2


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
