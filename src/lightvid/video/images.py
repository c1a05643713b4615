"""Decoding single images: frames to RGB, annotations to instance numbers."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightvid.errors import DataError

REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def decode_image(content: bytes, label: str, *, reduce_to: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode one JPEG or PNG to `(H, W, 3)` RGB.

    Args:
        content: the file's bytes.
        label: the file's name, for messages.
        reduce_to: see `lightvid.video.Video.read`.

    Raises:
        DataError: the image is corrupt or cut off.
    """
    flags = cv2.IMREAD_COLOR
    # The JPEG decoder scales within its inverse cosine transform; for a PNG there would be nothing to gain.
    if reduce_to is not None and content[:2] == b"\xff\xd8":
        flags = REDUCED.get(_reduction(image_size(content, label), reduce_to), flags)
    if content[:2] == b"\xff\xd8" and b"\xff\xd9" not in content[-4096:]:
        raise DataError(f"{label}: corrupt frame (the JPEG is cut off)")
    try:
        # Annotations know nothing of an orientation tag, so frames are read as they are stored.
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{label}: corrupt frame (not a readable image)")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def decode_mask(content: bytes, label: str) -> NDArray[np.uint8]:
    """Decode one annotation to `(H, W)` instance numbers.

    A palette image gives its indices and a grey one its values; of a coloured one, everything that is not black is 1.

    Raises:
        DataError: the image is corrupt or cut off.
    """
    try:
        # OpenCV would give a palette's colours; Pillow keeps the indices.
        with Image.open(io.BytesIO(content)) as image:
            if image.mode in ("P", "L", "1"):
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


def _reduction(size: tuple[int, int], least: tuple[int, int]) -> int:
    """The largest of 8, 4, 2, 1 that leaves an image at least this size."""
    return next(by for by in (8, 4, 2, 1) if by == 1 or all(-(-s // by) >= m for s, m in zip(size, least, strict=True)))
