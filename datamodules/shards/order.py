"""Which clips of a stream of videos a worker of a process gives, and in which order: nothing twice, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Clip(NamedTuple):
    """One clip of an epoch.

    Attributes:
        draw: the running number since training began, from which everything random about the clip follows.
        video: number of the video in its split.
    """

    draw: int
    video: int


class Worker(NamedTuple):
    """One worker of one process.

    Attributes:
        rank: of the process.
        processes: how many there are.
        number: of the worker in its process.
        workers: how many the process has, at least one.
    """

    rank: int = 0
    processes: int = 1
    number: int = 0
    workers: int = 1


class Plan(NamedTuple):
    """What a worker gives.

    Attributes:
        clips: in the order of the stream.
        turns: numbers of the clips in the order in which they are given.
        done: how many of the turns have been taken before the run was resumed.
    """

    clips: list[Clip]
    turns: list[int]
    done: int = 0


@dataclass(frozen=True)
class TrainingOrder:
    """The order of one epoch, a function of the seed, the epoch and the numbers of processes and workers.

    Attributes:
        shard_sizes: videos of each shard.
        batch_size: clips of a batch.
        clips_per_video: how often an epoch takes each video.
        buffer: how many videos a worker holds at a time, to shuffle their clips.
        seed: of the order.
        epoch: likewise.
        start: number of a process's first batch.
    """

    shard_sizes: Sequence[int]
    batch_size: int
    clips_per_video: int
    buffer: int
    seed: int
    epoch: int = 0
    start: int = 0

    def batches(self, worker: Worker) -> int:
        """How many batches a process has: as many as every other."""
        return self._count // (self.batch_size * worker.processes)

    def plan(self, worker: Worker) -> Plan:
        """What a worker gives; batches come from the workers in turn, and the first worker's is that of `start`."""
        number = (worker.number + self.start) % worker.workers
        share = training_share(self._count, self.batch_size, worker._replace(number=number))
        options = {"clips_per_video": self.clips_per_video, "seed": self.seed, "epoch": self.epoch}
        clips = epoch_clips(self.shard_sizes, **options)[share.start : share.stop]
        seed = [self.seed, self.epoch, share.start]
        turns = shuffled(len(clips), buffer=self.buffer, clips_per_video=self.clips_per_video, seed=seed)
        return Plan(clips, turns, done=len(range(number, self.start, worker.workers)) * self.batch_size)

    @property
    def _count(self) -> int:
        return sum(self.shard_sizes) * self.clips_per_video


@dataclass(frozen=True)
class ValidationOrder:
    """Every video once; attributes as of `TrainingOrder`."""

    shard_sizes: Sequence[int]
    batch_size: int

    def batches(self, worker: Worker) -> int:
        """How many batches a process has; they may be more than those of another."""
        alone = validation_share(sum(self.shard_sizes), self.batch_size, worker._replace(number=0, workers=1))
        return -(-len(alone) // self.batch_size)

    def plan(self, worker: Worker) -> Plan:
        """What a worker gives."""
        share = validation_share(sum(self.shard_sizes), self.batch_size, worker)
        return Plan([Clip(video, video) for video in share], list(range(len(share))))


def epoch_clips(shard_sizes: Sequence[int], *, clips_per_video: int, seed: int, epoch: int) -> list[Clip]:
    """All clips of an epoch in the order of the stream: shards in a new order, the videos of each as they lie in it.

    Args:
        shard_sizes: videos of each shard.
        clips_per_video: how often an epoch takes each video; its clips follow one another.
        seed: of the order.
        epoch: likewise.
    """
    firsts = np.concatenate(([0], np.cumsum(shard_sizes)))
    order = np.random.default_rng([seed, epoch]).permutation(len(shard_sizes))
    videos = [int(video) for shard in order for video in range(firsts[shard], firsts[shard + 1])]
    first = epoch * len(videos) * clips_per_video
    return [
        Clip(first + position, videos[position // clips_per_video]) for position in range(len(videos) * clips_per_video)
    ]


def training_share(clips: int, batch_size: int, worker: Worker) -> range:
    """The run of an epoch's clips that a worker gives, whole batches alone.

    Every process gets as many batches as every other. What is left over after the last of them, less than a batch of
    each process, is left out; as it lies at the end of a new order in each epoch, it is another part each time.
    """
    batches = clips // (batch_size * worker.processes)
    start, stop = _part(batches, worker.number, worker.workers)
    return range((worker.rank * batches + start) * batch_size, (worker.rank * batches + stop) * batch_size)


def validation_share(clips: int, batch_size: int, worker: Worker) -> range:
    """The run of all clips that a worker gives: each clip is in one of them, and the last batch may be smaller."""
    first, last = _part(clips, worker.rank, worker.processes)
    batches = -(-(last - first) // batch_size)
    start, stop = _part(batches, worker.number, worker.workers)
    return range(first + start * batch_size, min(first + stop * batch_size, last))


def shuffled(count: int, *, buffer: int, clips_per_video: int, seed: Sequence[int]) -> list[int]:
    """An order of a worker's clips for which it holds about `buffer` videos at a time: each clip moves by so many."""
    places = np.arange(count) / clips_per_video
    return np.argsort(places + buffer * np.random.default_rng(seed).random(count), kind="stable").tolist()


def _part(count: int, number: int, parts: int) -> tuple[int, int]:
    """Where the part of this number starts and ends; the first ones have one more where it does not come out even."""
    least, more = divmod(count, parts)
    start = number * least + min(number, more)
    return start, start + least + (number < more)
