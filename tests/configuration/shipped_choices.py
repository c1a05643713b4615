"""Files of `configs/`, as a user names them."""

from importlib.resources import files
from pathlib import Path

CONFIGS = Path(str(files("lightvid.configs")))


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def with_root(arguments: list[str]) -> list[str]:
    return [*arguments, "data.root=somewhere", "loggers={}"]
