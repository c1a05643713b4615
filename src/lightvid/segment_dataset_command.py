"""`lightvid segment-vis`: the results file of all videos of a YouTube-VIS split, and the archive to submit."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightvid.errors import ConfigurationError, DataError
from lightvid.segmenting import Parser, add_network_options, load_network, make_segmenter, show_progress

if TYPE_CHECKING:
    from lightvid.annotations.youtube_vis import Annotations
    from lightvid.segmentation import TrackResult, VideoSegmenter


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
    from lightvid.segmentation import SegmenterOptions

    annotations = read_annotations(options.annotations)
    images = options.images or find_images(options.annotations.parent, annotations.videos)
    network = load_network(options.checkpoint, options.published)
    trained = SegmenterOptions.of(network)
    expected = [category.id for category in annotations.categories]
    if trained.category_ids != expected:
        raise ConfigurationError(
            f"{options.annotations}: its categories are {expected[:3]}, ..., those of the checkpoint"
            f" {trained.category_ids[:3]}, ...: train on data with these categories"
        )
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


def _results(annotations: Annotations, images: Path, segmenter: VideoSegmenter) -> Iterator[TrackResult]:
    """The tracks of one video after the other; their run lengths are all that stays of it."""
    from lightvid.video.reading import FrameFolder

    progress, done = show_progress(sum(len(entry) for entry in annotations.videos)), 0
    for entry in annotations.videos:
        frames = FrameFolder(images, entry.name, list(entry.file_names))
        yield from segmenter.segment(frames.read, len(entry), entry.height, entry.width, video_id=entry.id)
        done += len(entry)
        progress(done)
