"""Clips by request, with an answer for files that cannot be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from lightvid.errors import DataError

from .batch import MissingClip
from .sampling import Request

OnError = Literal["raise", "skip"]
REPLACEMENTS = 20
BEFORE_SPARES = 5


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
        return self.get(request, iter(()))

    def get(self, request: Request, spares: Iterator[Any]) -> Any:
        """Read the clip of a request.

        Args:
            request: see `Request`.
            spares: more videos to take replacements of, when some of `videos` or all of them have been tried in vain.

        Raises:
            DataError: as `__getitem__`.
        """
        draw, index = request
        skipped: list[str] = []
        tried = {index}
        for attempt in range(REPLACEMENTS):
            rng = np.random.default_rng([self.seed, self.training, draw, attempt])
            source = self.videos[index] if attempt == 0 else self._replacement(rng, tried, spares)
            try:
                return self.read(rng, source, skipped)
            except DataError as error:
                message = f"{error} [draw {draw}]"
                if self.on_error == "raise":
                    raise DataError(f"{message}; data.on_error=skip goes on without such clips") from None
                skipped.append(message)
            if not self.training:
                return MissingClip(skipped)
        raise DataError(f"{skipped[-1]}; and so for {REPLACEMENTS} clips in a row: is the whole dataset broken?")

    def _replacement(self, rng: np.random.Generator, tried: set[int], spares: Iterator[Any]) -> Any:
        """A video that has not been tried for this clip; one of those that have where there is no other."""
        untried = [index for index in range(len(self.videos)) if index not in tried]
        if not untried or len(tried) >= BEFORE_SPARES:
            for spare in spares:
                return spare
        index = int(rng.choice(untried or len(self.videos)))
        tried.add(index)
        return self.videos[index]
