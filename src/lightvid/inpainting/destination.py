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
        ConfigurationError: no name, an unknown suffix, or one that does not suit; OUT lies in a source or holds one;
            OUT is a file where it should be a folder or the reverse, or a folder with other things than PNG images.
    """
    if out.name in ("", ".."):
        raise ConfigurationError(f"{out}: has no name of its own (give a file, or a folder by its name)")
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
        ConfigurationError: a rate for a video that has its own, or for a folder.
    """
    if isinstance(clip, FrameStream) and fps is not None:
        raise ConfigurationError(f"--fps: is for images, {clip.path} has its own rate (leave it out)")
    if not work.out.suffix and fps is not None:
        raise ConfigurationError("--fps: is for videos, a folder of images has no rate (leave it out)")
    notes = _not_kept(clip)
    if not work.out.suffix:
        if isinstance(clip, FrameStream) and has_sound(clip.path):
            notes.append("sound: left out (a folder of images holds none)")
        return FolderOutput(work, _names(clip)), notes
    height, width = clip.size()
    if not lossless and (height % 2 or width % 2):
        notes.append(
            f"size: {width}x{height} becomes {width + width % 2}x{height + height % 2}, H.264 has even sizes"
            " (--lossless into an .mkv, or a folder, keeps it)"
        )
    if not isinstance(clip, FrameStream):
        timing = Timing.constant(len(clip), fps or DEFAULT_FPS)
        return VideoOutput(work, timing, lossless=lossless, look=Look()), notes
    if not has_sound(clip.path):
        notes.append(f"sound: {clip.path} has none")
    look = Look.of(clip.path)
    shown = look.turned() if clip.turned else look
    sound = Sound(clip.path, clip.index.start)
    return VideoOutput(work, clip.index.timing(), lossless=lossless, look=shown, sound=sound), notes


def _not_kept(clip: FrameStream | ImageSequence) -> list[str]:
    """What no output keeps of the frames, one line each."""
    if isinstance(clip, FrameStream):
        look = Look.of(clip.path)
        bits, grey, alpha = look.bits, look.grey, False
    else:
        kind = clip.kind()
        bits, grey, alpha = kind.bits, kind.grey, kind.alpha
    notes = [f"depth: {bits} bits of a sample become 8"] if bits > 8 else []
    if alpha:
        notes.append("alpha: transparency is left out")
    if grey:
        notes.append("grey: the frames become RGB")
    return notes


def _names(clip: FrameStream | ImageSequence) -> list[str]:
    """Those of the clip's images; numbers, if images of different folders or formats have the same name."""
    stems = [Path(name).stem for name in clip.frame_names]
    return stems if len(set(stems)) == len(stems) else [f"{number:05d}" for number in range(len(stems))]
