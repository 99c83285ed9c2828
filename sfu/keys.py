"""The CURVE keys of a shard: by which control knows it, and by which it knows control (``antiphon keygen`` makes them)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq.auth

from sfu.config import ShardConfig
from sfu.errors import ShardError

_KEY_CHARS: Final = 40
"""Of a key in Z85 (RFC 32 of ZeroMQ)."""


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """All in Z85. ``control``: control's public key."""

    public: bytes
    secret: bytes = field(repr=False)
    control: bytes


def read_keys(config: ShardConfig) -> LinkKeys | None:
    """None where the connection to control needs none or has none. Raises :class:`ShardError` with one sentence."""
    if not config.key_file or not config.control.startswith("tcp://"):
        return None  # an ipc socket is guarded by the mode of its folder
    try:
        public, secret = zmq.auth.load_certificate(Path(config.key_file))
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "there is no such file, or it holds no CURVE key"
        raise ShardError(f"key_file {config.key_file} cannot be used: {problem}.") from None
    if secret is None or len(secret) != _KEY_CHARS:
        raise ShardError(f"key_file {config.key_file} holds no secret key: it is the file whose name ends in .key_secret.")
    return LinkKeys(public, secret, config.control_public_key.encode())
