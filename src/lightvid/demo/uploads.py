"""Taking uploaded files into a visit, if they are clips and not too large."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightvid.demo.visits import Visit, Visits
from lightvid.errors import DataError
from lightvid.inpainting.opening import open_frames
from lightvid.video.files import open_container
from lightvid.video.images import image_size
from lightvid.video.reading import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ImageSequence
from lightvid.video.streaming import FrameStream

ACCEPTED = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
EXPECTED = f"expected a video ({', '.join(VIDEO_SUFFIXES)}) or images ({', '.join(IMAGE_SUFFIXES)})"


@dataclass(frozen=True)
class Limits:
    """Of a clip.

    Attributes:
        megabytes: of all its files.
        frames: of it.
        pixels: of a frame.
    """

    megabytes: int = 200
    frames: int = 600
    pixels: int = 1920 * 1200


def take_upload(visits: Visits, visit: Visit, files: Sequence[Path], limits: Limits) -> FrameStream | ImageSequence:
    """Move uploaded files into a visit's folder and open them as its clip.

    Whatever is refused is deleted.

    Args:
        visits: all of them.
        visit: who has uploaded.
        files: one video, or the images of a clip.
        limits: what is too large is refused before it is decoded.

    Raises:
        DataError: no clip, too large, or gone.
    """
    if not all(visits.has_uploaded(visit.visitor, file) for file in files):
        raise DataError("these files were not uploaded here: choose them again")
    folder = visit.folder / f"clip-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        clip = _moved(files, folder)
        _check(clip, limits)
        return visit.open_clip(clip)
    except BaseException:
        _delete([*files, *folder.iterdir()])
        folder.rmdir()
        raise


def check_length(path: Path, limits: Limits) -> None:
    """Refuse a clip of too many frames, by its name in messages.

    Raises:
        DataError: too long, or unreadable.
    """
    clip = open_frames(path)
    length = len(clip)
    if isinstance(clip, FrameStream):
        clip.close()
    if length > limits.frames:
        raise DataError(f"{path.name}: {length} frames, at most {limits.frames} are restored here (cut it shorter)")


def _moved(files: Sequence[Path], folder: Path) -> Path:
    """The video's new place, or the folder of the images."""
    suffixes = {_suffix(file) for file in files}
    if len(files) == 1 and suffixes <= set(VIDEO_SUFFIXES):
        clip = folder / f"clip{suffixes.pop()}"
        _move(files[0], clip)
        return clip
    if not files or not suffixes <= set(IMAGE_SUFFIXES):
        raise DataError(f"one video, or images alone: {EXPECTED}")
    if len({file.name for file in files}) < len(files):
        raise DataError("two images have the same name: give each its own, in the order of the clip")
    for file in files:
        _move(file, folder / file.name)
    return folder


def _suffix(file: Path) -> str:
    """The file's suffix, if its first bytes agree: libraries that read videos trust the bytes and not the name."""
    suffix = file.suffix.lower()
    if suffix not in ACCEPTED:
        raise DataError(f"{file.name}: {EXPECTED}")
    try:
        with file.open("rb") as opened:
            start = opened.read(12)
    except OSError:
        raise DataError(f"{file.name}: the upload is gone, choose it again") from None
    looks = {
        ".jpg": start[:3] == b"\xff\xd8\xff",
        ".png": start[:8] == b"\x89PNG\r\n\x1a\n",
        ".avi": start[:4] == b"RIFF" and start[8:] == b"AVI ",
        ".mkv": start[:4] == b"\x1a\x45\xdf\xa3",
        ".mp4": start[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"),
    }
    like = {".jpeg": ".jpg", ".webm": ".mkv", ".m4v": ".mp4", ".mov": ".mp4"}.get(suffix, suffix)
    if not looks[like]:
        raise DataError(f"{file.name}: not what its name says ({EXPECTED})")
    return suffix


def _move(file: Path, target: Path) -> None:
    try:
        os.replace(file, target)
    except OSError:
        raise DataError(f"{file.name}: the upload is gone, choose it again") from None


def _check(path: Path, limits: Limits) -> None:
    files = list(path.iterdir()) if path.is_dir() else [path]
    if sum(file.stat().st_size for file in files) > limits.megabytes * 2**20:
        raise DataError(f"too large: at most {limits.megabytes} MB")
    if path.is_dir() and len(files) > limits.frames:
        raise DataError(f"{len(files)} images, at most {limits.frames} are restored here")
    for file in files:
        height, width = image_size(file.read_bytes(), file.name) if path.is_dir() else _coded_size(file)
        if height * width > limits.pixels:
            raise DataError(
                f"{file.name}: {width}x{height} pixels, at most {limits.pixels} are restored here (scale it down)"
            )
    if path.is_file():
        check_length(path, limits)


def _coded_size(file: Path) -> tuple[int, int]:
    """Height and width that a video's header says, without decoding a frame."""
    with open_container(file) as container:
        stream = container.streams.video[0]
        return stream.height, stream.width


def _delete(files: Sequence[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
