"""Which address a client is counted under, with proxies and with people who only say that they are one."""

from __future__ import annotations

import pytest

from control.clients import client_key, networks

PROXIES = networks(["10.0.0.0/8", "2001:db8:1::/48"])
CASES = [
    ("192.0.2.1", [], "192.0.2.1"),
    ("::ffff:192.0.2.1", [], "192.0.2.1"),
    ("2001:db8:7:8:1:2:3:4", [], "2001:db8:7:8::/64"),
    ("fe80::1%eth0", [], "fe80::/64"),
    # Not a proxy: what it says of others is not heard.
    ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
    # A proxy, and what it saw.
    ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
    ("10.0.0.1", [], "10.0.0.1"),
    # The client wrote the first entries itself: only what a proxy has appended counts.
    ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
    ("10.0.0.1", ["10.9.9.9, 198.51.100.7"], "198.51.100.7"),
    ("10.0.0.1", ["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
    ("10.0.0.1", ["10.0.0.3,10.0.0.2"], "10.0.0.3"),
    # Ports, brackets and nonsense.
    ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
    ("10.0.0.1", ["[2001:db8:7:8::1]:4711"], "2001:db8:7:8::/64"),
    ("2001:db8:1::1", ["2001:db8:7:8::1"], "2001:db8:7:8::/64"),
    ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
    ("10.0.0.1", ["", ",", "x" * 1000], "10.0.0.1"),
    ("", ["198.51.100.7"], ""),
]


@pytest.mark.parametrize(("peer", "forwarded", "key"), CASES)
def test_the_address_of_a_client(peer: str, forwarded: list[str], key: str) -> None:
    assert client_key(peer, forwarded, PROXIES) == key
