"""The documentation has no empty page and no gap, and names only commands and choices that exist."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_written(page):
    text = page.read_text()
    assert len(text.split()) > 10
    assert not re.search(r"@[A-Z0-9]+@|TODO|FIXME", text)
    assert not text.rstrip().splitlines()[-1].startswith("#"), "a heading with nothing below"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_choices_that_a_page_names_exist(page):
    groups = {"TASK": "task", "PAPER": "paper", "BACKBONE": "backbone", "DATA": "data", "TRAINER": "trainer"}
    for variable, group in groups.items():
        known = {path.stem for path in (ROOT / "configs" / group).rglob("*.yaml")}
        for value in re.findall(rf"\bmake train\b.*?\b{variable}=(\"[^\"]+\"|[\w./]+)", page.read_text()):
            names = [name for name in re.split(r"[\s,]+", value.strip('"')) if not name.endswith(".yaml")]
            assert set(names) <= known, (variable, value)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_that_a_page_names_exist(page):
    usage = (ROOT / "src/lightvid/cli.py").read_text()
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.S):
        for command in re.findall(r"(?:^|/)lightvid ([a-z][a-z-]+)", block, re.M):
            assert f"  {command} " in usage, command


def test_every_page_is_in_the_navigation():
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = {name for entry in navigation for name in entry.values()}
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")}
