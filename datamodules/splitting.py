"""`lightvid split-vis`: a local validation set out of a training file, for benchmarks that keep their truth."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightvid.annotations.youtube_vis import find_annotations, read_annotations, read_json
from lightvid.commands.arguments import Parser
from lightvid.errors import ConfigurationError, DataError

SPLIT_FOLDER = "annotations_split"
TRAINING_SPLIT = "train_split.json"
VALIDATION_SPLIT = "valid_split.json"
TRIES = 20


def run(arguments: list[str]) -> None:
    """Split the training file of a folder, or a given file, and write both parts.

    Raises:
        ConfigurationError: wrong arguments, or a folder that cannot be written to.
        DataError: no such file, it has no tracks, or one of the parts would be empty.
    """
    options = _parse(arguments)
    source = Path(options.path).expanduser()
    folder = source if source.is_dir() else source.parent
    file = find_annotations(source, "train").file if source.is_dir() else source
    annotations = read_annotations(file)
    if annotations.tracks is None:
        raise DataError(f"{file}: no annotations in it that could be split")
    categories: dict[int, set[int]] = {video.id: set() for video in annotations.videos}
    for track in annotations.tracks:
        categories[track.video_id].add(track.category_id)
    chosen = choose_validation(categories, fraction=options.fraction, seed=options.seed)
    if not chosen:
        only = "it has one video" if len(categories) == 1 else "each of its videos is the only one of a category"
        raise DataError(f"{file}: cannot be split, {only}: no video is left for validation")
    target = Path(options.out).expanduser() if options.out else folder / SPLIT_FOLDER
    _write_parts(target, read_json(file), set(categories) - chosen, chosen)
    names = {category.id: category.name for category in annotations.categories}
    if alone := missing_categories(categories, chosen):
        print(f"in one part only: {', '.join(names[category] for category in sorted(alone))}")


def choose_validation(categories: Mapping[int, set[int]], *, fraction: float, seed: int) -> set[int]:
    """Choose videos for validation: a function of the seed and the videos, whatever their order.

    Both parts keep every category that has at least two videos; where that takes more videos than `fraction`, more are
    chosen. Categories can occur together so that no split keeps them all; then the best of several orders is taken.

    Args:
        categories: of each video's tracks, by the video's id.
        fraction: part of the videos to choose.
        seed: of the choice.
    """
    count = max(1, round(fraction * len(categories)))
    choices = (_choose(categories, _order(categories, seed, attempt), count) for attempt in range(TRIES))
    best: set[int] = set()
    fewest = None
    for chosen in choices:
        missing = len(missing_categories(categories, chosen) - _single(categories))
        if fewest is None or missing < fewest:
            best, fewest = chosen, missing
        if not missing:
            break
    return best


def missing_categories(categories: Mapping[int, set[int]], chosen: set[int]) -> set[int]:
    """The categories that only one of the parts has."""
    validation = set().union(*(categories[video] for video in chosen))
    training = set().union(*(of_video for video, of_video in categories.items() if video not in chosen))
    return validation ^ training


def _choose(categories: Mapping[int, set[int]], order: list[int], count: int) -> set[int]:
    """First a video of each category, the rarest first, then whatever comes; never the last one of a category."""
    left = _count_videos(categories)
    chosen: list[int] = []

    def take(video: int) -> bool:
        if video in chosen or any(left[category] < 2 for category in categories[video]):
            return False
        chosen.append(video)
        for category in categories[video]:
            left[category] -= 1
        return True

    covered: set[int] = set()
    for category in sorted(left, key=lambda category: (left[category], category)):
        if category not in covered:
            next((video for video in order if category in categories[video] and take(video)), None)
            covered = set().union(*(categories[video] for video in chosen))
    for video in order:
        if len(chosen) >= min(count, len(categories) - 1):
            break
        take(video)
    return set(chosen)


def _order(categories: Mapping[int, set[int]], seed: int, attempt: int) -> list[int]:
    """A shuffled order in which a video keeps its place among the others when more are added."""
    return sorted(categories, key=lambda video: hashlib.sha256(f"{seed} {attempt} {video}".encode()).digest())


def _count_videos(categories: Mapping[int, set[int]]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for of_video in categories.values():
        for category in of_video:
            counts[category] += 1
    return dict(counts)


def _single(categories: Mapping[int, set[int]]) -> set[int]:
    return {category for category, count in _count_videos(categories).items() if count < 2}


def _write_parts(target: Path, content: dict[str, Any], training: set[int], validation: set[int]) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, videos in ((TRAINING_SPLIT, training), (VALIDATION_SPLIT, validation)):
            part = _part(content, videos)
            (target / name).write_text(json.dumps(part))
            print(f"{target / name}: {len(part['videos'])} videos, {len(part['annotations'])} tracks")
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(f"{target}: no folder that can be written to ({reason}), give --out FOLDER") from None


def _part(content: dict[str, Any], videos: set[int]) -> dict[str, Any]:
    return {
        **content,
        "videos": [record for record in content["videos"] if record["id"] in videos],
        "annotations": [record for record in content["annotations"] if record["video_id"] in videos],
    }


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid split-vis", description="Split a YouTube-VIS training file for local validation.")
    parser.add_argument("path", help="the dataset's folder, or a JSON file")
    parser.add_argument("--fraction", type=float, default=0.1, help="part of the videos that validate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help=f"folder to write to, by default ROOT/{SPLIT_FOLDER}")
    options = parser.parse_args(arguments)
    if not 0 < options.fraction < 1:
        parser.error(f"--fraction must be between 0 and 1, got {options.fraction}")
    return options
