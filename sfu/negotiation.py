"""SDP in, parameters out, and back (RFC 8829, RFC 8866): pure functions, no state.

The shard always offers and the peer always answers. An offer is a list of sections on one BUNDLE transport, so that a connection with
one section and one with a hundred are made by the same code. What comes back is hostile until :func:`read_answer` has
returned; whatever it holds, nothing but :class:`~sfu.errors.PeerError` with the code ``invalid_sdp`` leaves that function.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription

from sfu.errors import PeerError
from sfu.transport.dtls import Fingerprint
from sfu.transport.webrtc import RemoteParameters

Direction = Literal["sendonly", "recvonly", "inactive"]

MAX_SDP_BYTES: Final = 32 * 1024
"""Longest answer to one section that is read. A browser's takes about 1 KiB."""
_MAX_FURTHER_SDP_BYTES: Final = 4 * 1024
"""How much longer it may be for each further section, for which a browser takes 500 to 900 bytes."""
_MAX_LINES: Final = 200
_MAX_LINES_PER_SECTION: Final = 100
"""Lines of an answer: the parser's effort grows with their square in places."""
MAX_SSRCS: Final = 8
"""SSRCs that a section may announce: three encodings with retransmission and some to spare."""

AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"  # RFC 6464
MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"  # RFC 8843 15
EXTENSIONS: Final = {1: AUDIO_LEVEL, 4: MID}
"""Header extension ids that every section offers."""
_EXTMAP: Final = "".join(f"a=extmap:{number} {uri}\r\n" for number, uri in EXTENSIONS.items())

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
    """The offer for ``sections``, all on one transport. ``session_id``: below 2^62 (RFC 8829 5.2.1).

    One f-string for each section: an offer of fifty is written for everybody in a room whenever somebody comes.
    """
    host = local.addresses[0]
    where = f"IN IP{ipaddress.ip_address(host).version} {host}"
    transport = _write_transport(local)
    mids = " ".join([section.mid for section in sections])
    head = (
        f"v=0\r\no=antiphon {session_id} {revision} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n"
        f"a=group:BUNDLE {mids}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n"
    )
    return head + "".join([_write_section(local.port, where, transport, section) for section in sections])


def _write_section(port: int, where: str, transport: str, section: Section) -> str:
    codec, source = section.codec, section.source
    number = codec.payload_type
    announced = ""
    if source is not None and section.direction == "sendonly":
        # Lost packets are sent again on the same SSRC (RFC 4585 6.2.1); Chromium asks for audio too, where this is offered.
        announced = (
            f"a=rtcp-fb:{number} nack\r\na=msid:{source.stream_id} {source.track_id}\r\na=ssrc:{source.ssrc} cname:{source.cname}\r\n"
        )
    return (
        f"m={section.kind} {port} UDP/TLS/RTP/SAVPF {number}\r\nc={where}\r\na=rtcp:{port} {where}\r\n"
        f"a=mid:{section.mid}\r\na={section.direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
        f"a=rtpmap:{number} {codec.name}/{codec.clock_rate}/{codec.channels}\r\na=fmtp:{number} {codec.fmtp}\r\n"
        f"{_EXTMAP}{announced}{transport}"
    )


def _write_transport(local: LocalParameters) -> str:
    """What every section of a BUNDLE group says of the transport that they share."""
    lines = [
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.pwd}",
        f"a=fingerprint:{local.fingerprint.algorithm} {local.fingerprint.value}",
        "a=setup:actpass",
        *("a=" + candidate for candidate in candidates(local)),
        "a=end-of-candidates",
    ]
    return "".join([line + "\r\n" for line in lines])


# ----------------------------------------------------------------------------------------------------------- answers


def read_answer(sdp: str, offered: Sequence[Section]) -> Answer:
    """What ``sdp`` answers to ``offered``. Raises :class:`PeerError` ("invalid_sdp", a sentence that says what is wrong)."""
    return AnswerReader().read(sdp, offered)


class AnswerReader:
    """Reads the answers of one connection, one after the other.

    It remembers what each section of the last one said: parsing takes about 0.3 ms a section, and of an answer with fifty all but one
    or two are as they were the last time.
    """

    def __init__(self) -> None:
        self._session: list[str] = []
        self._known: dict[tuple[Section, str], _Known] = {}

    def read(self, sdp: str, offered: Sequence[Section]) -> Answer:
        """What ``sdp`` answers to ``offered``. Raises :class:`PeerError` as :func:`read_answer`."""
        head, texts = _split(sdp, len(offered))
        if len(texts) != len(offered):
            raise _invalid(f"the answer has {len(texts)} media sections, the offer {len(offered)}")
        # RFC 8866 5: attributes of the session hold for every section, except those that only name or group things.
        session = [line for line in head if not line.startswith(("o=", "a=group:", "a=msid-semantic:"))]
        known = self._known if session == self._session else {}
        keys = list(zip(offered, texts, strict=True))
        fresh = [key for key in dict.fromkeys(keys) if key not in known]
        description = _parse("\n".join([*head, *(text for _, text in fresh)]))
        if len(description.media) != len(fresh):
            raise _invalid("it cannot be parsed")
        read = {key: _read_known(media, key[0]) for key, media in zip(fresh, description.media, strict=True)}
        found = [read[key] if key in read else known[key] for key in keys]
        answer = _bundled(description, found)
        self._session, self._known = session, dict(zip(keys, found, strict=True))
        return answer


class _Known(NamedTuple):
    """One section that was read. ``remote`` is None where it is rejected."""

    section: AnsweredSection
    remote: RemoteParameters | None


def _read_known(media: MediaDescription, offered: Section) -> _Known:
    section = _read_section(media, offered)
    return _Known(section, _read_transport(media) if section.accepted else None)


def _bundled(description: SessionDescription, found: Sequence[_Known]) -> Answer:
    used = [one for one in found if one.remote is not None]
    if not used or used[0].remote is None:
        raise _invalid("every media section is rejected")
    # RFC 9143 7.3.3 and 9.4: sections of one BUNDLE group share a transport, so all have to say the same about it.
    if any(before.remote != after.remote for before, after in pairwise(used)):
        raise _invalid("bundled media sections differ in ICE or DTLS parameters")
    if len(used) > 1:
        _check_bundle(description, [one.section.mid for one in used])
    return Answer(used[0].remote, tuple(one.section for one in found))


def _split(sdp: str, sections: int) -> tuple[list[str], list[str]]:
    """The lines before the first media section, and each section as one text, as the parser tells them apart."""
    longest = MAX_SDP_BYTES + max(0, sections - 1) * _MAX_FURTHER_SDP_BYTES
    if len(sdp) > longest or len(sdp.encode("utf-8", "surrogatepass")) > longest:
        raise _invalid(f"it is longer than {longest} bytes")
    lines = sdp.splitlines()
    if len(lines) > _MAX_LINES + _MAX_LINES_PER_SECTION * sections:
        raise _invalid("it has too many lines")
    if not sdp.startswith("v=0"):
        raise _invalid("it does not start with v=0")
    starts = [*(number for number, line in enumerate(lines) if line.startswith("m=")), len(lines)]
    return lines[: starts[0]], ["\n".join(lines[start:end]) for start, end in pairwise(starts)]


def _parse(sdp: str) -> SessionDescription:
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
