"""Which address a client comes from, as far as it can be known: the key of all limits per address.

Behind a reverse proxy every connection comes from the proxy, which tells of the client in ``X-Forwarded-For``. Anyone can send that
header, so it is read only where the operator says that a proxy stands, and only as far back as proxies vouch for it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The networks that ``trusted_proxies`` names. Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def client_key(peer: str, forwarded_for: Sequence[str], proxies: Sequence[Network]) -> str:
    """The address that limits count: an IPv4 address, or the /64 of an IPv6 address (one customer has at least that much).

    ``peer``: of the TCP connection; ``forwarded_for``: values of the ``X-Forwarded-For`` headers, in order.
    """
    address = _parsed(peer)
    if address is None:
        return peer  # no IP socket, or a test's
    chain = [part for value in forwarded_for for part in value.split(",")]
    while chain and _is_in(address, proxies):
        before = _parsed(chain.pop().strip())
        if before is None:
            break  # "unknown", or nonsense: the proxy itself is all that is known
        address = before
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address.packed[:8] + bytes(8), 64)))
    return str(address)


def is_proxy(peer: str, proxies: Sequence[Network]) -> bool:
    address = _parsed(peer)
    return address is not None and _is_in(address, proxies)


def _parsed(text: str) -> _Address | None:
    """An address, also with a port behind it, in brackets, or with a zone."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_in(address: _Address, proxies: Sequence[Network]) -> bool:
    return any(address in network for network in proxies)
