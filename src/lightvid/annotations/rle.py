"""Masks as COCO's run lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from lightvid.errors import DataError


class RLE(TypedDict):
    """Run lengths down the columns, the first run of zeros; `counts` compressed to text as in results files."""

    size: list[int]
    counts: str


def encode(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> RLE:
    """An `(H, W)` mask, compressed."""
    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def decode(segmentation: Any, height: int, width: int, label: str) -> NDArray[np.uint8]:
    """The `(H, W)` mask, 0 and 1, of anything that `to_rle` takes.

    Raises:
        DataError: as `to_rle`, damaged run lengths, or the mask has another size than (height, width).
    """
    rle = to_rle(segmentation, height, width, label)
    if list(rle["size"]) != [height, width]:
        raise DataError(f"{label}: a mask of {rle['size'][1]}x{rle['size'][0]} for frames of {width}x{height}")
    try:
        return np.asarray(coco.decode(rle), np.uint8)
    except ValueError as error:
        raise DataError(f"{label}: damaged run lengths ({error})") from None


def to_rle(segmentation: Any, height: int, width: int, label: str) -> RLE:
    """Compressed run lengths of any of the forms that annotation files use.

    Args:
        segmentation: a list of polygons `[[x0, y0, x1, y1, ...], ...]`, uncompressed or compressed run lengths.
        height: of the frame, in pixels; polygons are drawn on it.
        width: likewise.
        label: what to call it in messages.

    Raises:
        DataError: none of these forms, or damaged.
    """
    try:
        if isinstance(segmentation, list):
            parts = [part for part in segmentation if len(part) >= 6]
            if not parts:
                raise ValueError("a polygon needs three corners")
            merged = coco.merge(coco.frPyObjects(parts, height, width))
        elif isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), list):
            rows, columns = segmentation["size"]
            if sum(segmentation["counts"]) != rows * columns:
                raise ValueError(f"its runs have {sum(segmentation['counts'])} pixels, its size {rows}x{columns}")
            merged = coco.frPyObjects(dict(segmentation), rows, columns)
        elif isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), (str, bytes)):
            rows, columns = (int(side) for side in segmentation["size"])
            counts = segmentation["counts"]
            if not counts:
                raise ValueError("its run lengths are empty")
            merged = {"size": [rows, columns], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
        else:
            raise ValueError("expected polygons or run lengths with size and counts")
    except (KeyError, TypeError, ValueError, UnicodeEncodeError) as error:
        raise DataError(f"{label}: not a mask ({error})") from None
    return {"size": [int(side) for side in merged["size"]], "counts": merged["counts"].decode("ascii")}
