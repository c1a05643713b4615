"""Clips by request, with an answer for files that cannot be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from lightvid.errors import DataError

from .batch import MissingClip
from .sampling import Request

OnError = Literal["raise", "skip"]
REPLACEMENTS = 20


class ClipDataset(Dataset[Any], ABC):
    """Clips of videos; a request `(draw, video)` names one, a function of the seed, the request and the files alone.

    Args:
        videos: what `read` takes one of.
        training: whether clips are drawn at random.
        seed: of everything random.
        on_error: whether a clip that cannot be read is an error ("raise"), or replaced by another and reported in its
            `skipped` ("skip"). Without `training` it is a `MissingClip` instead: no clip shall count twice.
    """

    def __init__(self, videos: Sequence[Any], *, training: bool, seed: int = 0, on_error: OnError = "raise") -> None:
        self.videos = videos
        self.training = training
        self.seed = seed
        self.on_error = on_error

    @abstractmethod
    def read(self, rng: np.random.Generator, source: Any, skipped: list[str]) -> Any:
        """Read a clip of one of the videos.

        Raises:
            DataError: a file cannot be read.
        """

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, request: Request) -> Any:
        """Read the clip of a request.

        Raises:
            DataError: it cannot be read; with `on_error="skip"`, none of many replacements could.
        """
        draw, index = request
        skipped: list[str] = []
        for attempt in range(REPLACEMENTS):
            rng = np.random.default_rng([self.seed, self.training, draw, attempt])
            index = index if attempt == 0 else int(rng.integers(len(self.videos)))
            try:
                return self.read(rng, self.videos[index], skipped)
            except DataError as error:
                message = f"{error} [draw {draw}]"
                if self.on_error == "raise":
                    raise DataError(f"{message}; data.on_error=skip goes on without such clips") from None
                skipped.append(message)
            if not self.training:
                return MissingClip(skipped)
        raise DataError(f"{skipped[-1]}; and so for {REPLACEMENTS} clips in a row: is the whole dataset broken?")
