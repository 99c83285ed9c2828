"""To which addresses a run may send: those it was given, and no others.

Where media go is said by the server in its offers, so a server could aim a load test at a third party. A run sends media only to the
hosts of its target URLs and to the networks named with ``--media``; for targets on loopback that is any address of this machine.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Reach:
    """``hosts``: names or addresses of the targets; ``networks``: what else is allowed, as ``192.0.2.0/24`` or one address.

    Raises :class:`ValueError` for a network that is none, :class:`OSError` where a name does not resolve.
    """

    def __init__(self, hosts: Iterable[str] = ("127.0.0.1",), networks: Iterable[str] = ()) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(network, strict=False) for network in networks]
        self._local = False
        for host in hosts:
            for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM):
                found = ipaddress.ip_address(str(address[0]).partition("%")[0])
                self._local = self._local or found.is_loopback
                self._networks.append(ipaddress.ip_network(found))

    def allows(self, host: str) -> bool:
        """Whether media may go to the address ``host``."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks) or (self._local and is_of_this_machine(address))


def is_of_this_machine(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a socket can be bound to it. What is sent there does not leave the machine."""
    if address.is_loopback:
        return True
    if address.is_unspecified or address.is_multicast:
        return False
    try:
        with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
