"""What a check of a dataset finds: a table of its splits, and its problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

HEADINGS = ("split", "videos", "frames", "tracks", "annotated frames", "sizes", "categories")


class Problem(NamedTuple):
    """What is wrong with a file or folder, in one line."""

    file: Path
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass
class SplitSummary:
    """What a split holds.

    Attributes:
        tracks: instances; None where the dataset does not say.
        annotated: frames in which an instance is annotated; likewise.
        sizes: (width, height) of its frames in pixels.
        categories: None where the dataset has none.
    """

    name: str
    videos: int = 0
    frames: int = 0
    tracks: int | None = None
    annotated: int | None = None
    sizes: set[tuple[int, int]] = field(default_factory=set)
    categories: int | None = None

    def merge(self, part: SplitSummary) -> None:
        """Add what a part of the videos holds."""
        self.frames += part.frames
        self.sizes |= part.sizes
        if part.annotated is not None:
            self.annotated = (self.annotated or 0) + part.annotated
        if part.tracks is not None:
            self.tracks = (self.tracks or 0) + part.tracks

    def row(self) -> list[str]:
        """Texts under `HEADINGS`."""
        numbers = (self.videos, self.frames, self.tracks, self.annotated)
        return [self.name, *map(_text, numbers), self._sizes(), _text(self.categories)]

    def _sizes(self) -> str:
        ordered = [
            f"{width}x{height}" for width, height in sorted(self.sizes, key=lambda size: (size[0] * size[1], size))
        ]
        return " ".join(ordered) if len(ordered) <= 2 else f"{len(ordered)}, {ordered[0]} to {ordered[-1]}"


@dataclass
class Report:
    """What a folder holds in one layout, and what is wrong with it."""

    layout: str
    path: Path
    splits: list[SplitSummary] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, file: Path, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(file, message))

    def __str__(self) -> str:
        rows = [list(HEADINGS), *(split.row() for split in self.splits)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"{self.path}: {self.layout}", *table, *map(str, self.problems)])


def _text(number: int | None) -> str:
    return "-" if number is None else str(number)
