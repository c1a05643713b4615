"""`lightvid segment`: find, segment and track the instances of one video, and draw them."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lightvid.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from lightvid.segmentation import SegmenterOptions, TrackResult
    from lightvid.video import Video

logger = logging.getLogger(__name__)

RUNS = Path("runs/vis")
VIDEO_ID = 1
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

    video = open_video(options.video)
    height, width = video.size()
    network = _load(options.checkpoint, options.published)
    trained = SegmenterOptions.of(network)
    names = _names(options.names, trained)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        tracks = _segment(video, (height, width), network, trained, options)
        tracks = [track for track in tracks if track["score"] >= options.score]
        _draw(video, tracks, names, options)
        _write_json(options.out / "annotations.json", _annotations(video, (height, width), names))
        write_results(options.out / "results.json", tracks)
    except OSError as error:
        raise ConfigurationError(f"{options.out}: cannot be written ({error.strerror or error})") from None
    print(f"{len(tracks)} tracks: {options.out}/overlay.mp4, results.json, annotations.json")


class _Parser(argparse.ArgumentParser):
    """Mistakes end in the error of one line that all commands have."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"segment: {message} (lightvid segment --help)")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="lightvid segment", description=__doc__, allow_abbrev=False)
    parser.add_argument("video", type=Path, help="a video file, a folder of images or a .zip of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the three files")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", type=Path, help=f"of a run; the newest in {RUNS} if not given")
    source.add_argument("--published", metavar="NAME=FILE", help="a published one, such as vistr_r50=vistr_r50.pth")
    parser.add_argument("--frames", type=_positive, help="of a window; as in training if not given")
    parser.add_argument("--shortest", type=_positive, help="pixels of the shorter side for the network")
    parser.add_argument("--score", type=float, default=0.3, help="least score of a track (0.3)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (auto)")
    parser.add_argument("--names", help="of the classes: dog,person,... or a YouTube-VIS JSON file")
    parser.add_argument("--fps", type=_positive, default=10, help="of overlay.mp4, for a folder or zip of images (10)")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got '{text}'")
    return int(text)


def _load(checkpoint: Path | None, published: str | None) -> nn.Module:
    from lightvid import checkpoints

    if published is not None:
        name, separator, file = published.partition("=")
        if not separator:
            raise ConfigurationError(f"--published {published}: expected NAME=FILE, such as vistr_r50=vistr_r50.pth")
        return checkpoints.load(name, file)
    if checkpoint is None:
        found = sorted(RUNS.glob("*/checkpoints/best.ckpt"), key=lambda file: file.stat().st_mtime)
        if not found:
            raise ConfigurationError(f"no checkpoint in {RUNS}: give --checkpoint FILE, or make train TASK=vis")
        checkpoint = found[-1]
        logger.info("segmenting with %s", checkpoint)
    return checkpoints.load("vis", checkpoint)


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


def _segment(
    video: Video,
    size: tuple[int, int],
    network: nn.Module,
    trained: SegmenterOptions,
    options: argparse.Namespace,
) -> list[TrackResult]:
    from lightvid.segmentation import VideoSegmenter

    segmenter = VideoSegmenter(
        network.to(_device(options.device)),
        frames=options.frames or trained.frames,
        overlap=None if options.frames else trained.overlap,
        classification=trained.classification,
        category_ids=trained.category_ids,
        shortest=options.shortest or trained.shortest,
        longest=None if options.shortest else trained.longest,
        any_length=trained.classification == "sigmoid",  # as in validation
        further_classes=None,  # an object is drawn once
    )
    return segmenter.segment(video.read, len(video), *size, video_id=VIDEO_ID, progress=_progress(len(video)))


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"--device {name}: not to be had here ({reason})") from None
    return name


def _progress(length: int) -> Callable[[int], None]:
    """Prints how far the network is and how fast, in one line; a log file gets the last state alone."""
    start = time.perf_counter()

    def show(done: int) -> None:
        finished = done == length
        if finished or sys.stderr.isatty():
            speed = done / (time.perf_counter() - start)
            line = f"\r{done}/{length} frames, {speed:.1f} frames/s"
            print(line, end="\n" if finished else "", file=sys.stderr, flush=True)

    return show


def _draw(video: Video, tracks: Sequence[TrackResult], names: dict[int, str], options: argparse.Namespace) -> None:
    from lightvid.video import VideoWriter, draw_tracks
    from lightvid.video.files import frame_rate
    from lightvid.video.reading import VideoFile

    labels = [names[track["category_id"]] for track in tracks]
    scores = [track["score"] for track in tracks]
    rate = frame_rate(video.path) if isinstance(video, VideoFile) else options.fps
    with VideoWriter(options.out / "overlay.mp4", rate) as writer:
        for start in range(0, len(video), FRAMES_AT_ONCE):
            numbers = range(start, min(start + FRAMES_AT_ONCE, len(video)))
            for number, frame in zip(numbers, video.read(numbers), strict=True):
                masks = _masks(tracks, number, frame)
                writer.write(draw_tracks(frame, masks, ids=range(len(tracks)), labels=labels, scores=scores))


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
