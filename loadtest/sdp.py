"""The server's offer read, and a light participant's answer written (RFC 8829)."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from aiortc.sdp import MediaDescription, SessionDescription

LEVEL_URI: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
MID_URI: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"


class OfferError(Exception):
    """The server's offer cannot be used."""


class Section(NamedTuple):
    """One media section. ``direction``: the server's. Extension ids are 0 where they are not offered. ``rejected``: not to be used."""

    mid: str
    direction: str
    payload_type: int
    level_id: int
    mid_id: int
    fmtp: str
    rejected: bool


class Offer(NamedTuple):
    """``candidates``: addresses, the most preferred first. ``fingerprints``: (algorithm, value)."""

    ufrag: str
    pwd: str
    fingerprints: list[tuple[str, str]]
    candidates: list[tuple[str, int]]
    sections: list[Section]


def read_offer(sdp: str) -> Offer:
    """Raises :class:`OfferError`."""
    try:
        media = SessionDescription.parse(sdp).media
        first = next(section for section in media if section.port)
        sections = [_section(section) for section in media]
        candidates = sorted(first.ice_candidates, key=lambda candidate: -candidate.priority)
    except Exception as error:  # the parser lets through whatever its parts raise
        raise OfferError("the server's offer cannot be read") from error
    ice, dtls = first.ice, first.dtls
    if ice is None or dtls is None or not (ice.usernameFragment and ice.password and dtls.fingerprints and candidates):
        raise OfferError("the server's offer lacks ICE or DTLS parameters")
    fingerprints = [(f.algorithm, f.value) for f in dtls.fingerprints]
    return Offer(ice.usernameFragment, ice.password, fingerprints, [(c.ip, c.port) for c in candidates], sections)


def _section(media: MediaDescription) -> Section:
    opus = next(codec for codec in media.rtp.codecs if codec.mimeType.lower() == "audio/opus") if media.kind == "audio" else None
    ids = {extension.uri: extension.id for extension in media.rtp.headerExtensions}
    fmtp = "minptime=10;useinbandfec=1;usedtx=1"
    payload_type = opus.payloadType if opus is not None and opus.payloadType is not None else 0
    return Section(
        media.rtp.muxId, media.direction or "sendrecv", payload_type, ids.get(LEVEL_URI, 0), ids.get(MID_URI, 0), fmtp, opus is None
    )


def write_answer(offer: Offer, *, ufrag: str, pwd: str, fingerprint: str, ssrc: int | None) -> str:
    """``ssrc``: of what is sent in the sections that receive; None where nothing is sent."""
    mids = [section.mid for section in offer.sections if not section.rejected]
    lines = ["v=0", f"o=- {random.getrandbits(62)} 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE " + " ".join(mids)]
    lines += ["a=msid-semantic: WMS *"]
    for section in offer.sections:
        lines += _answer_section(section, ufrag, pwd, fingerprint, ssrc)
    return "\r\n".join(lines) + "\r\n"


def _answer_section(section: Section, ufrag: str, pwd: str, fingerprint: str, ssrc: int | None) -> list[str]:
    if section.rejected:
        return ["m=audio 0 UDP/TLS/RTP/SAVPF 0", "c=IN IP4 0.0.0.0", f"a=mid:{section.mid}", "a=inactive"]
    direction = {"sendonly": "recvonly", "recvonly": "sendonly" if ssrc is not None else "inactive"}.get(section.direction, "inactive")
    lines = [
        f"m=audio 9 UDP/TLS/RTP/SAVPF {section.payload_type}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        f"a={direction}",
        "a=rtcp-mux",
        f"a=rtpmap:{section.payload_type} opus/48000/2",
        f"a=fmtp:{section.payload_type} {section.fmtp}",
    ]
    lines += [f"a=extmap:{number} {uri}" for number, uri in ((section.level_id, LEVEL_URI), (section.mid_id, MID_URI)) if number]
    if direction == "sendonly":
        lines += ["a=msid:loadtest voice", f"a=ssrc:{ssrc} cname:loadtest"]
    return [*lines, f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}", f"a=fingerprint:sha-256 {fingerprint}", "a=setup:active"]
