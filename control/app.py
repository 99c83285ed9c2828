"""The HTTP side: the page and the client library as they are, ``/ws``, ``/api``, ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import mimetypes
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from control import __version__
from control.clients import Network, client_key
from control.dispatch import Dispatcher
from control.origins import is_allowed
from control.processes import LocalShards
from control.shards import Shards
from control.websocket import ClientSocket, SocketBounds

WEB: Final = Path(__file__).resolve().parent.parent / "web"
"""The page and the library; served as they are."""

HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",  # what is not named below is not loaded, and nothing comes from another host
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",  # /ws as well
            "manifest-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    ),
    "Permissions-Policy": "microphone=(self), camera=(self), display-capture=(self), geolocation=()",
    "Referrer-Policy": "no-referrer",  # a page's address holds the room's id
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # files are checked for change (ETag) each time: client and server are of one version
}
TYPES: Final = {".js": "text/javascript", ".mjs": "text/javascript", ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml"}
"""Told to :mod:`mimetypes`: what the machine's own table says of them differs, and browsers refuse modules of another type."""


class SecurityHeaders:
    """ASGI middleware that puts :data:`HEADERS` on every HTTP response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def build_app(
    dispatcher: Dispatcher,
    shards: Shards,
    local: LocalShards,
    registry: CollectorRegistry,
    bounds: SocketBounds,
    api: Mount,
    origins: Collection[str] = (),
    proxies: Sequence[Network] = (),
    web: Path = WEB,
) -> Starlette:
    """The application. ``api``: everything under ``/api``; ``origins``: whose pages may connect besides its own;
    ``proxies``: those whose ``X-Forwarded-For`` is believed; ``web``: folder with ``app/``, ``client/`` and ``example.html``."""
    for suffix, mime in TYPES.items():
        mimetypes.add_type(mime, suffix)

    async def page(request: Request) -> Response:
        return FileResponse(web / "app" / "index.html")

    async def service_worker(request: Request) -> Response:
        """At the root, because a service worker sees only what is below its own folder."""
        return FileResponse(web / "app" / "offline" / "sw.js")

    async def example(request: Request) -> Response:
        return FileResponse(web / "example.html")

    async def healthz(request: Request) -> Response:
        """Alive; how many shards answer. 200 as long as control runs."""
        total, up = len({*local.shard_ids, *shards.links}), len(shards.up)
        status = "ok" if up == total and up else "degraded"
        return JSONResponse({"status": status, "version": __version__, "shards": {"total": total, "up": up}})

    async def readyz(request: Request) -> Response:
        """200 while there is a shard for the next room, 503 otherwise: for a load balancer."""
        ready = dispatcher.signaling.fleet.choose(dispatcher.now()).shard is not None
        return JSONResponse({"status": "ready" if ready else "no shard takes rooms"}, 200 if ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def websocket(socket: WebSocket) -> None:
        if not is_allowed(socket.headers.get("origin"), socket.headers.get("host", ""), origins):
            dispatcher.foreign += 1
            await socket.close()  # before it is accepted: HTTP 403
            return
        peer = socket.client.host if socket.client is not None else ""
        address = client_key(peer, socket.headers.getlist("x-forwarded-for"), proxies)
        await ClientSocket(socket, dispatcher, bounds, address).run()

    routes = [
        Route("/", page),
        Route("/sw.js", service_worker),
        Route("/example.html", example),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        WebSocketRoute("/ws", websocket),
        api,
        Mount("/app", StaticFiles(directory=web / "app", check_dir=False)),
        Mount("/client", StaticFiles(directory=web / "client", check_dir=False)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(SecurityHeaders)])
