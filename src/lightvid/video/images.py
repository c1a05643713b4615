"""Decoding single images: frames to RGB, annotations to instance numbers."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightvid.errors import DataError

START_OF_SCAN = b"\xda"  # after 0xff
END_OF_IMAGE = b"\xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n"
PNG_BITS = 24  # where the header holds the bits of a sample
NUMBERED = ("P", "L", "1")  # Pillow's modes whose values may be numbers of instances
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def decode_image(content: bytes, label: str, *, reduction: int = 1) -> NDArray[np.uint8]:
    """Decode one JPEG or PNG to `(H, W, 3)` RGB.

    Args:
        content: the file's bytes.
        label: the file's name, for messages.
        reduction: decode at 1/2, 1/4 or 1/8 of the size, see `possible_reduction`.

    Raises:
        DataError: the image is corrupt or cut off.
    """
    if _is_jpeg(content) and not _has_end(content):
        raise DataError(f"{label}: corrupt frame (the JPEG is cut off)")
    flags = REDUCED.get(reduction, cv2.IMREAD_COLOR)
    try:
        # Annotations know nothing of an orientation tag, so frames are read as they are stored.
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{label}: corrupt frame (not a readable image)")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def possible_reduction(content: bytes, label: str, least: tuple[int, int]) -> int:
    """The largest of 8, 4, 2, 1 by which a JPEG may be reduced and still be at least this (height, width).

    The JPEG decoder scales within its inverse cosine transform; for a PNG there would be nothing to gain, so it is 1.

    Raises:
        DataError: the header is not that of an image.
    """
    if not _is_jpeg(content):
        return 1
    size = image_size(content, label)
    fits = (by for by in (8, 4, 2) if all(-(-s // by) >= m for s, m in zip(size, least, strict=True)))
    return next(fits, 1)


def decode_mask(content: bytes, label: str) -> NDArray[np.uint8]:
    """Decode one annotation to `(H, W)` instance numbers.

    A palette image gives its indices and a grey one its values; of a coloured one, everything that is not black is 1.

    Raises:
        DataError: the image is corrupt or cut off.
    """
    try:
        # OpenCV would give a palette's colours; Pillow keeps the indices.
        with Image.open(io.BytesIO(content)) as image:
            if image.mode in NUMBERED:
                return np.array(image, np.uint8)
            return np.asarray(np.array(image.convert("RGB")).any(axis=2), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{label}: corrupt mask ({str(error).splitlines()[0]})") from None


def image_size(content: bytes, label: str) -> tuple[int, int]:
    """Height and width that an image's header says, without decoding it.

    Raises:
        DataError: the header is not that of an image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError):
        raise DataError(f"{label}: corrupt frame (not a readable image)") from None


@dataclass(frozen=True)
class ImageKind:
    """What an image holds that `decode_image` does not keep.

    Attributes:
        bits: of a sample, of which 8 are kept.
        grey: it has no colours.
        alpha: some of it may be transparent.
        numbered: `decode_mask` gives its values, so it may tell instances apart.
    """

    bits: int
    grey: bool
    alpha: bool
    numbered: bool


def image_kind(content: bytes, label: str) -> ImageKind:
    """What an image's header says of it.

    Raises:
        DataError: the header is not that of an image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            # Pillow itself turns colours of 16 bits into 8 without a trace of it.
            bits = content[PNG_BITS] if content.startswith(PNG) else 8
            grey = image.getbands()[0] in ("1", "L", "I")
            return ImageKind(bits, grey, image.has_transparency_data, image.mode in NUMBERED)
    except (OSError, SyntaxError, ValueError):
        raise DataError(f"{label}: corrupt frame (not a readable image)") from None


def _is_jpeg(content: bytes) -> bool:
    return content[:2] == b"\xff\xd8"


def _has_end(content: bytes) -> bool:
    """Whether a JPEG's end marker follows its first scan: decoders fill up the rest of a cut picture in silence.

    Before the scan a thumbnail may have an end marker of its own, after the end marker there may be anything.
    """
    position = 2
    while (position := content.find(b"\xff", position)) >= 0:
        marker = content[position + 1 : position + 2]
        if marker == START_OF_SCAN:
            return content.find(END_OF_IMAGE, position) >= 0
        if marker == b"\xff":  # padding
            position += 1
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False
