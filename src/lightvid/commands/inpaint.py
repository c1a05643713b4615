"""`lightvid inpaint`: remove what masks mark from a video, and fill the holes."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lightvid.commands.arguments import Parser, choose_device, count, name_and_file, positive, show_progress, size
from lightvid.errors import ConfigurationError, DataError, LightvidError

if TYPE_CHECKING:
    from lightvid.inpainting.output import Output
    from lightvid.inpainting.source import MaskedFiles
    from lightvid.inpainting.video import Frames
    from lightvid.inpainting.work import Job, WorkFolder

logger = logging.getLogger(__name__)

DESCRIPTION = """Fill the holes of a video. Known pixels stay as they are: bit for bit in a folder of PNG images and in
an .mkv with --lossless. Timing and sound of the source are kept. Without a network, known pixels are propagated along
optical flow."""
INTERRUPTED = 130


def run(arguments: list[str]) -> None:
    """Restore a video and write it.

    Args:
        arguments: of the command line, after `inpaint`.

    Raises:
        LightvidError: a mistake in them, unreadable files, an unsuitable checkpoint, an OUT that cannot be written.
        SystemExit: status 130 after an interrupt, when a line has said how to go on.
    """
    options = _parse(arguments)
    from lightvid.inpainting.destination import check_destination, open_output
    from lightvid.inpainting.source import open_masked_video, survey
    from lightvid.inpainting.work import WorkFolder

    sources = [path for path in (options.video, options.masks) if path is not None]
    check_destination(options.out, sources, lossless=options.lossless)
    with open_masked_video(
        options.video,
        options.masks,
        boxes=options.box or (),
        instances=options.instance or (),
        threshold=options.threshold,
        invert=options.invert,
        dilate=options.dilate,
    ) as video:
        work = WorkFolder(options.out)
        output, notes = open_output(work, video.frames, fps=options.fps, lossless=options.lossless)
        holes = survey(video)
        if holes.all:
            raise DataError("holes: they cover every frame whole, nothing is known (--invert exchanges hole and known)")
        if not holes.any:
            notes.append("holes: there are none, the frames stay as they are (--invert exchanges hole and known)")
        for note in (*notes, *video.notes):
            logger.info(note)
        _write(video, output, work, options, holes=holes.any)
    print(f"{len(video)} frames: {options.out}")


def _write(video: MaskedFiles, output: Output, work: WorkFolder, options: argparse.Namespace, *, holes: bool) -> None:
    """Restore what is not finished; what is finished survives all that may end this."""
    try:
        work.begin(_job(options), resume=options.resume, overwrite=options.overwrite)
        try:
            _restore(video, output, options, holes=holes)
            for note in output.complete():
                logger.info(note)
        except BaseException as error:
            if not output.finished():
                work.remove()
            if isinstance(error, LightvidError):
                raise type(error)(f"{error}{_kept(output, len(video))}") from None
            raise
    except OSError as error:
        raise ConfigurationError(
            f"{options.out}: cannot be written ({error.strerror or error}{_kept(output, len(video))})"
        ) from None
    except KeyboardInterrupt:
        line_end = "\n" if sys.stderr.isatty() else ""  # of the progress
        kept = _kept(output, len(video)) or ", nothing is finished yet"
        print(f"{line_end}lightvid: interrupted{kept}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _kept(output: Output, length: int) -> str:
    finished = output.finished()
    return f"; {finished} of {length} frames are kept, --resume goes on with them" if finished else ""


def _restore(video: MaskedFiles, output: Output, options: argparse.Namespace, *, holes: bool) -> None:
    start = output.finished()
    if start == len(video):
        return
    progress = show_progress(len(video), start=start)
    frames = _filled(video, options, start) if holes else (video.read([index])[0] for index in range(start, len(video)))
    try:
        with output:
            for number, frame in enumerate(frames, start):
                output.write(frame)
                progress(number + 1)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ConfigurationError(
            f"--device {options.device}: out of memory (take a smaller --working-size, --window or --references)"
        ) from None


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    # On the CPU, PyTorch raises a plain RuntimeError, which only its text tells from others.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _filled(video: MaskedFiles, options: argparse.Namespace, start: int) -> Iterator[Frames]:
    from lightvid.inpainting.restorers import RestorerOptions, make_restorer

    restorer = make_restorer(
        RestorerOptions(
            checkpoint=options.checkpoint,
            published=options.published,
            protocol=options.protocol,
            window=options.window,
            stride=options.stride,
            references=options.references,
            blend=options.blend,
            propagate_first=options.propagate_first,
            device=choose_device(options.device),
            precision=options.precision,
            working_size=options.working_size,
            whole_frame=options.whole_frame,
        )
    )
    return restorer.restore(video, start=start)


def _job(options: argparse.Namespace) -> Job:
    """Everything that the result depends on; files by their fingerprint, as they may be named in other ways."""
    from lightvid.inpainting.work import fingerprint

    job = {f"--{name.replace('_', '-')}": value for name, value in vars(options).items()}
    for name in ("--video", "--out", "--resume", "--overwrite"):
        del job[name]
    job["--fps"] = None if options.fps is None else str(options.fps)
    job["VIDEO"] = fingerprint(options.video)
    job["--masks"] = None if options.masks is None else fingerprint(options.masks)
    job["--checkpoint"] = None if options.checkpoint is None else fingerprint(options.checkpoint)
    if options.published is not None:
        name, file = options.published
        job["--published"] = f"{fingerprint(file)} {name}"
    return job


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid inpaint", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("video", type=Path, help="a video file, a folder of images or a .zip of them")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="an .mp4, .mov or .mkv, or a folder for PNG images (no suffix)"
    )
    _add_hole_options(parser)
    _add_output_options(parser)
    _add_network_options(parser)
    return parser.parse_args(arguments)


def _add_hole_options(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("holes").add_mutually_exclusive_group(required=True)
    where.add_argument("--masks", type=Path, help="like VIDEO, one for each frame, or one image; bright = hole")
    where.add_argument("--box", type=_box, action="append", metavar="X,Y,W,H", help="in pixels; may be repeated")
    group = parser.add_argument_group("of the holes")
    group.add_argument(
        "--instance", type=_numbers, metavar="N,...", help="these palette or grey values of the masks alone"
    )
    group.add_argument(
        "--threshold", type=_brightness, help="least brightness of a hole, 1 to 255 (1 in PNG, 128 in JPEG and video)"
    )
    group.add_argument("--invert", action="store_true", help="exchange hole and known")
    group.add_argument(
        "--dilate", type=count, default=4, help="grow the holes by so many pixels, those of boxes too (4)"
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--lossless", action="store_true", help="FFV1 in RGB, for .mkv")
    group.add_argument("--fps", type=_rate, help="of a folder or .zip of images (24)")
    group.add_argument("--overwrite", action="store_true", help="replace OUT")
    group.add_argument("--resume", action="store_true", help="go on where a run with the same options was stopped")


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", type=Path, help="of a run")
    source.add_argument("--published", type=name_and_file, metavar="NAME=FILE", help="such as e2fgvi_hq=FILE")
    group.add_argument("--protocol", choices=("default", "published"), default="default", help="of its windows")
    group.add_argument("--window", type=positive, help="neighbouring frames restored together")
    group.add_argument("--stride", type=positive, help="frames from one window to the next")
    group.add_argument("--references", type=count, help="frames of the rest of the video for a window, at most")
    group.add_argument("--blend", choices=("triangular", "uniform"), help="of overlapping windows")
    group.add_argument("--propagate-first", action="store_true", help="fill along optical flow what flow can fill")
    group.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (auto)")
    group.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of its arithmetic (fp32)")
    region = group.add_mutually_exclusive_group()
    region.add_argument(
        "--working-size", type=size, metavar="WxH", help="of the region that is cut out around the holes (432x240)"
    )
    region.add_argument("--whole-frame", action="store_true", help="cut nothing out")


def _numbers(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def _brightness(text: str) -> int:
    value = positive(text)
    if value > 255:
        raise argparse.ArgumentTypeError(f"expected a brightness of 1 to 255, got '{text}'")
    return value


def _box(text: str) -> tuple[int, int, int, int]:
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().lstrip("-").isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected x,y,width,height in pixels, got '{text}'")
    x, y, width, height = (int(part) for part in parts)
    return x, y, width, height


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"expected frames per second, such as 25 or 30000/1001, got '{text}'")
    return rate
