"""What the network of the machine that runs the tests can do."""

from __future__ import annotations

import socket


def ipv6_works() -> bool:
    """Whether ::1 can be bound. ``socket.has_ipv6`` says only how Python was compiled."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
