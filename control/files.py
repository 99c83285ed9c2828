"""The files that options name: read once before anything starts, so that what is wrong with them is one line."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from control import dev_certificate
from control.binding import StartError, runtime_dir
from control.config import ControlConfig
from control.curve import ServerKeys, read_server_keys
from control.ice_servers import IceServers
from control.tls import Tls


@dataclass(frozen=True, slots=True)
class Files:
    """``tls``: None for plain HTTP. ``shard_keys``: None where shards of other hosts prove nothing, or there are none."""

    tls: Tls | None
    ice_servers: IceServers
    shard_keys: ServerKeys | None


def read_files(config: ControlConfig, now: datetime.datetime | None) -> Files:
    """Read them. ``now``: None makes no certificate for ``dev_tls``. Raises :class:`StartError`."""
    secret = config.turn_secret.get_secret_value()
    if config.turn_secret_file:
        secret = _read_secret(config.turn_secret_file, "turn_secret_file")
    keys = read_server_keys(config.shard_key_file, config.shard_public_keys) if config.shard_key_file else None
    return Files(_read_tls(config, now), IceServers(config.ice_servers, secret, config.turn_ttl_s), keys)


def _read_tls(config: ControlConfig, now: datetime.datetime | None) -> Tls | None:
    if config.tls_certificate:
        return Tls(Path(config.tls_certificate), Path(config.tls_key))
    if not config.dev_tls or now is None:
        return None
    folder = runtime_dir(config)
    try:
        pair = dev_certificate.kept(folder, dev_certificate.machine_names(config.host, *config.advertise), now)
    except OSError as error:
        raise StartError(f"cannot keep a certificate in {folder}: {error.strerror}; choose another runtime_dir") from None
    return Tls(*pair)


def _read_secret(file: str, option: str) -> str:
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{option}: {file} cannot be read: {getattr(error, 'strerror', 'it is not text')}") from None
    if not secret:
        raise StartError(f"{option}: {file} is empty")
    return secret
