"""Arguments of commands; mistakes are answered in one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

from lightvid.errors import ConfigurationError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises a `ConfigurationError` instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and the usage."""
        raise ConfigurationError(f"{self.prog}: {message} ({' '.join(self.format_usage().split())})")
