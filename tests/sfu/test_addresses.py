from __future__ import annotations

import ipaddress
import socket

import pytest

from sfu.addresses import advertised, host_addresses, open_sockets
from sfu.errors import ShardError


def close(sockets: list[socket.socket]) -> None:
    for opened in sockets:
        opened.close()


def test_both_families_share_one_port() -> None:
    sockets = open_sockets((), 0, 0)
    try:
        assert len({opened.getsockname()[1] for opened in sockets}) == 1
        assert sockets[0].family == socket.AF_INET
        assert not any(opened.getblocking() for opened in sockets)
    finally:
        close(sockets)


def test_port_in_use_is_one_sentence() -> None:
    sockets = open_sockets(("127.0.0.1",), 0, 0)
    port = sockets[0].getsockname()[1]
    try:
        with pytest.raises(ShardError, match=rf"^UDP port {port} is in use on 127\.0\.0\.1: .*\.$"):
            open_sockets(("127.0.0.1",), port, 0)
    finally:
        close(sockets)


def test_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(ShardError, match=r"cannot be opened on 192\.0\.2\.250"):
        open_sockets(("192.0.2.250",), 0, 0)


def test_told_addresses_are_those_asked_for() -> None:
    assert advertised(("203.0.113.5",), []) == ("203.0.113.5",)


def test_loopback_shard_tells_loopback() -> None:
    sockets = open_sockets(("127.0.0.1",), 0, 0)
    try:
        assert advertised((), sockets) == ("127.0.0.1",)
    finally:
        close(sockets)


@pytest.mark.parametrize("version", [4, 6])
def test_machines_addresses_are_reachable_ones(version: int) -> None:
    found = [ipaddress.ip_address(address) for address in host_addresses(version)]
    assert all(address.version == version and not address.is_link_local for address in found)
    assert all(address.is_loopback for address in found) or not any(address.is_loopback for address in found)
