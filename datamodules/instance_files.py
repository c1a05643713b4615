"""Which annotation files a run trains on and validates with."""

from __future__ import annotations

import logging
from pathlib import Path

from lightvid.annotations.youtube_vis import Annotations, find_annotations, list_annotation_files, read_annotations
from lightvid.errors import DataError

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
