"""`lightvid segment-vis`: the results file of all videos of a YouTube-VIS split, and the archive to submit."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightvid.commands.arguments import Parser, show_progress
from lightvid.commands.segmenting import add_network_options, load_network, make_segmenter
from lightvid.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from lightvid.annotations.youtube_vis import Annotations
    from lightvid.segmentation import SegmenterOptions, TrackResult, VideoSegmenter


def run(arguments: list[str]) -> None:
    """Segment every video of a JSON file and write `results.json` and `submission.zip`, validated.

    Args:
        arguments: of the command line, after `segment-vis`.

    Raises:
        LightvidError: a mistake in them, an unreadable frame, a checkpoint of other categories.
    """
    options = _parse(arguments)
    from lightvid.annotations.results import read_json, validate_results, write_results, write_submission
    from lightvid.annotations.youtube_vis import find_images, read_annotations
    from lightvid.annotations.youtube_vis_layout import dataset_folder
    from lightvid.segmentation import SegmenterOptions

    annotations = read_annotations(options.annotations)
    images = options.images or find_images(dataset_folder(options.annotations), annotations.videos)
    network = load_network(options.checkpoint, options.published)
    trained = SegmenterOptions.of(network)
    _check_categories(annotations, trained)
    segmenter = make_segmenter(network, trained, options, further_classes=0.05)  # copies in further classes raise AP
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        results = list(_results(annotations, images, segmenter))
        if problems := validate_results(results, read_json(options.annotations)):
            raise DataError(f"{options.annotations}: {problems[0]}")
        write_results(options.out / "results.json", results)
        write_submission(options.out / "submission.zip", results)
    except OSError as error:
        raise ConfigurationError(f"{options.out}: cannot be written ({error.strerror or error})") from None
    print(f"{len(results)} tracks in {len(annotations.videos)} videos: {options.out}/results.json, submission.zip")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid segment-vis", description=__doc__, allow_abbrev=False)
    parser.add_argument("annotations", type=Path, help="JSON file of the split, such as valid.json")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--images", type=Path, help="folder of the frames; looked for beside the file if not given")
    add_network_options(parser)
    return parser.parse_args(arguments)


def _check_categories(annotations: Annotations, trained: SegmenterOptions) -> None:
    """Ids alone do not tell: the releases of 2019 and 2021 both have 1 to 40, with other meanings."""
    ids = [category.id for category in annotations.categories]
    pairs: list[tuple[list[Any], list[Any]]] = [(ids, trained.category_ids)]
    if not all(re.fullmatch(r"class \d+", name) for name in trained.category_names):  # a checkpoint without names
        pairs.insert(0, ([category.name for category in annotations.categories], trained.category_names))
    for expected, given in pairs:
        if expected != given:
            start = next((n for n, (a, b) in enumerate(zip(expected, given, strict=False)) if a != b), None)
            if start is None:  # one list begins as the other: from where the shorter one ends
                start = max(min(len(expected), len(given)) - 1, 0)
            raise ConfigurationError(
                f"{annotations.path}: its {len(expected)} categories are {_some(expected, start)}, "
                f"the {len(given)} of the checkpoint {_some(given, start)}: train on data with these categories"
            )


def _some(values: list[Any], start: int) -> str:
    text = ", ".join(str(value) for value in values[start : start + 3])
    return f"{'..., ' if start else ''}{text}{', ...' if start + 3 < len(values) else ''}"


def _results(annotations: Annotations, images: Path, segmenter: VideoSegmenter) -> Iterator[TrackResult]:
    """The tracks of one video after the other; their run lengths are all that stays of it."""
    from lightvid.video.reading import FrameFolder

    progress, done = show_progress(sum(len(entry) for entry in annotations.videos)), 0
    for entry in annotations.videos:
        frames = FrameFolder(images, entry.name, list(entry.file_names))
        yield from segmenter.segment(frames.read, len(entry), entry.height, entry.width, video_id=entry.id)
        done += len(entry)
        progress(done)
