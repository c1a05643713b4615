"""The server of the page, from its start to the removal of all that visitors have left."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from lightvid.demo.methods import Methods
from lightvid.demo.uploads import Limits
from lightvid.demo.visits import Visits
from lightvid.errors import ConfigurationError

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(methods: Methods, limits: Limits, *, host: str, port: int, sample: Path | None) -> None:
    """Serve the page until a signal ends it.

    Visitors' files lie in one folder of the system's folder for temporary files, which other users cannot read.

    Raises:
        ConfigurationError: the demo's packages are missing, or the address is not free.
    """
    with tempfile.TemporaryDirectory(prefix="lightvid-demo-", ignore_cleanup_errors=True) as root:
        # Read by Gradio when it is imported: no counting of uses, files nowhere else.
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(Path(root).resolve()))
        visits, ended = Visits(Path(root)), threading.Event()
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, lambda *_: ended.set())
            _launch(visits, methods, limits, host=host, port=port, sample=sample)
            sweeper = threading.Thread(target=visits.sweep_forever, args=(ended,), daemon=True)
            sweeper.start()
            ended.wait()
        visits.close_all()


def _launch(visits: Visits, methods: Methods, limits: Limits, *, host: str, port: int, sample: Path | None) -> None:
    try:
        import gradio as gr
        from starlette.middleware import Middleware
    except ImportError as error:
        raise ConfigurationError(
            f"demo: {error.name} is missing (make demo, or pip install 'lightvid[demo]')"
        ) from None
    from lightvid.demo.guard import VisitorGuard
    from lightvid.demo.layout import STYLE
    from lightvid.demo.page import build_page

    most = limits.megabytes * 2**20
    hosts = LOCAL if host in LOCAL else ()
    try:
        _, address, _ = build_page(visits, methods, limits, sample).launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            max_file_size=most,
            app_kwargs={"middleware": [Middleware(VisitorGuard, visits=visits, max_bytes=most, hosts=hosts)]},
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=STYLE,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
        )
    except OSError:
        raise ConfigurationError(f"--port {port}: not free on {host} (give another one)") from None
    print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
