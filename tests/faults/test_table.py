"""The table of faults in the documentation names tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_of_the_table_of_faults_names_a_test_that_exists():
    rows = [line for line in (ROOT / "docs/robustness.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 15
    for row in rows:
        (named,) = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        tree = ast.parse((ROOT / named[0]).read_text())
        assert named[1] in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)], row
