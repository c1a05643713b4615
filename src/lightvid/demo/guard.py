"""What stands before the page's server: only the routes that the page needs, files only for the browser they are of."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from lightvid.demo.visits import TOKEN, Visits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "lightvid_visitor"
API = "/gradio_api/"
FILE = f"{API}file="
UPLOAD = f"{API}upload"
# Gradio has more, such as those that fetch addresses, run other apps' code or show past runs.
PAGE_ROUTES = ("/assets/", "/static/", "/theme.css", "/config", "/favicon.ico", "/manifest.json", "/robots.txt")
API_ROUTES = ("upload", "queue/", "heartbeat/", "component_server", "info", "startup-events", "app_id", "theme.css")
ROUTES = (*PAGE_ROUTES, *(f"{API}{route}" for route in API_ROUTES))
HEADERS = {
    # Everything comes from here: no fonts, scripts or counters of others.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


class BodyTooLargeError(Exception):
    """More has arrived than is allowed."""


class VisitorGuard:
    """ASGI middleware that gives each browser a token and keeps it to its own files.

    The token is a cookie that scripts cannot read and other sites cannot send. Who has no token gets the page alone.

    Args:
        app: what it stands before.
        visits: the open pages.
        max_bytes: of the body of one request.
        hosts: names under which the page may be asked for; any if empty. Keeps other sites from reaching a local server
            under a name of theirs.
    """

    def __init__(self, app: ASGIApp, *, visits: Visits, max_bytes: int, hosts: Collection[str] = ()) -> None:
        self.app = app
        self.visits = visits
        self.max_bytes = max_bytes
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        request = Request(scope)
        visitor = _visitor(request)
        uploads = partial(self.visits.add_uploads, visitor) if request.url.path == UPLOAD else None
        reply = _Reply(send, new_visitor=not visitor, uploads=uploads)
        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, reply)
            return
        try:
            await self.app(scope, _Body(receive, self.max_bytes), reply)
        except BodyTooLargeError:
            if not reply.begun:
                await _too_large(self.max_bytes)(scope, receive, reply)

    def _refusal(self, request: Request) -> PlainTextResponse | None:
        path, visitor = request.url.path, _visitor(request)
        if self.hosts and request.url.hostname not in self.hosts:
            return PlainTextResponse("not served under this name", 421)
        if int(request.headers.get("content-length", "0")) > self.max_bytes:
            return _too_large(self.max_bytes)
        if path.startswith(FILE):
            file = Path(path.removeprefix(FILE))
            return None if visitor and self.visits.owns(visitor, file) else PlainTextResponse("no such file", 404)
        if path != "/" and not path.startswith(ROUTES):
            return PlainTextResponse("no such page", 404)
        if request.method not in ("GET", "HEAD") and not visitor:
            return PlainTextResponse("load the page first, with cookies allowed", 403)
        return None


class _Reply:
    """Passes an answer on, with the headers of the page, and a token for a new visitor.

    `uploads` is told the paths in an answer to an upload, before the browser knows them.
    """

    def __init__(self, send: Send, *, new_visitor: bool, uploads: Callable[[list[Path]], None] | None) -> None:
        self._send = send
        self._new_visitor = new_visitor
        self._uploads = uploads
        self._content = b""
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self._add_headers(MutableHeaders(scope=message))
        elif self._uploads is not None:
            self._content += message.get("body", b"")
            if not message.get("more_body", False):
                self._uploads(_paths(self._content))
        await self._send(message)

    def _add_headers(self, headers: MutableHeaders) -> None:
        headers.update(HEADERS)
        headers.setdefault("cache-control", "no-store")
        if self._new_visitor:
            cookie = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; SameSite=Strict"
            headers.append("set-cookie", cookie)


class _Body:
    """Passes a request's body on as long as it is not too large, whatever its header says."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise BodyTooLargeError
        return message


def _visitor(request: Request) -> str:
    token = request.cookies.get(COOKIE, "")
    return token if TOKEN.fullmatch(token) else ""


def _paths(answer: bytes) -> list[Path]:
    """Where uploads are, from the answer to them: a list of paths, or a text that says what was wrong."""
    try:
        return [Path(path) for path in json.loads(answer)]
    except (ValueError, TypeError):
        return []


def _too_large(limit: int) -> PlainTextResponse:
    return PlainTextResponse(f"too large: at most {limit // 2**20} MB", 413)
