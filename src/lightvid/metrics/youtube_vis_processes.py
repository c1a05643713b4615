"""Videos shared among processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

from lightvid.metrics.youtube_vis_matching import Matches

MatchVideo = Callable[[int], Matches]

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

    The processes are forks of this one, and so have the records without receiving them. This needs Linux; elsewhere,
    and in daemonic processes, such as a DataLoader's workers, which may have no children, the videos come one by one.
    """
    if processes == 1 or sys.platform != "linux" or multiprocessing.current_process().daemon:
        return [match(video) for video in videos]
    chunk = max(1, len(videos) // (16 * processes))
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(processes, context, initializer=_keep, initargs=(match,))
    try:
        return list(pool.map(_match_kept, videos, chunksize=chunk))
    finally:
        pool.shutdown(cancel_futures=True)


_kept: MatchVideo
"""Of a forked process."""


def _keep(match: MatchVideo) -> None:
    global _kept
    _kept = match


def _match_kept(video: int) -> Matches:
    return _kept(video)
