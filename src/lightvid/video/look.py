"""What a video file says of how its pixels are to be shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.video.reformatter import Colorspace

from lightvid.video.files import open_container

UNSPECIFIED = 2  # of primaries, transfer and matrix (ITU-T H.273)
# Matrices from RGB to luma and chroma that there are conversions for; 6 is another name of 5.
MATRICES = {matrix.value for matrix in Colorspace} | {6}


@dataclass(frozen=True)
class Look:
    """Tags of a video stream; the numbers are those of ITU-T H.273.

    Attributes:
        pixel_aspect: width / height of a pixel as stored; None if the file does not say.
        matrix: from RGB to luma and chroma.
        primaries: of the colours.
        transfer: from light to value.
        bits: of a sample.
        grey: it has no colours.
    """

    pixel_aspect: Fraction | None = None
    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    bits: int = 8
    grey: bool = False

    @classmethod
    def of(cls, path: Path) -> Look:
        """Read the tags of a file.

        Raises:
            DataError: not a video.
        """
        with open_container(path) as container:
            stream = container.streams.video[0]
            codec: Any = stream.codec_context
            matrix = int(codec.colorspace)
            return cls(
                stream.sample_aspect_ratio or None,
                matrix if matrix in MATRICES else UNSPECIFIED,
                int(codec.color_primaries),
                int(codec.color_trc),
                codec.format.components[0].bits if codec.format else 8,
                codec.format is not None and not codec.format.is_rgb and len(codec.format.components) < 3,
            )

    def turned(self) -> Look:
        """Of the same video turned by 90 degrees."""
        aspect = None if self.pixel_aspect is None else 1 / self.pixel_aspect
        return replace(self, pixel_aspect=aspect)
