"""SDP in, parameters out, and back (RFC 8829, RFC 8866): pure functions, no state.

The shard always offers and the peer always answers. An offer is a list of sections on one BUNDLE transport, so that a connection with
one section and one with a hundred are made by the same code. What comes back is hostile until :func:`read_answer` has
returned; whatever it holds, nothing but :class:`~sfu.errors.PeerError` with the code ``invalid_sdp`` leaves that function.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription

from sfu.errors import PeerError
from sfu.transport.dtls import Fingerprint
from sfu.transport.webrtc import RemoteParameters

Direction = Literal["sendonly", "recvonly", "inactive"]

MAX_SDP_BYTES: Final = 32 * 1024
"""Longest answer that is read. A browser's answer to one section takes about 1 KiB, each further one about 700 bytes."""
_MAX_LINES: Final = 200
_MAX_LINES_PER_SECTION: Final = 100
"""Lines of an answer: the parser's effort grows with their square in places."""
MAX_SSRCS: Final = 8
"""SSRCs that a section may announce: three encodings with retransmission and some to spare."""

AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"  # RFC 6464
MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"  # RFC 8843 15
EXTENSIONS: Final = {1: AUDIO_LEVEL, 4: MID}
"""Header extension ids that every section offers."""

_DIGEST_BYTES: Final = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_ICE_CHARS: Final = re.compile(r"[A-Za-z0-9+/]+")
_HEX_PAIRS: Final = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2})+")
_ANSWERS: Final[dict[str, frozenset[str]]] = {
    "recvonly": frozenset({"sendonly", "inactive"}),
    "sendonly": frozenset({"recvonly", "inactive"}),
    "inactive": frozenset({"inactive"}),
}
"""RFC 3264 6.1: which directions may answer which."""


class Codec(NamedTuple):
    """``fmtp``: the format parameters as written after the payload type."""

    payload_type: int
    name: str
    clock_rate: int
    channels: int
    fmtp: str


OPUS: Final = Codec(111, "opus", 48000, 2, "minptime=10;useinbandfec=1;usedtx=1")  # RFC 7587 7.1


class Source(NamedTuple):
    """What a sendonly section announces: the SSRC of the outgoing copy and the names a browser shows it under."""

    ssrc: int
    cname: str
    stream_id: str
    track_id: str


class Section(NamedTuple):
    """One media section of an offer, seen from the shard. ``source`` is set where the direction is sendonly."""

    mid: str
    kind: Literal["audio"]
    direction: Direction
    codec: Codec = OPUS
    source: Source | None = None


class LocalParameters(NamedTuple):
    """The shard's side of one transport, as an offer states it."""

    ufrag: str
    pwd: str
    fingerprint: Fingerprint
    addresses: tuple[str, ...]
    port: int


class AnsweredSection(NamedTuple):
    """What a peer made of one section.

    ``direction``: the peer's; ``accepted`` is False for a rejected section (port 0), whose other fields mean nothing. Extension ids are
    0 where the peer does not use them. ``ssrcs``: those the peer announced, perhaps none.
    """

    mid: str
    accepted: bool
    direction: str = "inactive"
    payload_type: int = 0
    audio_level_extension: int = 0
    mid_extension: int = 0
    ssrcs: tuple[int, ...] = ()


class Answer(NamedTuple):
    remote: RemoteParameters
    sections: tuple[AnsweredSection, ...]


# ------------------------------------------------------------------------------------------------------------ offers


def candidates(local: LocalParameters) -> list[str]:
    """The shard's host candidates, as browsers write them (RFC 8839 5.1), the first the most preferred."""
    lines = []
    for number, address in enumerate(local.addresses):
        priority = (126 << 24) | ((65535 - number) << 8) | 255  # RFC 8445 5.1.2.1, component 1
        lines.append(f"candidate:{number + 1} 1 udp {priority} {address} {local.port} typ host")
    return lines


def write_offer(local: LocalParameters, sections: Sequence[Section], session_id: int, revision: int = 1) -> str:
    """The offer for ``sections``, all on one transport. ``session_id``: below 2^62 (RFC 8829 5.2.1)."""
    lines = [
        "v=0",
        f"o=antiphon {session_id} {revision} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "a=group:BUNDLE " + " ".join(section.mid for section in sections),
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS *",
    ]
    for section in sections:
        lines += _write_section(local, section)
    return "\r\n".join(lines) + "\r\n"


def _write_section(local: LocalParameters, section: Section) -> list[str]:
    codec = section.codec
    host = local.addresses[0]
    family = f"IP{ipaddress.ip_address(host).version}"
    lines = [
        f"m={section.kind} {local.port} UDP/TLS/RTP/SAVPF {codec.payload_type}",
        f"c=IN {family} {host}",
        f"a=rtcp:{local.port} IN {family} {host}",
        f"a=mid:{section.mid}",
        f"a={section.direction}",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}/{codec.channels}",
        f"a=fmtp:{codec.payload_type} {codec.fmtp}",
        *(f"a=extmap:{number} {uri}" for number, uri in EXTENSIONS.items()),
    ]
    if section.source is not None and section.direction == "sendonly":
        source = section.source
        # Lost packets are sent again on the same SSRC (RFC 4585 6.2.1); Chromium asks for audio too, where this is offered.
        lines += [f"a=rtcp-fb:{codec.payload_type} nack"]
        lines += [f"a=msid:{source.stream_id} {source.track_id}", f"a=ssrc:{source.ssrc} cname:{source.cname}"]
    return [
        *lines,
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.pwd}",
        f"a=fingerprint:{local.fingerprint.algorithm} {local.fingerprint.value}",
        "a=setup:actpass",
        *("a=" + candidate for candidate in candidates(local)),
        "a=end-of-candidates",
    ]


# ----------------------------------------------------------------------------------------------------------- answers


def read_answer(sdp: str, offered: Sequence[Section]) -> Answer:
    """What ``sdp`` answers to ``offered``. Raises :class:`PeerError` ("invalid_sdp", a sentence that says what is wrong)."""
    description = _parse(sdp, len(offered))
    if len(description.media) != len(offered):
        raise _invalid(f"the answer has {len(description.media)} media sections, the offer {len(offered)}")
    sections = tuple(_read_section(media, section) for media, section in zip(description.media, offered, strict=True))
    used = [media for media, section in zip(description.media, sections, strict=True) if section.accepted]
    if not used:
        raise _invalid("every media section is rejected")
    remote = _read_transport(used[0])
    # RFC 9143 7.3.3 and 9.4: sections of one BUNDLE group share a transport, so all have to say the same about it.
    if any(_read_transport(media) != remote for media in used[1:]):
        raise _invalid("bundled media sections differ in ICE or DTLS parameters")
    if len(used) > 1:
        _check_bundle(description, [section.mid for section in sections if section.accepted])
    return Answer(remote, sections)


def _parse(sdp: str, sections: int) -> SessionDescription:
    if len(sdp) > MAX_SDP_BYTES or len(sdp.encode("utf-8", "surrogatepass")) > MAX_SDP_BYTES:
        raise _invalid(f"it is longer than {MAX_SDP_BYTES} bytes")
    if len(sdp.splitlines()) > _MAX_LINES + _MAX_LINES_PER_SECTION * sections:
        raise _invalid("it has too many lines")
    if not sdp.startswith("v=0"):
        raise _invalid("it does not start with v=0")
    try:
        return SessionDescription.parse(sdp)
    except Exception as error:
        # The parser lets through whatever its parts raise on bad input: KeyError on an unknown setup role, StopIteration on
        # fmtp without rtpmap, AssertionError, AttributeError on a missing value, ... There is no narrower base class.
        raise _invalid("it cannot be parsed") from error


def _read_section(media: MediaDescription, offered: Section) -> AnsweredSection:
    if media.kind != offered.kind:
        raise _invalid(f"section {offered.mid} should be {offered.kind}")
    if media.port == 0:
        return AnsweredSection(offered.mid, accepted=False)  # RFC 3264 6: rejected
    if media.port > 65535 or media.profile != "UDP/TLS/RTP/SAVPF":
        raise _invalid(f"section {offered.mid} has an impossible port or profile")
    if media.rtp.muxId != offered.mid:
        raise _invalid(f"section {offered.mid} has another a=mid")
    direction = media.direction or "sendrecv"  # RFC 8866 6.7
    if direction not in _ANSWERS[offered.direction]:
        raise _invalid(f"section {offered.mid} is {direction}, which does not answer {offered.direction}")
    if not media.rtcp_mux:
        raise _invalid(f"section {offered.mid} lacks a=rtcp-mux")
    audio_level, mid = _read_extensions(media, offered)
    return AnsweredSection(offered.mid, True, direction, _read_payload_type(media, offered), audio_level, mid, _read_ssrcs(media, offered))


def _read_payload_type(media: MediaDescription, offered: Section) -> int:
    codec = offered.codec
    if list(media.fmt) != [codec.payload_type]:
        raise _invalid(f"section {offered.mid} should have payload type {codec.payload_type} and no other")
    mapped = [one for one in media.rtp.codecs if one.payloadType == codec.payload_type]
    if len(mapped) != 1 or not _is(mapped[0], codec):
        raise _invalid(f"payload type {codec.payload_type} should be {codec.name}/{codec.clock_rate}/{codec.channels}")
    return codec.payload_type


def _is(answered: RTCRtpCodecParameters, codec: Codec) -> bool:
    return (answered.name.lower(), answered.clockRate, answered.channels) == (codec.name, codec.clock_rate, codec.channels)


def _read_extensions(media: MediaDescription, offered: Section) -> tuple[int, int]:
    used: dict[str, int] = {}
    for extension in media.rtp.headerExtensions:
        # RFC 8285 6: an answer may leave extensions out but neither add any nor change ids.
        if EXTENSIONS.get(extension.id) != extension.uri:
            raise _invalid(f"section {offered.mid} has a header extension that was not offered")
        used[extension.uri] = extension.id
    return used.get(AUDIO_LEVEL, 0), used.get(MID, 0)


def _read_ssrcs(media: MediaDescription, offered: Section) -> tuple[int, ...]:
    ssrcs = tuple(dict.fromkeys(description.ssrc for description in media.ssrc))
    if len(ssrcs) > MAX_SSRCS or any(not 0 <= ssrc < 1 << 32 for ssrc in ssrcs):
        raise _invalid(f"section {offered.mid} has an impossible a=ssrc")
    return ssrcs


def _read_transport(media: MediaDescription) -> RemoteParameters:
    ufrag, pwd = (media.ice.usernameFragment, media.ice.password) if media.ice is not None else (None, None)
    # RFC 8839 5.4: 4 to 256 and 22 to 256 ice-chars.
    if ufrag is None or not 4 <= len(ufrag) <= 256 or _ICE_CHARS.fullmatch(ufrag) is None:
        raise _invalid("a=ice-ufrag is missing or malformed")
    if pwd is None or not 22 <= len(pwd) <= 256 or _ICE_CHARS.fullmatch(pwd) is None:
        raise _invalid("a=ice-pwd is missing or malformed")
    if media.dtls is None or media.dtls.role != "client":
        raise _invalid("a=setup should be active")  # the shard is the passive side
    return RemoteParameters(ufrag, pwd, _read_fingerprints(media))


def _read_fingerprints(media: MediaDescription) -> tuple[Fingerprint, ...]:
    known = []
    for fingerprint in media.dtls.fingerprints if media.dtls is not None else []:
        algorithm, value = fingerprint.algorithm.lower(), fingerprint.value.upper()
        length = _DIGEST_BYTES.get(algorithm)
        if length is None:
            continue  # RFC 8122 5: others may be there beside one that we know
        if len(value) != 3 * length - 1 or _HEX_PAIRS.fullmatch(value) is None:
            raise _invalid(f"the {algorithm} fingerprint is malformed")
        known.append(Fingerprint(algorithm, value))
    if not known:
        raise _invalid("there is no sha-256, sha-384 or sha-512 fingerprint")
    return tuple(dict.fromkeys(known))


def _check_bundle(description: SessionDescription, mids: list[str]) -> None:
    bundled = {str(item) for group in description.group if group.semantic == "BUNDLE" for item in group.items}
    if not bundled.issuperset(mids):
        raise _invalid("all accepted media sections should be in one BUNDLE group")


def _invalid(reason: str) -> PeerError:
    return PeerError("invalid_sdp", f"The SDP answer is not usable: {reason}.")
