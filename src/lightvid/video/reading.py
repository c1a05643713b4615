"""Reading chosen frames of a clip: a folder of images, one zip of images, or a video file."""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lightvid.errors import DataError
from lightvid.video import files
from lightvid.video.images import ImageKind, decode_image, decode_mask, image_kind, image_size, possible_reduction
from lightvid.video.timing import FrameIndex

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
# What zipfile raises for a damaged member; RuntimeError is for one that is encrypted or packed in an unknown way.
UNPACKING_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError)


def open_video(path: str | Path) -> Video:
    """List the frames of a clip, without decoding any.

    Args:
        path: a folder of .jpg or .png images, a .zip of them, or a video file.

    Raises:
        DataError: the path is missing, holds no frame, is not readable as what its name says, or is cut off.
    """
    path = Path(path)
    if path.is_dir():
        return FrameFolder(path, path.name, _image_names(path, [entry.name for entry in path.iterdir()]))
    if not path.is_file():
        raise DataError(f"{path}: no such video (expected a folder of images, a .zip of images or a video file)")
    if path.suffix.lower() == ".zip":
        with open_zip(path) as archive:
            return FrameZip(path, path.stem, _image_names(path, archive.namelist()))
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoFile(path, path.stem, [f"{index:05d}" for index in range(len(FrameIndex.of(path).times))])
    raise DataError(f"{path}: not a video (expected a folder, .zip, {', '.join(VIDEO_SUFFIXES)})")


@dataclass(frozen=True)
class Video(ABC):
    """Where the frames of one clip are. It holds no open file, so it may be pickled and shared between processes.

    Attributes:
        path: folder, zip or video file.
        name: the path's last part, without suffix.
        frame_names: file name of each frame in order, numbers by their value (`frame2` before `frame10`); the frame's
            number in a video file.
    """

    path: Path
    name: str
    frame_names: list[str]

    def __len__(self) -> int:
        return len(self.frame_names)

    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, as the first frame's header says."""

    @abstractmethod
    def read(self, indices: Sequence[int], *, reduce_to: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Decode the frames at `indices`, in that order.

        Args:
            indices: frame numbers, in any order.
            reduce_to: permission to decode JPEG images at 1/2, 1/4 or 1/8 of their size, which is faster, as long as
                they stay at least this (height, width).

        Returns:
            `(N, H, W, 3)` RGB.

        Raises:
            DataError: a frame is missing, corrupt or of another size than the others.
        """

    @abstractmethod
    def read_masks(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Decode images that are annotations.

        Returns:
            `(N, H, W)` instance numbers, 0 = background: a palette image's indices, a grey image's values.

        Raises:
            DataError: as `read`.
        """


class ImageSequence(Video):
    """A clip of which every frame is one image file."""

    def size(self) -> tuple[int, int]:
        """See `Video.size`."""
        (content,) = self.contents(self.frame_names[:1])
        return image_size(content, self._label(0))

    def kind(self) -> ImageKind:
        """What `read` does not keep of the images, as the first frame's header says."""
        (content,) = self.contents(self.frame_names[:1])
        return image_kind(content, self._label(0))

    def read(self, indices: Sequence[int], *, reduce_to: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """See `Video.read`."""
        return self._stack(self._decode(indices, reduce_to), indices)

    def read_masks(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `Video.read_masks`."""
        contents = self.contents([self.frame_names[index] for index in indices])
        masks = (decode_mask(content, self._label(index)) for index, content in zip(indices, contents, strict=True))
        return self._stack(masks, indices)

    @abstractmethod
    def contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """The bytes of these files.

        Raises:
            DataError: one of them cannot be read.
        """

    def _label(self, index: int) -> str:
        return f"{self.path}/{self.frame_names[index]}"

    def _decode(self, indices: Sequence[int], reduce_to: tuple[int, int] | None) -> Iterator[NDArray[np.uint8]]:
        """Decode one image after the other; the first one's size decides on the reduction of all."""
        reduction = 1
        contents = self.contents([self.frame_names[index] for index in indices])
        for position, (index, content) in enumerate(zip(indices, contents, strict=True)):
            if position == 0 and reduce_to is not None:
                reduction = possible_reduction(content, self._label(index), reduce_to)
            yield decode_image(content, self._label(index), reduction=reduction)

    def _stack(self, images: Iterator[NDArray[np.uint8]], indices: Sequence[int]) -> NDArray[np.uint8]:
        """Copy each image to its place while it is still in the cache."""
        stacked = np.empty(0, np.uint8)
        for position, (index, image) in enumerate(zip(indices, images, strict=True)):
            if position == 0:
                stacked = np.empty((len(indices), *image.shape), np.uint8)
            elif image.shape != stacked.shape[1:]:
                sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (stacked.shape[1:], image.shape))
                raise DataError(f"{self._label(index)}: frames of different sizes in one video ({sizes})")
            stacked[position] = image
        return stacked


class FrameFolder(ImageSequence):
    """A folder of images."""

    def contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """See `ImageSequence.contents`."""
        for name in names:
            try:
                yield (self.path / name).read_bytes()
            except OSError as error:
                raise DataError(f"{self.path / name}: cannot read this frame ({error.strerror})") from None


class FrameZip(ImageSequence):
    """One zip of images."""

    def contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """See `ImageSequence.contents`."""
        with self._archive() as archive:
            for name in names:
                try:
                    yield archive.read(name)
                except KeyError:
                    raise DataError(f"{self.path}: no file {name} inside this zip") from None
                except UNPACKING_ERRORS as error:
                    raise DataError(f"{self.path}/{name}: cannot be unpacked from its zip ({error})") from None

    def _archive(self) -> AbstractContextManager[zipfile.ZipFile]:
        return open_zip(self.path)


class VideoFile(Video):
    """A video file, opened, read and closed within each call."""

    def size(self) -> tuple[int, int]:
        """See `Video.size`."""
        return files.frame_size(self.path)

    def read(self, indices: Sequence[int], *, reduce_to: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """See `Video.read`; a video file is never decoded at less than its size."""
        return files.read_frames(self.path, indices)

    def read_masks(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `Video.read_masks`."""
        raise DataError(f"{self.path}: masks must be a folder or a zip of PNG images, not a video file")


def _image_names(path: Path, names: Sequence[str]) -> list[str]:
    images = [n for n in names if n.lower().endswith(IMAGE_SUFFIXES) and not Path(n).name.startswith(".")]
    if not images:
        raise DataError(f"{path}: no frames in it (expected {', '.join(IMAGE_SUFFIXES)} images)")
    return sorted(images, key=_natural_order)


def _natural_order(name: str) -> tuple[list[str | int], str]:
    """Text and numbers in turn, and the name itself for those that differ in leading zeros alone."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip for reading.

    Raises:
        DataError: it is none, or damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        reason = cast(str, error.strerror) if isinstance(error, OSError) else str(error)
        raise DataError(f"{path}: unreadable zip ({reason})") from None
    with archive:
        yield archive
