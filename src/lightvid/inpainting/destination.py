"""Where a restored video goes, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from lightvid.errors import ConfigurationError
from lightvid.inpainting.output import FolderOutput, Output, VideoOutput
from lightvid.inpainting.work import WorkFolder
from lightvid.video.audio import has_sound
from lightvid.video.joining import Sound
from lightvid.video.look import Look
from lightvid.video.reading import ImageSequence
from lightvid.video.streaming import FrameStream
from lightvid.video.timing import Timing

CONTAINERS = (".mp4", ".mov", ".mkv")
DEFAULT_FPS = Fraction(24)  # as DAVIS is


def check_destination(out: Path, sources: Sequence[Path], *, lossless: bool) -> None:
    """Refuse an OUT that cannot be written as asked, or whose writing would harm.

    Args:
        out: a file, or a folder if its name has no suffix.
        sources: files and folders that are read.
        lossless: is asked for.

    Raises:
        ConfigurationError: an unknown suffix, or one that does not suit; OUT lies in a source or holds one; OUT is a
            file where it should be a folder or the reverse, or a folder with other things than PNG images.
    """
    suffix = out.suffix.lower()
    if suffix and suffix not in CONTAINERS:
        raise ConfigurationError(f"{out}: expected {', '.join(CONTAINERS)}, or a folder (a name without suffix)")
    if lossless and suffix not in ("", ".mkv"):
        raise ConfigurationError(f"{out}: --lossless goes into an .mkv, or into a folder of images")
    for source in (source.resolve() for source in sources):
        if source in (out.resolve(), *out.resolve().parents) or out.resolve() in source.parents:
            raise ConfigurationError(f"{out}: must neither lie in {source} nor hold it (choose another place)")
    if out.exists() and out.is_dir() != (not suffix):
        raise ConfigurationError(f"{out}: is a {'folder' if out.is_dir() else 'file'} (choose another name)")
    if out.is_dir() and (others := [file.name for file in out.iterdir() if file.suffix.lower() != ".png"]):
        raise ConfigurationError(
            f"{out}: holds other things than PNG images, such as {others[0]} (choose another folder)"
        )


def open_output(
    work: WorkFolder, clip: FrameStream | ImageSequence, *, fps: Fraction | None = None, lossless: bool = False
) -> tuple[Output, list[str]]:
    """The output for OUT, with the clip's timing, sound, shape of pixels and tags of colours as far as OUT holds them.

    Args:
        work: not begun yet.
        clip: what is restored.
        fps: of a clip of images.
        lossless: FFV1 instead of H.264.

    Returns:
        The output, and what it does not keep of the clip, one line each.

    Raises:
        ConfigurationError: a rate for a video that has its own.
    """
    if isinstance(clip, FrameStream) and fps is not None:
        raise ConfigurationError(f"--fps: is for images, {clip.path} has its own rate (leave it out)")
    if not work.out.suffix:
        silent = isinstance(clip, FrameStream) and has_sound(clip.path)
        return FolderOutput(work, _names(clip)), ["sound: left out (a folder of images holds none)"] if silent else []
    notes = []
    height, width = clip.size()
    if not lossless and (height % 2 or width % 2):
        notes.append(
            f"size: {width}x{height} becomes {width + width % 2}x{height + height % 2}, H.264 has even sizes"
            " (--lossless into an .mkv, or a folder, keeps it)"
        )
    if not isinstance(clip, FrameStream):
        timing = Timing.constant(len(clip), fps or DEFAULT_FPS)
        return VideoOutput(work, timing, lossless=lossless, look=Look()), notes
    look = Look.of(clip.path)
    if look.bits > 8:
        notes.append(f"depth: {look.bits} bits of a sample become 8")
    if not has_sound(clip.path):
        notes.append(f"sound: {clip.path} has none")
    shown = look.turned() if clip.turned else look
    sound = Sound(clip.path, clip.index.start)
    return VideoOutput(work, clip.index.timing(), lossless=lossless, look=shown, sound=sound), notes


def _names(clip: FrameStream | ImageSequence) -> list[str]:
    """Those of the clip's images; numbers, if images of different folders or formats have the same name."""
    stems = [Path(name).stem for name in clip.frame_names]
    return stems if len(set(stems)) == len(stems) else [f"{number:05d}" for number in range(len(stems))]
