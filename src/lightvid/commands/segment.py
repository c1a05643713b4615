"""`lightvid segment`: find, segment and track the instances of one video, and draw them."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lightvid.commands.arguments import Parser, positive, show_progress
from lightvid.commands.segmenting import add_network_options, load_network, make_segmenter
from lightvid.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightvid.segmentation import SegmenterOptions, TrackResult
    from lightvid.video import Video

logger = logging.getLogger(__name__)

VIDEO_ID = 1
DEFAULT_FPS = 10
FRAMES_AT_ONCE = 16  # read for drawing


def run(arguments: list[str]) -> None:
    """Segment a video and write `overlay.mp4`, `results.json` and `annotations.json`.

    The video is read twice: for the network, then for drawing. All that is kept of it in between are the run lengths of
    its masks, some kilobytes a frame.

    Args:
        arguments: of the command line, after `segment`.

    Raises:
        LightvidError: a mistake in them, an unreadable video, an unsuitable checkpoint.
    """
    options = _parse(arguments)
    from lightvid.annotations.results import write_results
    from lightvid.segmentation import SegmenterOptions
    from lightvid.video import open_video
    from lightvid.video.reading import VideoFile

    video = open_video(options.video)
    if options.fps is not None and isinstance(video, VideoFile):
        raise ConfigurationError(f"--fps: is for images, {video.path} has its own rate (leave it out)")
    height, width = video.size()
    network = load_network(options.checkpoint, options.published)
    trained = SegmenterOptions.of(network)
    names = _names(options.names, trained)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        segmenter = make_segmenter(network, trained, options, further_classes=None)  # an object is drawn once
        progress = show_progress(len(video))
        tracks = segmenter.segment(video.read, len(video), height, width, video_id=VIDEO_ID, progress=progress)
        tracks = [track for track in tracks if track["score"] >= options.score]
        _draw(video, tracks, names, options)
        _write_json(options.out / "annotations.json", _annotations(video, (height, width), names))
        write_results(options.out / "results.json", tracks)
    except OSError as error:
        raise ConfigurationError(f"{options.out}: cannot be written ({error.strerror or error})") from None
    print(f"{len(tracks)} tracks: {options.out}/overlay.mp4, results.json, annotations.json")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid segment", description=__doc__, allow_abbrev=False)
    parser.add_argument("video", type=Path, help="a video file, a folder of images or a .zip of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the three files")
    add_network_options(parser)
    parser.add_argument("--score", type=_score, default=0.3, help="least score of a track (0.3)")
    parser.add_argument("--names", help="of the classes: dog,person,... or a YouTube-VIS JSON file")
    parser.add_argument("--fps", type=positive, help=f"of overlay.mp4, for a folder or zip of images ({DEFAULT_FPS})")
    return parser.parse_args(arguments)


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError(f"expected a score of 0 to 1, got '{text}'")
    return score


def _names(given: str | None, trained: SegmenterOptions) -> dict[int, str]:
    """The category names by id, those given in place of the checkpoint's."""
    from lightvid.annotations.results import category_names, load

    ids = trained.category_ids
    if given is None:
        return dict(zip(ids, trained.category_names, strict=True))
    if given.endswith((".json", ".json.gz")):
        names = category_names(load(given))
        if missing := [number for number in ids if number not in names]:
            raise ConfigurationError(f"--names {given}: no category {missing[0]} in it, which the checkpoint has")
        return {number: names[number] for number in ids}
    names_in_order = given.split(",")
    if len(names_in_order) != len(ids):
        raise ConfigurationError(f"--names: {len(names_in_order)} names for the {len(ids)} classes of the checkpoint")
    return dict(zip(ids, names_in_order, strict=True))


def _draw(video: Video, tracks: Sequence[TrackResult], names: dict[int, str], options: argparse.Namespace) -> None:
    """Write `overlay.mp4` with the timing and the sound of the video."""
    from lightvid.video import VideoWriter, draw_tracks
    from lightvid.video.joining import Sound, join_videos
    from lightvid.video.reading import VideoFile
    from lightvid.video.timing import FrameIndex, Timing

    labels = [names[track["category_id"]] for track in tracks]
    scores = [track["score"] for track in tracks]
    timing, sound = Timing.constant(len(video), Fraction(options.fps or DEFAULT_FPS)), None
    if isinstance(video, VideoFile):
        index = FrameIndex.of(video.path)
        timing, sound = index.timing(), Sound(video.path, index.start)
    with TemporaryDirectory(dir=options.out) as folder:
        drawn, overlay = Path(folder) / "drawn.mp4", Path(folder) / "overlay.mp4"
        with VideoWriter(drawn, timing.rate) as writer:
            for start in range(0, len(video), FRAMES_AT_ONCE):
                numbers = range(start, min(start + FRAMES_AT_ONCE, len(video)))
                for number, frame in zip(numbers, video.read(numbers), strict=True):
                    masks = _masks(tracks, number, frame)
                    writer.write(draw_tracks(frame, masks, ids=range(len(tracks)), labels=labels, scores=scores))
        for codec in join_videos([drawn], overlay, timing=timing, sound=sound):
            logger.info("sound: %s does not go into overlay.mp4, so it is left out", codec)
        os.replace(overlay, options.out / "overlay.mp4")


def _masks(tracks: Sequence[TrackResult], number: int, frame: NDArray[np.uint8]) -> list[NDArray[np.uint8] | None]:
    from lightvid.annotations.rle import decode

    codes = [track["segmentations"][number] for track in tracks]
    height, width = frame.shape[:2]
    return [None if code is None else decode(code, height, width, f"frame {number}") for code in codes]


def _annotations(video: Video, size: tuple[int, int], names: dict[int, str]) -> dict[str, object]:
    """A YouTube-VIS file of this video, without annotations, as the benchmarks have for their validation sets."""
    height, width = size
    file_names = [f"{video.name}/{Path(name).name}" for name in video.frame_names]
    entry = {"id": VIDEO_ID, "height": height, "width": width, "length": len(video), "file_names": file_names}
    categories = [{"id": number, "name": name} for number, name in names.items()]
    return {"videos": [entry], "categories": categories}


def _write_json(path: Path, content: dict[str, object]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content))
    os.replace(partial, path)
