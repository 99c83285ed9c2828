"""Which UDP sockets a shard opens and which addresses it tells browsers."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

import ifaddr
import structlog

from sfu.errors import ShardError

log = structlog.get_logger("sfu.addresses")

_ATTEMPTS: Final = 20
"""Tries to find a port that is free in both families, where any will do."""


def open_sockets(hosts: tuple[str, ...], port: int, buffer_bytes: int) -> list[socket.socket]:
    """One non-blocking UDP socket per family, all on the same port. No ``hosts``: every address of both families.

    A machine without IPv6 gets the IPv4 socket alone, which is logged. Raises :class:`ShardError` with one sentence.
    """
    wanted = hosts or ("0.0.0.0", "::")
    for attempt in range(_ATTEMPTS):
        sockets: list[socket.socket] = []
        try:
            for host in wanted:
                number = sockets[0].getsockname()[1] if sockets else port
                bound = _open(host, number, buffer_bytes, optional=bool(sockets) and not hosts)
                if bound is not None:
                    sockets.append(bound)
        except OSError as error:
            for opened in sockets:
                opened.close()
            if error.errno == errno.EADDRINUSE and port == 0 and attempt < _ATTEMPTS - 1:
                continue  # the port was free in the first family only
            raise ShardError(_sentence(error, wanted, port)) from error
        return sockets
    raise AssertionError("unreachable")


def _open(host: str, port: int, buffer_bytes: int, *, optional: bool) -> socket.socket | None:
    family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    opened: socket.socket | None = None
    try:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            # Unconnected sends over a dual-stack socket cost half as much again for IPv4.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if buffer_bytes:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        opened.setblocking(False)
        opened.bind((host, port))
    except OSError as error:
        if opened is not None:
            opened.close()
        if optional and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT):
            log.warning("no IPv6 on this machine: media over IPv4 only")
            return None
        raise
    return opened


def _sentence(error: OSError, hosts: tuple[str, ...], port: int) -> str:
    where = " and ".join(f"{host}" for host in hosts)
    if error.errno == errno.EADDRINUSE:
        return f"UDP port {port} is in use on {where}: choose another one with --udp-port, or 0 for any."
    return f"UDP port {port} cannot be opened on {where}: {error.strerror}."


def advertised(advertise: tuple[str, ...], sockets: Iterable[socket.socket]) -> tuple[str, ...]:
    """The addresses for SDP, those of IPv4 first: ``advertise`` where given, else what the sockets are bound to, else every address
    of the machine in their families. Raises :class:`ShardError` where none is left."""
    if advertise:
        return advertise
    bound = [(opened.family, str(opened.getsockname()[0])) for opened in sockets]
    found: list[str] = []
    for family, host in bound:
        version = 6 if family == socket.AF_INET6 else 4
        found += host_addresses(version) if ipaddress.ip_address(host).is_unspecified else [host]
    if not found:
        raise ShardError("This machine has no address to tell browsers: name one with --advertise.")
    return tuple(dict.fromkeys(found))


def host_addresses(version: int) -> list[str]:
    """Every address of the machine in one family, without link-local ones; loopback only if there is nothing else."""
    addresses = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            if address.version == version and not address.is_link_local and not address.is_multicast:
                addresses.append(address)
    reachable = [address for address in addresses if not address.is_loopback]
    return [str(address) for address in reachable or addresses]
