"""Which annotation files a run trains on and validates with, and which of their videos are there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from lightvid.annotations.youtube_vis import (
    Annotations,
    VideoEntry,
    find_annotations,
    find_images,
    list_annotation_files,
    read_annotations,
)
from lightvid.errors import DataError
from lightvid.video.reading import FrameFolder

from .instance_clips import InstanceVideo
from .splitting import SPLIT_FOLDER, TRAINING_SPLIT, VALIDATION_SPLIT

logger = logging.getLogger(__name__)


def choose_validation(root: Path, chosen: str | None) -> tuple[Annotations, bool]:
    """Read the validation file, and say whether it is of the local split: then training must keep to the other part.

    Args:
        root: of the dataset.
        chosen: the file, absolute or relative to `root`; None takes the one that is found there or, where that has no
            tracks, the local split's.

    Raises:
        DataError: there is none, or none with tracks.
    """
    if chosen is not None:
        annotations = read_annotations(root / Path(chosen).expanduser())
    else:
        local = root / SPLIT_FOLDER / VALIDATION_SPLIT
        if not list_annotation_files(root, "validation") and list_annotation_files(root, "train"):
            if not local.is_file():
                raise DataError(
                    f"{root}: no validation annotations; `lightvid split-vis {root}` splits the training file"
                )
            return read_annotations(local), True
        annotations = read_annotations(find_annotations(root, "validation").file)
        if annotations.tracks is None and local.is_file():
            logger.info("%s has no tracks: training and validation use %s", annotations.path, local.parent)
            return read_annotations(local), True
    if annotations.tracks is None:
        raise DataError(
            f"{annotations.path}: no annotations in it, as the benchmarks keep them; "
            f"`lightvid split-vis {root}` makes a local split of the training file"
        )
    return annotations, False


def choose_training(root: Path, chosen: str | None, *, is_local: bool) -> Annotations:
    """Read the training file.

    Args:
        root: of the dataset.
        chosen: the file, absolute or relative to `root`; None takes the one that is found there.
        is_local: or the local split's.

    Raises:
        DataError: there is none, or it has no tracks.
    """
    if chosen is not None:
        path = root / Path(chosen).expanduser()
    elif is_local:
        path = root / SPLIT_FOLDER / TRAINING_SPLIT
    else:
        path = find_annotations(root, "train").file
    annotations = read_annotations(path)
    if annotations.tracks is None:
        raise DataError(f"{path}: no annotations in it to train on")
    return annotations


def check_same_categories(training: Annotations, validation: Annotations) -> None:
    """Refuse files of two releases: their classes would mean different things.

    Raises:
        DataError: the categories differ.
    """
    if training.categories != validation.categories:
        different = set(training.categories) ^ set(validation.categories)
        names = ", ".join(f"{c.id} {c.name}" for c in sorted(different, key=lambda c: (c.id, c.name))[:4])
        files = f"{training.path} and {validation.path}"
        raise DataError(f"{files}: different categories ({names}); are they of one release?")


def open_videos(root: Path, annotations: Annotations, *, purpose: str) -> tuple[list[InstanceVideo], list[str]]:
    """The videos whose first frames are there, and one line for each of the others; no frame is read.

    Args:
        root: of the dataset.
        annotations: of these videos.
        purpose: what the files are used for, to be logged.

    Raises:
        DataError: no known folder holds the frames.
    """
    images = find_images(root, annotations.videos)
    logger.info(
        "%s: %s (%d videos, %d tracks, %d categories), frames in %s",
        purpose,
        annotations.path,
        len(annotations.videos),
        len(annotations.tracks or []),
        len(annotations.categories),
        images,
    )

    def is_there(entry: VideoEntry) -> bool:
        return (images / entry.file_names[0]).is_file()

    with ThreadPoolExecutor(8) as pool:  # for the latency of network disks
        present = dict(zip(annotations.videos, pool.map(is_there, annotations.videos), strict=True))
    tracks = annotations.tracks_by_video()
    videos = [
        InstanceVideo(FrameFolder(images, entry.name, list(entry.file_names)), entry, tracks[entry.id])
        for entry, found in present.items()
        if found
    ]
    missing = [
        f"{images / entry.file_names[0]}: no such frame, of video {entry.id} in {annotations.path.name}"
        for entry, found in present.items()
        if not found
    ]
    return videos, missing


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
