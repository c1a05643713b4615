"""What all commands on files share: how they take arguments, choose a device and say how far they are."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightvid.errors import ConfigurationError, nearest

NEGATIVE = re.compile(r"-[\d.]")


class Parser(argparse.ArgumentParser):
    """Mistakes end in the error of one line that all commands have.

    An unknown option is named before those that are missing, which it may have been meant for. A value may begin with a
    minus sign and a digit.
    """

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """See `argparse.ArgumentParser.parse_args`."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        joined: list[str] = []
        for argument in args:
            if joined and joined[-1] in options and NEGATIVE.match(argument):
                joined[-1] += f"={argument}"
            else:
                joined.append(argument)
        given = joined[: joined.index("--")] if "--" in joined else joined
        for name in (argument.partition("=")[0] for argument in given if argument.startswith("--")):
            if name not in options:
                self.error(f"unrecognized arguments: {name}: {nearest(name, options)}")
        return super().parse_args(joined, namespace)

    def error(self, message: str) -> NoReturn:
        """Answer a mistake."""
        command = self.prog.removeprefix("lightvid ")
        raise ConfigurationError(f"{command}: {message} (lightvid {command} --help)")


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got '{text}'")
    return int(text)


def count(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, got '{text}'")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """(height, width) in pixels of WIDTHxHEIGHT."""
    if not (match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, such as 432x240, got '{text}'")
    return int(match[2]), int(match[1])


def name_and_file(text: str) -> tuple[str, Path]:
    """NAME=FILE."""
    name, _, file = text.partition("=")
    if not name or not file:
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, such as e2fgvi_hq=E2FGVI-HQ-CVPR22.pth, got '{text}'")
    return name, Path(file)


def choose_device(name: str) -> str:
    """The device of this name; "auto" is a GPU where there is one.

    Raises:
        ConfigurationError: there is no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"--device {name}: not to be had here ({reason})") from None
    return name


def show_progress(length: int, *, start: int = 0) -> Callable[[int], None]:
    """Prints how far the work is, how fast, and how long it will take, in one line; a log file gets the last state.

    Args:
        length: number of frames.
        start: how many of them were there before.
    """
    begin = time.perf_counter()

    def show(done: int) -> None:
        finished = done == length
        if finished or sys.stderr.isatty():
            speed = (done - start) / max(time.perf_counter() - begin, 1e-6)
            left = "" if finished or not speed else f", {_duration((length - done) / speed)} left"
            line = f"\r{done}/{length} frames, {speed:.1f} frames/s{left}   "
            print(line.rstrip() if finished else line, end="\n" if finished else "", file=sys.stderr, flush=True)

    return show


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
