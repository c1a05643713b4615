"""Imports go down the floors of the library, never up."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "src" / "lightvid"
FLOORS = ["ops", "attention", "backbone", "stems", "heads", "networks", "checkpoints"]
LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric")


def imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_what_lies_below_it(floor):
    above = {f"lightvid.{name}" for name in FLOORS[FLOORS.index(floor) + 1 :]}
    for file in (LIBRARY / floor).rglob("*.py"):
        found = {".".join(name.split(".")[:2]) for name in imports(file)}
        assert not found & above, file
        assert not {name.split(".")[0] for name in found} & {*LIGHTNING, "torchvision"}, file


def test_the_library_never_imports_the_data_modules_or_tasks():
    for file in LIBRARY.rglob("*.py"):
        assert not any(name.startswith(("lightvid.tasks", "lightvid.datamodules")) for name in imports(file)), file
