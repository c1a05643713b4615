"""What a visitor has painted: masks by frame, kept as images in the visit's folder."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from lightvid.demo.visits import Visit
from lightvid.errors import DataError
from lightvid.inpainting.mask_tracking import Mask, track_masks
from lightvid.inpainting.masks import Box, BoxMasks
from lightvid.inpainting.video import Frames
from lightvid.video import write_png

COLOUR = (255, 48, 48)
OPACITY = 0.6
FEW = 8  # images for the editor that stay


class Painting(TypedDict):
    """What the editor gives: images `(H, W, 4)` RGBA. New strokes are its layers; the background has the others."""

    background: NDArray[np.uint8] | None
    layers: list[NDArray[np.uint8]]
    composite: NDArray[np.uint8] | None


def keep(visit: Visit, painting: Painting | None) -> None:
    """Add what is painted in the editor to the frame that is shown.

    Raises:
        DataError: no clip.
    """
    height, width = visit.chosen().size()
    mask = np.zeros((height, width), np.uint8)
    for layer in painting["layers"] if painting is not None else []:
        opaque = (layer[..., 3] > 0).astype(np.uint8)
        mask |= np.asarray(cv2.resize(opaque, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    _add(visit, mask)


def add_box(visit: Visit, box: Box) -> None:
    """Add a rectangle to what is painted on the frame that is shown.

    Raises:
        DataError: no clip, or the box is not inside the frame.
    """
    (mask,) = BoxMasks([box], visit.chosen().size()).read([0])
    _add(visit, mask)


def forget(visit: Visit, number: int | None = None) -> None:
    """Remove what was painted on a frame, or on all."""
    for index, file in _files(visit).items():
        if number in (None, index):
            file.unlink()


def painted(visit: Visit) -> Mapping[int, Mask]:
    """By frame number, `(H, W)` with non-zero = hole; read when asked for."""
    return _PaintedMasks(_files(visit))


def shown_frame(visit: Visit) -> str:
    """An image of the frame that is shown, with its holes in colour: in the visit's folder, for its visitor alone."""
    folder = visit.folder / "editor"
    folder.mkdir(exist_ok=True)
    for old in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)[:-FEW]:  # a browser may still load them
        old.unlink()
    (frame,) = visit.chosen().read([visit.shown])
    file = folder / f"{secrets.token_hex(8)}.png"
    write_png(file, coloured(frame, painted(visit).get(visit.shown)))
    return str(file)


def coloured(frame: Frames, mask: Mask | None) -> Frames:
    """A frame with its hole in colour, `(H, W, 3)` RGB."""
    picture = frame.copy()
    if mask is not None:
        tint = OPACITY * np.array(COLOUR) + (1 - OPACITY) * frame[mask > 0]
        picture[mask > 0] = tint.astype(np.uint8)
    return picture


def check_painted(visit: Visit) -> None:
    """Refuse to begin with nothing.

    Raises:
        DataError: no clip, or nothing is painted.
    """
    visit.chosen()
    if not painted(visit):
        raise DataError("nothing to remove yet: paint over the object on a frame, or add a box")


def write_masks(visit: Visit, *, follow: bool) -> Path:
    """Masks for all frames: carried along with the object, or the same everywhere.

    Returns:
        A folder with one image for each frame, or one image that is the union of all that was painted.

    Raises:
        DataError: no clip, or nothing is painted.
        Stopped: the visitor wants no more.
    """
    check_painted(visit)
    clip, masks = visit.chosen(), painted(visit)
    if not follow:
        return _write(visit.folder / "mask.png", np.bitwise_or.reduce(list(masks.values())))
    folder = visit.folder / "masks"
    folder.mkdir(exist_ok=True)
    for index, mask in track_masks(clip.read, len(clip), masks, loose=True):
        visit.go_on()
        _write(folder / f"{index:05d}.png", mask)
    return folder


class _PaintedMasks(Mapping[int, Mask]):
    def __init__(self, files: dict[int, Path]) -> None:
        self._files = files

    def __getitem__(self, number: int) -> Mask:
        return np.asarray(cv2.imread(str(self._files[number]), cv2.IMREAD_GRAYSCALE), np.uint8)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._files))

    def __len__(self) -> int:
        return len(self._files)


def _files(visit: Visit) -> dict[int, Path]:
    return {int(file.stem): file for file in (visit.folder / "painted").glob("*.png")}


def _add(visit: Visit, mask: Mask) -> None:
    if mask.any():
        file = visit.folder / "painted" / f"{visit.shown:05d}.png"
        file.parent.mkdir(exist_ok=True)
        _write(file, mask | painted(visit).get(visit.shown, np.zeros_like(mask)))


def _write(file: Path, mask: Mask) -> Path:
    cv2.imwrite(str(file), (mask > 0) * np.uint8(255))
    return file
