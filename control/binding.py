"""What the start needs from the machine: TCP sockets, free UDP ports, file descriptors, a private folder, the host's addresses."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aioice.ice import get_host_addresses

from control.config import ControlConfig, is_loopback, shard_count, shards_advertise_themselves

log = structlog.get_logger("antiphon.binding")

UNIX_PATH_BYTES: Final = 107
"""Longest path of a Unix socket on Linux (sun_path, less its final zero)."""


class StartError(Exception):
    """Control cannot start; the text is one line for people, empty where a shard has already said it."""


def bind_http(host: str, port: int) -> list[socket.socket]:
    """Listening-to-be TCP sockets for ``host``, all on one port. Raises :class:`StartError`."""
    addresses = _addresses(host, port)
    for _ in range(16):
        sockets: list[socket.socket] = []
        chosen = port
        try:
            for family, address in addresses:
                bound = _bind_tcp(family, address, chosen, dual=host == "::")
                if bound is not None:
                    sockets.append(bound)
                    chosen = bound.getsockname()[1]
        except OSError as error:
            for bound in sockets:
                bound.close()
            if port == 0 and error.errno == errno.EADDRINUSE:
                continue  # the port that the system chose for one family is taken in the other
            raise StartError(_why_not_bound(host, port, error)) from None
        if sockets:
            return sockets
        break
    raise StartError(f"cannot listen on {host}: this machine has no such address; choose another one with --host")


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    if host == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartError(f"cannot listen on {host}: {error.strerror}; choose another address with --host") from None
    return [(family, str(address[0])) for family, _, _, _, address in found]


def _bind_tcp(family: socket.AddressFamily, address: str, port: int, *, dual: bool) -> socket.socket | None:
    """None if the machine does not have this address (``localhost`` without IPv6)."""
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        bound.bind((address, port))
        bound.listen(2048)  # here and not later: two processes may bind one port with SO_REUSEADDR, but not both listen
    except OSError as error:
        bound.close()
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise
    return bound


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"TCP port {port} on {host} is already in use; choose another one with --port"
    if error.errno == errno.EACCES:
        return f"TCP port {port} may not be opened by this user; choose one above 1023 with --port"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def raise_file_limit(needed: int) -> None:
    """Let this process and its shards have as many file descriptors as the system allows; say so if that is below ``needed``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.warning("too few file descriptors for the configured number of sockets", allowed=hard, needed=needed)


def udp_ports(config: ControlConfig) -> range:
    """The UDP ports of the local shards; none where the system chooses them. Raises :class:`StartError`."""
    count = shard_count(config) if config.udp_port else 0
    if config.udp_port + count - 1 > 65535:
        raise StartError(f"{count} shards from UDP port {config.udp_port} on go beyond 65535; choose a lower --udp-port")
    return range(config.udp_port, config.udp_port + count)


def busy_udp_ports(ports: Iterable[int], bind: list[str]) -> list[int]:
    """Those of ``ports`` that cannot be bound on ``bind`` (empty: everywhere) because somebody holds them."""
    return [port for port in ports if any(_is_udp_port_busy(host, port) for host in bind or ["0.0.0.0", "::"])]


def _is_udp_port_busy(host: str, port: int) -> bool:
    with contextlib.suppress(_NoFamily), _udp_socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


class _NoFamily(Exception):
    """The machine has no such address family."""


def _udp_socket(family: socket.AddressFamily) -> socket.socket:
    try:
        probe = socket.socket(family, socket.SOCK_DGRAM)
    except OSError:
        raise _NoFamily from None
    if family == socket.AF_INET6:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return probe


def runtime_path(config: ControlConfig) -> Path:
    """Where the private folder is, or would be."""
    user_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    if config.runtime_dir:
        return Path(config.runtime_dir)
    if user_dir and os.path.isdir(user_dir) and os.access(user_dir, os.W_OK):
        return Path(user_dir) / "antiphon"
    return Path(f"/tmp/antiphon-{os.getuid()}")


def runtime_dir(config: ControlConfig) -> Path:
    """The private folder of the ipc socket, made if need be. Raises :class:`StartError` if others can reach into it."""
    path = runtime_path(config)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise StartError(f"cannot make the folder {path}: {error.strerror}; choose another one with runtime_dir") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StartError(f"{path} must be a folder of this user with mode 0700; choose another one with runtime_dir")
    return path


def shard_endpoint(config: ControlConfig, http_port: int) -> str:
    """The ipc socket of local shards; its folder is that of :func:`runtime_path`, and not made here.

    Host and port in the name keep two controls of one user apart, and let the next one be found.
    """
    path = str(runtime_path(config) / f"control-{config.host}-{http_port}.sock")
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        raise StartError(f"{path} is too long for a socket's name; choose a shorter runtime_dir")
    return f"ipc://{path}"


class BoundFile:
    """The file of an ipc socket that this process has just bound; ZeroMQ leaves it where it is."""

    def __init__(self, endpoint: str) -> None:
        self._path = Path(endpoint.removeprefix("ipc://"))
        self._inode = self._path.stat().st_ino

    def remove(self) -> None:
        """Unless the next control has bound one of its own in its place."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


@dataclass(frozen=True, slots=True)
class ShardAddresses:
    """What local shards are told to bind and to put into SDP; empty leaves it to each shard (every address of the host)."""

    bind: list[str]
    advertise: list[str]


def shard_addresses(config: ControlConfig, environ: Mapping[str, str], file: Path | None) -> ShardAddresses:
    """Addresses of local shards.

    With control on loopback only, the one browser that can come runs on this machine. Browsers gather no loopback candidates, but
    their own host addresses reach those of the shard; loopback comes last, for clients that know nothing else. Shards that
    announce nothing but loopback bind nothing else.
    """
    if config.advertise:
        families = [":" in address for address in config.advertise]
        narrow = all(is_loopback(address) for address in config.advertise) and len(set(families)) == len(families)
        return ShardAddresses(config.advertise if narrow else [], config.advertise)
    if not is_loopback(config.host) or shards_advertise_themselves(environ, file):
        return ShardAddresses([], [])
    return ShardAddresses([], [*get_host_addresses(use_ipv4=True, use_ipv6=True), "127.0.0.1"])


def shard_command(config: ControlConfig, file: Path | None, addresses: ShardAddresses, endpoint: str, index: int) -> list[str]:
    """The command line of local shard ``index``. ``file``: the configuration file, of which it reads ``[shard]``."""
    udp_port = config.udp_port + index if config.udp_port else 0
    command = [sys.executable, "-m", "sfu", "--control", endpoint, "--shard-id", str(index), "--udp-port", str(udp_port)]
    if file is not None:
        command += ["--config", str(file)]
    if addresses.bind:
        command += ["--host", ",".join(addresses.bind)]
    if addresses.advertise:
        command += ["--advertise", ",".join(addresses.advertise)]
    return command
