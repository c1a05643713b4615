"""`lightvid demo`: a web page that removes objects from clips."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lightvid.commands.arguments import Parser, choose_device, positive
from lightvid.demo.uploads import Limits
from lightvid.errors import ConfigurationError

SAMPLE = Path("data/sample/davis/JPEGImages/480p/train-01")
LOCAL = "127.0.0.1"


def run(arguments: list[str]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        arguments: of the command line, after `demo`.

    Raises:
        LightvidError: a mistake in them, or the packages of the page are missing.
    """
    options = _parse(arguments)
    from lightvid.demo.methods import find_methods
    from lightvid.demo.server import serve

    for file in (options.checkpoint, *(file for _, file in options.published)):
        if file is not None and not file.is_file():
            raise ConfigurationError(f"{file}: no such file (--checkpoint FILE, --published NAME=FILE)")
    if options.sample is not None and not options.sample.exists():
        raise ConfigurationError(f"--sample {options.sample}: no such clip (lightvid sample writes one)")
    if options.host != LOCAL:
        print(
            f"warning: with --host {options.host} others in the network can use the page, without a password and"
            " unencrypted; their jobs run on this machine",
            file=sys.stderr,
        )
    sample = options.sample or (SAMPLE if SAMPLE.exists() else None)
    methods = find_methods(options.checkpoint, options.published, device=choose_device(options.device))
    limits = Limits(megabytes=options.max_upload_mb, frames=options.max_frames)
    serve(methods, limits, host=options.host, port=options.port, sample=sample)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid demo", description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default=LOCAL, help=f"address to be reached at ({LOCAL}: by this machine alone)")
    parser.add_argument("--port", type=positive, default=7860, help="(7860)")
    parser.add_argument("--checkpoint", type=Path, help="of a run; those of the newest runs if none is given")
    parser.add_argument(
        "--published", type=_published, action="append", default=[], metavar="NAME=FILE", help="may be repeated"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (auto)")
    parser.add_argument("--max-upload-mb", type=positive, default=Limits.megabytes, help=f"({Limits.megabytes})")
    parser.add_argument("--max-frames", type=positive, default=Limits.frames, help=f"of a clip ({Limits.frames})")
    parser.add_argument("--sample", type=Path, metavar="CLIP", help=f"to try the page with ({SAMPLE}, if it is there)")
    return parser.parse_args(arguments)


def _published(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, such as e2fgvi_hq=E2FGVI-HQ-CVPR22.pth, got '{text}'")
    return name, Path(file)
