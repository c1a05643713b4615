"""What a network for video instance segmentation was trained for, as `lightvid.segmentation` reads it from it."""

from __future__ import annotations

from collections.abc import Sequence

from lightvid.networks import InstanceSegmenter

# In the order of their ids, 1 to 40. Those of 2021 are others.
YOUTUBE_VIS_2019 = [
    "person", "giant_panda", "lizard", "parrot", "skateboard", "sedan", "ape", "dog", "snake", "monkey",
    "hand", "rabbit", "duck", "cat", "cow", "fish", "train", "horse", "turtle", "bear",
    "motorbike", "giraffe", "leopard", "fox", "deer", "owl", "surfboard", "airplane", "truck", "zebra",
    "tiger", "elephant", "snowboard", "boat", "shark", "mouse", "frog", "eagle", "earless_seal", "tennis_racket",
]  # fmt: skip


def describe(
    network: InstanceSegmenter,
    categories: Sequence[tuple[int, str]],
    *,
    frames: int,
    shortest: int,
    longest: int | None,
    overlap: int | None = None,
) -> None:
    """Attach it to the network.

    Args:
        network: gets the attributes `classification`, `category_ids`, `category_names`, `frames`, `input_size` and
            `overlap`.
        categories: id and name of each class, in their order.
        frames: of the clips it was trained with.
        shortest: size of frames' shorter side, in pixels.
        longest: bound of the longer side, None if there is none.
        overlap: frames that neighbouring windows share, None for about half of them.
    """
    attributes = {
        "classification": network.decoder.classification,
        "category_ids": [number for number, _ in categories],
        "category_names": [name for _, name in categories],
        "frames": frames,
        "input_size": {"shortest": shortest, "longest": longest},
        "overlap": overlap,
    }
    for name, value in attributes.items():
        setattr(network, name, value)
