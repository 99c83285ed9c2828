"""Which pages may open a signaling socket: those of the server itself and those that the operator allows.

A browser lets any page open a WebSocket to anywhere and says in ``Origin`` whose page it is (RFC 6455 10.2). What sends no ``Origin``
is no browser, and could send whatever it liked.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

PORTS: Final = {"http": "80", "https": "443"}


def is_allowed(origin: str | None, host: str, allowed: Collection[str]) -> bool:
    """Whether a page of ``origin`` may connect to this server, which the page calls ``host`` (its ``Host`` header).

    Schemes are not compared: behind a proxy that ends TLS the server cannot know its own.
    """
    if origin is None or "*" in allowed:
        return True
    origin = origin.lower()
    scheme, separator, address = origin.partition("://")
    if not separator or scheme not in PORTS:
        return False  # "null", of a sandboxed frame or a file
    return origin in allowed or _with_port(address, scheme) in (_with_port(host.lower(), "http"), _with_port(host.lower(), "https"))


def _with_port(address: str, scheme: str) -> str:
    return address if address.rpartition(":")[2].isdigit() else f"{address}:{PORTS[scheme]}"
