"""The page as a whole."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from lightvid.demo.events import Events
from lightvid.demo.layout import TITLE, lay_out
from lightvid.demo.methods import Methods
from lightvid.demo.uploads import Limits
from lightvid.demo.visits import Visits

WAITING = 8  # events that wait at most, of all visitors together


def build_page(visits: Visits, methods: Methods, limits: Limits, sample: Path | None) -> gr.Blocks:
    """Lay the page out and connect it.

    Args:
        visits: of the server.
        methods: to choose from, by name.
        limits: of uploads.
        sample: a clip to try, for all visitors.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        parts = lay_out(list(methods), limits, sample)
        Events(visits, parts, methods, limits, sample).connect(page)
    return page.queue(max_size=WAITING, default_concurrency_limit=4, api_open=False)
