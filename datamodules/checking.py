"""`lightvid check-data`: what a dataset's folder holds, and everything that is wrong with it."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightvid.annotations.youtube_vis import list_annotation_files
from lightvid.annotations.youtube_vis_layout import FOLDER_NAMES, is_youtube_vos
from lightvid.commands.arguments import Parser
from lightvid.errors import DataError
from lightvid.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

from .checking_instances import check_annotation_file, check_youtube_vis
from .checking_report import Report
from .checking_videos import check_davis, check_video_folder, check_youtube_vos

LAYOUT_FOLDERS = ("davis", "youtube_vos", "youtube_vis")  # of the sample data


def run(arguments: list[str]) -> None:
    """Recognise the layout of a folder, print what it holds and every problem, a line each.

    Raises:
        ConfigurationError: wrong arguments.
        DataError: a layout that is not known.
        SystemExit: with status 1, if there are problems.
    """
    options = _parse(arguments)
    reports = check(Path(options.path).expanduser(), decode=options.decode)
    for report in reports:
        print(report)
    problems = [problem for report in reports for problem in report.problems]
    print(f"{len(problems)} problems in {len({problem.file for problem in problems})} files")
    if problems:
        raise SystemExit(1)


def check(path: Path, *, decode: bool = False) -> list[Report]:
    """Check a folder in each layout that it has; none of its faults ends the check.

    Args:
        path: a dataset's folder, or an annotation file of YouTube-VIS.
        decode: decode every image; otherwise only their headers are read.

    Raises:
        DataError: a layout that is not known.
    """
    if path.is_file() and path.suffix == ".json":
        return [check_annotation_file(path, decode=decode)]
    if not path.is_dir():
        reason = "no folder of a dataset, and no .json file of annotations" if path.exists() else "no such folder"
        raise DataError(f"{path}: {reason}")
    if parts := [path / name for name in LAYOUT_FOLDERS if (path / name).is_dir()]:
        return [report for part in parts for report in check(part, decode=decode)]
    if (path / "ImageSets").is_dir() or (path / "JPEGImages" / "480p").is_dir():
        return [check_davis(path, decode=decode)]
    if is_youtube_vos(path) or _is_youtube_vos_for_sttn(path):
        return [check_youtube_vos(path, decode=decode)]
    if any(list_annotation_files(path, split) for split in FOLDER_NAMES):
        return [check_youtube_vis(path, decode=decode)]
    if _holds_videos(path):
        return [check_video_folder(path, decode=decode)]
    raise DataError(
        f"{path}: no known layout (expected DAVIS with ImageSets, YouTube-VOS with train/meta.json, YouTube-VIS or "
        "OVIS with train.json or the like, or a folder of videos)"
    )


def _is_youtube_vos_for_sttn(path: Path) -> bool:
    return (path / "JPEGImages").is_dir() and any((path / name).is_file() for name in ("train.json", "test.json"))


def _holds_videos(path: Path) -> bool:
    def is_video(entry: Path) -> bool:
        if entry.is_dir():
            return any(file.suffix.lower() in IMAGE_SUFFIXES for file in entry.iterdir())
        return entry.suffix.lower() in (*VIDEO_SUFFIXES, ".zip")

    return any(is_video(entry) for entry in path.iterdir() if not entry.name.startswith("."))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid check-data", description="Say what a dataset's folder holds and what is wrong.")
    parser.add_argument("path", help="the dataset's folder, or an annotation file of YouTube-VIS")
    parser.add_argument("--decode", action="store_true", help="decode every image, which takes a while")
    return parser.parse_args(arguments)
