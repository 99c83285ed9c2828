"""Tokens for servers that let nobody in without one (control/SIGNALING.md, Tokens)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import jwt

LIFETIME_S: Final = 3600.0
GRANTS: Final = ("join", "publish", "subscribe")
MIN_SECRET_BYTES: Final = 32


class SecretError(Exception):
    """The file with the secret cannot be used; one line that does not hold it."""


def read_secret(file: Path) -> str:
    """Raises :class:`SecretError`."""
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise SecretError(f"the secret in {file} is shorter than {MIN_SECRET_BYTES} bytes")
    return secret


def issuer(secret: str, lifetime_s: float = LIFETIME_S) -> Callable[[str, str], str | None]:
    """Gives each participant a token of its own: for its room, or for any where it is to make one."""

    def issue(name: str, room: str) -> str:
        claims = {"sub": name, "name": name, "room": room or "*", "grants": list(GRANTS), "exp": int(time.time() + lifetime_s)}
        return jwt.encode(claims, secret, algorithm="HS256")

    return issue
