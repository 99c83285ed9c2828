"""The ICE servers that clients are told, TURN with credentials that expire. Sans-IO: the secret and the time come in by argument.

A shard is ICE-lite on a public address, so most clients need none of this. Behind a firewall that lets no UDP out, a TURN server carries
their packets. It knows nothing of our users: it takes whoever shows a name and a password that were made with the secret which it
shares with us (``use-auth-secret`` of coturn, draft-uberti-behave-turn-rest-00).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final

from control import messages as m
from sfu.protocol import UserId

URL: Final = re.compile(r"(?:stuns?:[^\s?@/]+|turns?:[^\s?@/]+(?:\?transport=(?:udp|tcp))?)")
"""RFC 7064 and RFC 7065."""


def is_turn(url: str) -> bool:
    return url.startswith(("turn:", "turns:"))


class IceServers:
    """``urls``: each matches :data:`URL`; ``secret``: shared with the TURN servers, needed where there are any; ``ttl_s``: seconds for
    which credentials hold."""

    def __init__(self, urls: Iterable[str], secret: str, ttl_s: int) -> None:
        addresses = list(urls)
        self._stun = [url for url in addresses if not is_turn(url)]
        self._turn = [url for url in addresses if is_turn(url)]
        self._secret = secret
        self._ttl_s = ttl_s

    def given_to(self, user_id: UserId, unix_s: float) -> list[m.IceServer]:
        """For ``registered.ice_servers``. ``unix_s``: wall clock, seconds since 1970."""
        servers = [m.IceServer(urls=self._stun)] if self._stun else []
        if self._turn:
            username = f"{int(unix_s) + self._ttl_s}:{user_id}"
            servers.append(m.IceServer(urls=self._turn, username=username, credential=self._credential(username)))
        return servers

    def _credential(self, username: str) -> str:
        # SHA-1 is what TURN servers compute here, and an HMAC of it is still sound.
        return base64.b64encode(hmac.digest(self._secret.encode(), username.encode(), hashlib.sha1)).decode()
