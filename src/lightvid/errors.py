"""Errors that a user can mend: each message is one line that names the thing and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LightvidError(Exception):
    """A mistake in what the user gave; the command line prints the message alone."""


class ConfigurationError(LightvidError):
    """An unknown name, a misspelt key or a wrong type in the configuration."""


class DataError(LightvidError):
    """A file or folder of a dataset that is missing, broken or of the wrong size."""


class CheckpointError(LightvidError):
    """A file that is no checkpoint, or whose tensors do not fit the network."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """A hint for a misspelt word: the nearest valid one and the whole list."""
    options = sorted(valid)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Valid: {', '.join(options)}"
