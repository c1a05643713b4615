"""Masks as COCO's run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from lightvid.annotations.result_checks import areas_and_totals
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
    if measure([rle]) == [None]:
        raise DataError(f"{label}: {unfilled(height, width)}")
    try:
        return np.asarray(coco.decode(rle), np.uint8)
    except ValueError as error:
        raise DataError(f"{label}: damaged run lengths ({error})") from None


def measure(masks: Sequence[RLE]) -> list[int | None]:
    """Pixels of each mask; None for damaged run lengths, which do not fill the size. Best for many masks at once.

    pycocotools does not look: decoding such leaves pixels unwritten, or does not end.
    """
    areas, totals = areas_and_totals([mask["counts"] for mask in masks])
    measured = zip(masks, areas.tolist(), totals.tolist(), strict=True)
    return [area if total == mask["size"][0] * mask["size"][1] else None for mask, area, total in measured]


def unfilled(height: int, width: int) -> str:
    """What is wrong where `measure` says None."""
    return f"damaged run lengths, which do not fill {width}x{height} pixels"


def to_rle(segmentation: Any, height: int, width: int, label: str) -> RLE:
    """Compressed run lengths of any of the forms that annotation files use; `measure` tells whether they fill the size.

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
            if min(segmentation["counts"], default=0) < 0:
                raise ValueError("one of its runs is negative")
            if sum(segmentation["counts"]) != rows * columns:
                raise ValueError(f"its runs have {sum(segmentation['counts'])} pixels, its size {rows}x{columns}")
            merged = coco.frPyObjects(dict(segmentation), rows, columns)
        elif isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), (str, bytes)):
            rows, columns = (int(side) for side in segmentation["size"])
            counts = segmentation["counts"]
            if not counts:
                raise ValueError("its run lengths are empty")
            return {"size": [rows, columns], "counts": counts if isinstance(counts, str) else counts.decode("ascii")}
        else:
            raise ValueError("expected polygons or run lengths with size and counts")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{label}: not a mask ({error})") from None
    return {"size": [int(side) for side in merged["size"]], "counts": merged["counts"].decode("ascii")}
