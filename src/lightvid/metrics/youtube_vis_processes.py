"""Videos shared among processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import TypeAlias

from lightvid.errors import ConfigurationError
from lightvid.metrics.youtube_vis_matching import Matches

MatchVideo: TypeAlias = Callable[[int], Matches]
Outcome: TypeAlias = tuple[int, Matches | Exception]
"""Of the video at this place: its matches, or what went wrong."""

MASKS_WORTH_A_PROCESS = 20_000
MOST_PROCESSES = 8
"""By default."""


def default_processes(masks: int) -> int:
    """One for each core where there are many masks; one where other threads run, which a fork would cut off."""
    if sys.platform != "linux" or threading.active_count() > 1:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), MOST_PROCESSES, masks // MASKS_WORTH_A_PROCESS))


def match_videos(match: MatchVideo, videos: Sequence[int], processes: int) -> list[Matches]:
    """The matches of each video, in their order; what `match` raises for the first of them is raised here.

    The processes are this one and forks of it, which have the records without receiving them. This needs Linux;
    elsewhere, and in daemonic processes, such as a DataLoader's workers, which may have no children, the videos come
    one by one.

    Raises:
        ConfigurationError: one of the processes was ended from outside, as where memory runs out.
    """
    processes = min(processes, len(videos))
    if processes <= 1 or sys.platform != "linux" or multiprocessing.current_process().daemon:
        return [match(video) for video in videos]
    context = multiprocessing.get_context("fork")
    begun = context.Value("q", 0)
    children, pipes = [], []
    try:
        for _ in range(processes - 1):
            pipe, childs_end = context.Pipe(duplex=False)
            pipes.append(pipe)
            child = context.Process(target=_send_share, args=(childs_end, pipes, match, videos, begun), daemon=True)
            child.start()
            children.append(child)
            childs_end.close()
        outcomes = dict([*_share(match, videos, begun), *(outcome for pipe in pipes for outcome in pipe.recv())])
    except (EOFError, OSError):
        raise ConfigurationError(
            f"processes: {processes}: one could not begin or was ended from outside, as where memory runs out; 1 takes"
            " the least"
        ) from None
    finally:
        for child in children:
            child.kill()  # which has sent its share, or is waited for in vain
            child.join()
    matches = []
    for place in range(len(videos)):
        outcome = outcomes[place]
        if isinstance(outcome, Exception):
            raise outcome
        matches.append(outcome)
    return matches


def _send_share(
    pipe: Connection,
    parents_ends: Sequence[Connection],
    match: MatchVideo,
    videos: Sequence[int],
    begun: Synchronized[int],
) -> None:
    for end in parents_ends:
        end.close()  # or this process would wait for ever to be read, by itself, where the parent has ended
    pipe.send(list(_share(match, videos, begun)))


def _share(match: MatchVideo, videos: Sequence[int], begun: Synchronized[int]) -> Iterator[Outcome]:
    """The next videos that no process has begun, until there are none or one goes wrong.

    Videos are begun in their order, so all before one that goes wrong are done.
    """
    while True:
        with begun.get_lock():
            place = begun.value
            begun.value += 1
        if place >= len(videos):
            return
        try:
            yield place, match(videos[place])
        except Exception as problem:  # raised by `match_videos`, wherever it happened
            begun.value = len(videos)
            yield place, problem
