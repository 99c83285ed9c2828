"""What a shard keeps of a participant for the next control (``JoinRoom.session``): written and read here, opaque to the shard."""

from __future__ import annotations

import msgspec

from control.grants import Grants


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """``control``: the instance that wrote it; ``grants``: what the participant may do; ``tokens``: digests of the resume tokens that are
    good for it.

    Fields may be added with a default, so that a newer control reads what an older one wrote.
    """

    control: str
    grants: Grants
    tokens: tuple[bytes, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Kept] = msgspec.msgpack.Decoder(Kept)


def encode(kept: Kept) -> bytes:
    return _encoder.encode(kept)


def decode(session: bytes) -> Kept | None:
    """None where it is of a version that cannot be read."""
    try:
        return _decoder.decode(session)
    except msgspec.MsgspecError:
        return None
