"""Results that are kept while they are likely to be asked for again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """The last results asked for, by frame.

    Unlike `functools.lru_cache` of a method it holds no reference to its owner, so that both are freed at once.

    Args:
        kept: how many.
    """

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._results: OrderedDict[int, T] = OrderedDict()

    def get(self, index: int, make: Callable[[int], T]) -> T:
        """The result of an index, made if it is not there any more."""
        if index in self._results:
            self._results.move_to_end(index)
            return self._results[index]
        result = self._results[index] = make(index)
        if len(self._results) > self.kept:
            self._results.popitem(last=False)
        return result
