"""HTTP under ``/api``: who may ask, what is read, and what errors look like. Knows no endpoint; those are in control/admin.py.

Every request carries ``Authorization: Bearer TOKEN``. An answer is one JSON object; one that is not 2xx is
``{"error": {"code", "message"}}`` with a code of :data:`API_ERRORS`. control/openapi.py makes the document of all this from the
same table of endpoints that is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

log = structlog.get_logger("antiphon.api")

MAX_BODY_BYTES: Final = 64 * 1024
"""Longest request body that is read; the longest real one is an announcement."""

BODY_S: Final = 10.0
"""How long a request's body may take to come."""

API_ERRORS: Final[dict[str, tuple[int, str]]] = {
    "invalid_request": (400, "The body is not the JSON object that this endpoint takes, or a parameter is wrong."),
    "unauthorized": (401, "Send the admin token as the header 'Authorization: Bearer TOKEN'."),
    "not_found": (404, "There is nothing at this address; GET /api/openapi.json lists what there is."),
    "room_not_found": (404, "There is no such room."),
    "participant_not_found": (404, "Nobody of this id is in the room."),
    "shard_not_found": (404, "There is no such shard."),
    "too_many_rooms": (409, "The server has as many rooms as it takes."),
    "no_signing_key": (409, "This server makes no tokens: it has no key to sign them with."),
    "method_not_allowed": (405, "This address does not take this method."),
    "body_too_slow": (408, f"A body must be there within {BODY_S:g} s."),
    "body_too_large": (413, f"A body has at most {MAX_BODY_BYTES} bytes."),
    "internal_error": (500, "The server failed at this request; its log says how."),
    "shard_unavailable": (503, "The media server that this is about does not answer. Trying again later may help."),
}
"""Every ``code`` of an error, its HTTP status and what it means."""


class ApiError(Exception):
    """Ends a request with an error. ``code``: one of :data:`API_ERRORS`; ``message``: default is the sentence of the code."""

    def __init__(self, code: str, message: str | None = None) -> None:
        self.code = code
        self.status, usual = API_ERRORS[code]
        self.message = message or usual
        super().__init__(self.message)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """``code``: stable, for programs; ``message``: a sentence for people."""

    code: str
    message: str


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Body of every answer that is not 2xx."""

    error: Problem


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, checked. ``path``: parameters of the address; ``body``: of the endpoint's type, None where it has none; ``query``: every
    parameter that the endpoint has after the question mark."""

    path: Mapping[str, str]
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation. ``result``: type of the answer, None for an empty one (204); ``errors``: codes beside those that any may give;
    ``query``: parameters that must stand after the question mark, each with what it is."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    name: str
    summary: str
    handle: Callable[[Asked], Awaitable[Any]]
    result: Any = None
    body: type[msgspec.Struct] | None = None
    errors: tuple[str, ...] = ()
    created: bool = False
    query: Mapping[str, str] = field(default_factory=dict)


Guard = Callable[[str | None], str | None]
"""What is wrong with an ``Authorization`` header (None: it is missing), in a sentence; None if it may pass."""


def mount(endpoints: list[Endpoint], guard: Guard) -> Mount:
    """Everything under ``/api``. An address that does not exist is refused like any other without the token."""

    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        reason = guard(request.headers.get("authorization"))
        if reason is not None:
            return _refused(ApiError("unauthorized", reason))
        response = _refused(ApiError("not_found" if error.status_code == 404 else "method_not_allowed"))
        response.headers.update(error.headers or {})  # Allow, of a 405
        return response

    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path.removeprefix("/api"), {})[endpoint.method] = endpoint
    routes: list[BaseRoute] = [Route(path, _view(methods, guard), methods=list(methods)) for path, methods in by_path.items()]
    return Mount("/api", app=Starlette(routes=routes, exception_handlers={404: failed, 405: failed}))


def _view(methods: Mapping[str, Endpoint], guard: Guard) -> Callable[[Request], Awaitable[Response]]:
    async def view(request: Request) -> Response:
        endpoint = methods["GET" if request.method == "HEAD" else request.method]
        try:
            reason = guard(request.headers.get("authorization"))
            if reason is not None:
                raise ApiError("unauthorized", reason)
            return _answer(endpoint, await endpoint.handle(await _read(endpoint, request)))
        except ApiError as error:
            return _refused(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception:
            log.exception("admin request failed", endpoint=endpoint.name)
            return _refused(ApiError("internal_error"))

    return view


async def _read(endpoint: Endpoint, request: Request) -> Asked:
    """The body is read to its bound and no further, also where the endpoint takes none."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise ApiError("body_too_large")
    except TimeoutError:
        raise ApiError("body_too_slow") from None
    for name in endpoint.query:
        if not request.query_params.get(name):
            raise ApiError("invalid_request", f"The parameter {name} is missing: {endpoint.query[name]}.")
    if endpoint.body is None:
        return Asked(request.path_params, query={name: request.query_params[name] for name in endpoint.query})
    try:
        return Asked(request.path_params, msgspec.json.decode(bytes(body) or b"{}", type=endpoint.body))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ApiError("invalid_request", f"The body does not fit: {str(error)[:300]}.") from None


def _answer(endpoint: Endpoint, result: Any) -> Response:
    if endpoint.result is None:
        return Response(status_code=204)
    return _json(msgspec.json.encode(result), 201 if endpoint.created else 200)


def _refused(error: ApiError) -> Response:
    response = _json(msgspec.json.encode(Failure(error=Problem(code=error.code, message=error.message))), error.status)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="antiphon admin"'  # RFC 6750 3
    if error.code in ("body_too_large", "body_too_slow"):
        response.headers["Connection"] = "close"  # the rest of the body is not read
    return response


def _json(body: bytes, status: int) -> Response:
    return Response(body, status, media_type="application/json", headers={"Cache-Control": "no-store"})
