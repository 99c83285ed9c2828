"""A warning where browsers elsewhere can open the page but cannot send media: shards announce no address that is reached from afar."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

import structlog

from sfu.protocol import Hello

log = structlog.get_logger("antiphon.reachability")

NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8",  # loopback
        "::1/128",
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # RFC 6598: between a provider and its customers (CGNAT)
        "169.254.0.0/16",  # RFC 3927: link-local
        "fe80::/10",  # RFC 4291: link-local
        "fc00::/7",  # RFC 4193: unique local
    )
)


def is_public(address: str) -> bool:
    """False for an address that means another machine, or none, outside this network."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return not any(parsed in network for network in NOT_PUBLIC)


class Reachability:
    """Warns once of each shard process."""

    def __init__(self) -> None:
        self._checked: set[str] = set()

    def check(self, shards: Iterable[Hello]) -> None:
        for hello in shards:
            if hello.instance in self._checked:
                continue
            self._checked.add(hello.instance)
            if not any(is_public(address) for address in hello.addresses):
                log.warning(
                    "only private addresses are announced for media: browsers outside this network will hear nothing; "
                    "name a public one with --advertise",
                    shard=hello.shard_id,
                    addresses=hello.addresses,
                )
