from __future__ import annotations

import time

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.errors import PeerError
from sfu.negotiation import MAX_SDP_BYTES, Answer, AnswerReader, LocalParameters, Section, Source, candidates, read_answer, write_offer
from sfu.transport.dtls import Fingerprint

PRINT = Fingerprint("sha-256", ":".join(["AB"] * 32))
LOCAL = LocalParameters("ufragufragufragu", "p" * 24, PRINT, ("192.0.2.2", "2001:db8::1"), 40000)
PUBLISH = [Section("0", "audio", "recvonly")]
CONSUME = [Section("0", "audio", "sendonly", source=Source(1234, "cname", "stream", "track"))]

CHROMIUM = "\r\n".join(
    [
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS stream",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=candidate:1 1 udp 2113937151 8f0c0a3e-0a3c-4b5e-8a51-000000000000.local 53432 typ host generation 0 network-cost 999",
        "a=ice-ufrag:x+/Y",
        "a=ice-pwd:abcdefghijklmnopqrstuvwx",
        "a=ice-options:trickle",
        "a=fingerprint:sha-256 " + ":".join(["0F"] * 32),
        "a=setup:active",
        "a=mid:0",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=sendonly",
        "a=msid:stream track",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=ssrc:3735928559 cname:abc",
        "",
    ]
)
FIREFOX = CHROMIUM.replace("minptime=10;useinbandfec=1", "maxplaybackrate=48000;stereo=1;useinbandfec=1").replace(
    "a=rtcp:9 IN IP4 0.0.0.0\r\n", ""
)


def without(line: str, sdp: str = CHROMIUM) -> str:
    return "\r\n".join(one for one in sdp.split("\r\n") if not one.startswith(line))


class TestOffer:
    def test_publisher_offer_says_what_browsers_need(self) -> None:
        offer = write_offer(LOCAL, PUBLISH, session_id=1)
        for line in [
            "a=ice-lite",
            "a=setup:actpass",
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            "a=end-of-candidates",
            "a=group:BUNDLE 0",
        ]:
            assert f"\r\n{line}\r\n" in offer
        assert "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1" in offer
        assert "a=ssrc" not in offer

    def test_consumer_offer_names_its_source(self) -> None:
        offer = write_offer(LOCAL, CONSUME, session_id=1)
        assert "a=sendonly\r\n" in offer
        assert "a=msid:stream track\r\na=ssrc:1234 cname:cname\r\n" in offer

    def test_candidates_are_ordered_and_in_every_section(self) -> None:
        first, second = candidates(LOCAL)
        assert first == "candidate:1 1 udp 2130706431 192.0.2.2 40000 typ host"
        assert int(first.split()[3]) > int(second.split()[3])
        sections = [replace_mid(CONSUME[0], str(number)) for number in range(3)]
        assert write_offer(LOCAL, sections, 1).count("a=" + second) == 3

    @pytest.mark.parametrize("sections", [PUBLISH, CONSUME])
    async def test_aiortc_answers_it(self, sections: list[Section]) -> None:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        if sections[0].direction == "recvonly":
            connection.addTransceiver("audio", direction="sendonly")
        await connection.setRemoteDescription(RTCSessionDescription(write_offer(LOCAL, sections, 1), "offer"))
        answer = await connection.createAnswer()
        await connection.setLocalDescription(answer)
        read = read_answer(connection.localDescription.sdp, sections)
        assert read.sections[0].accepted
        assert (read.sections[0].audio_level_extension, read.sections[0].mid_extension) == (1, 4)
        await connection.close()


def replace_mid(section: Section, mid: str) -> Section:
    return section._replace(mid=mid)


class TestAnswer:
    @pytest.mark.parametrize("sdp", [CHROMIUM, FIREFOX, CHROMIUM.replace("\r\n", "\n")])
    def test_browsers_answers_are_read(self, sdp: str) -> None:
        answer = read_answer(sdp, PUBLISH)
        (section,) = answer.sections
        assert (section.direction, section.payload_type, section.ssrcs) == ("sendonly", 111, (3735928559,))
        assert (section.audio_level_extension, section.mid_extension) == (1, 4)
        assert answer.remote.ufrag == "x+/Y"
        assert answer.remote.fingerprints == (Fingerprint("sha-256", ":".join(["0F"] * 32)),)

    def test_extension_that_is_not_taken_is_zero(self) -> None:
        (section,) = read_answer(without("a=extmap:1"), PUBLISH).sections
        assert (section.audio_level_extension, section.mid_extension) == (0, 4)

    def test_unknown_digest_beside_a_known_one_is_left_out(self) -> None:
        extra = CHROMIUM.replace("a=setup", "a=fingerprint:sha-1 AA:BB\r\na=setup")
        assert len(read_answer(extra, PUBLISH).remote.fingerprints) == 1

    def test_lower_case_fingerprint_is_the_same(self) -> None:
        assert read_answer(CHROMIUM.replace("0F", "0f"), PUBLISH) == read_answer(CHROMIUM, PUBLISH)

    def test_rejected_section_beside_an_accepted_one(self) -> None:
        media = CHROMIUM[CHROMIUM.index("m=audio") :].replace("a=sendonly", "a=recvonly")
        rejected = media.replace("m=audio 9", "m=audio 0").replace("a=mid:0", "a=mid:1")
        sections = [CONSUME[0], replace_mid(CONSUME[0], "1")]
        answer = read_answer(CHROMIUM[: CHROMIUM.index("m=audio")] + media + rejected, sections)
        assert [section.accepted for section in answer.sections] == [True, False]

    @pytest.mark.parametrize(
        "sdp",
        [
            "",
            "v=0",
            "hello",
            CHROMIUM.replace("m=audio 9", "m=audio 0"),
            CHROMIUM.replace("m=audio 9", "m=audio 99999"),
            CHROMIUM.replace("m=audio", "m=video"),
            CHROMIUM.replace("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio 9 UDP/TLS/RTP/SAVPF 111 112"),
            CHROMIUM.replace("m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/AVP"),
            CHROMIUM.replace("111", "112"),
            CHROMIUM.replace("opus/48000/2", "opus/48000"),
            CHROMIUM.replace("opus/48000/2", "PCMU/8000"),
            CHROMIUM.replace("setup:active", "setup:passive"),
            CHROMIUM.replace("setup:active", "setup:actpass"),
            CHROMIUM.replace("setup:active", "setup:holdconn"),
            CHROMIUM.replace("a=sendonly", "a=recvonly"),
            CHROMIUM.replace("a=sendonly", "a=sendrecv"),
            without("a=sendonly"),
            without("a=setup"),
            without("a=fingerprint"),
            without("a=ice-ufrag"),
            without("a=ice-pwd"),
            without("a=mid"),
            without("a=rtcp-mux"),
            without("a=rtpmap"),
            CHROMIUM.replace("a=mid:0", "a=mid:1"),
            CHROMIUM.replace("0F:0F", "0F:0", 1),
            CHROMIUM.replace("0F:0F", "ZZ:0F", 1),
            CHROMIUM.replace("sha-256", "sha-1"),
            CHROMIUM.replace("x+/Y", "abc"),
            CHROMIUM.replace("x+/Y", "a" * 257),
            CHROMIUM.replace("x+/Y", "ab cd"),
            CHROMIUM.replace("abcdefghijklmnopqrstuvwx", "short"),
            CHROMIUM.replace("extmap:1 ", "extmap:2 "),
            CHROMIUM.replace("ssrc-audio-level", "toffset"),
            CHROMIUM.replace("3735928559", "4294967296"),
            CHROMIUM.replace("3735928559", "-1"),
            CHROMIUM + "\r\n".join(f"a=ssrc:{number} cname:x" for number in range(20)),
            CHROMIUM + CHROMIUM[CHROMIUM.index("m=audio") :],
            CHROMIUM + "a=x\r\n" * 1000,
            CHROMIUM + "x" * MAX_SDP_BYTES,
        ],
    )
    def test_unusable_answer_is_refused(self, sdp: str) -> None:
        with pytest.raises(PeerError, match=r"The SDP answer is not usable: .+\.") as refused:
            read_answer(sdp, PUBLISH)
        assert refused.value.code == "invalid_sdp"

    def test_bundled_sections_that_disagree_are_refused(self) -> None:
        media = CHROMIUM[CHROMIUM.index("m=audio") :]
        other = media.replace("a=mid:0", "a=mid:1").replace("x+/Y", "other")
        with pytest.raises(PeerError, match="differ"):
            read_answer(CHROMIUM + other, [PUBLISH[0], replace_mid(PUBLISH[0], "1")])


def read_or_refuse(sdp: str) -> Answer | None:
    started = time.process_time()
    try:
        return read_answer(sdp, PUBLISH)
    except PeerError as error:
        code = error.code
    finally:
        assert time.process_time() - started < 1.0
    assert code == "invalid_sdp"
    return None


LINES = CHROMIUM.split("\r\n")
TOKENS = [
    "",
    "a=",
    "m=",
    "c=",
    "m=audio",
    "a=fmtp:1 x",
    "a=ssrc:",
    "a=ssrc:1",
    "a=rtpmap:",
    "a=rtpmap:111",
    "a=extmap:1",
    "a=setup:",
    "a=mid",
]
TOKENS += [
    "a=rtcp:",
    "a=candidate:",
    "a=ssrc-group:FID x",
    "c=IN IP4",
    "a=fingerprint:sha-256",
    "a=rtcp-fb:",
    "a=group:",
    "a=sctpmap:x",
    "v=",
]


class TestFuzz:
    """Invariant: whatever comes, it is an :class:`Answer` or a :class:`PeerError` with the code invalid_sdp, soon."""

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=300))
    def test_any_text(self, text: str) -> None:
        assert read_or_refuse(text) is None

    @settings(max_examples=400, deadline=None)
    @given(st.data())
    def test_mutated_lines(self, data: st.DataObject) -> None:
        lines = list(LINES)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(lines) - 1))
            match data.draw(st.integers(0, 4)):
                case 0:
                    lines.insert(at, data.draw(st.sampled_from(TOKENS)))
                case 1:
                    lines[at] = lines[at][: data.draw(st.integers(0, len(lines[at])))]
                case 2:
                    lines.insert(at, lines[data.draw(st.integers(0, len(lines) - 1))])
                case 3:
                    cut = data.draw(st.integers(0, len(lines[at])))
                    lines[at] = lines[at][:cut] + data.draw(st.text(max_size=4)) + lines[at][cut:]
                case _:
                    if len(lines) > 1:
                        del lines[at]
        read_or_refuse("\r\n".join(lines))

    @pytest.mark.parametrize(
        "line", ["a=ssrc:{} cname:x", "a=rtpmap:{} opus/48000/2", "a=rtcp-fb:* nack", "a=extmap:1 x", "a=candidate:1 1 udp 1 x 1 typ host"]
    )
    def test_many_lines_take_no_time(self, line: str) -> None:
        read_or_refuse(CHROMIUM + "".join(line.format(number) + "\r\n" for number in range(270)))
        read_or_refuse(CHROMIUM + "".join(line.format(number) + "\r\n" for number in range(2000)))


class TestAnswerReader:
    """Sections that say the same as in the answer before are not parsed again, and mean the same."""

    @staticmethod
    def answer(*mids: str, session: str = "", **changes: str) -> tuple[str, list[Section]]:
        head, media = CHROMIUM[: CHROMIUM.index("m=audio")], CHROMIUM[CHROMIUM.index("m=audio") :].replace("a=sendonly", "a=recvonly")
        head = head.replace("BUNDLE 0", "BUNDLE " + " ".join(mids)).replace("s=-\r\n", f"s=-\r\n{session}")
        sections = [replace_mid(CONSUME[0], mid) for mid in mids]
        return head + "".join(media.replace("a=mid:0", f"a=mid:{mid}\r\n{changes.get('m' + mid, '')}") for mid in mids), sections

    def test_a_later_answer_is_read_as_if_it_was_the_first(self) -> None:
        reader = AnswerReader()
        for answer in (self.answer("0"), self.answer("0", "1", "2"), self.answer("0", "1", "2", m1="a=ssrc:7 cname:x\r\n")):
            assert reader.read(*answer) == read_answer(*answer)

    def test_what_is_wrong_in_one_section_is_found_in_a_later_answer(self) -> None:
        reader = AnswerReader()
        reader.read(*self.answer("0", "1"))
        sdp, sections = self.answer("0", "1")
        for broken in (sdp.replace("a=mid:1", "a=mid:9"), sdp[: sdp.rindex("m=audio")], sdp.replace("x+/Y", "other", 1)):
            with pytest.raises(PeerError):
                reader.read(broken, sections)
        assert reader.read(sdp, sections) == read_answer(sdp, sections)

    def test_the_same_text_for_another_offer_is_read_anew(self) -> None:
        reader = AnswerReader()
        sdp, sections = self.answer("0")
        reader.read(sdp, sections)
        with pytest.raises(PeerError, match="does not answer"):
            reader.read(sdp, [sections[0]._replace(direction="inactive", source=None)])

    def test_what_the_session_says_for_all_sections_is_heeded(self) -> None:
        reader = AnswerReader()
        reader.read(*self.answer("0"))
        fingerprint = "a=fingerprint:sha-256 " + ":".join(["AA"] * 32) + "\r\n"
        answer = self.answer("0", session=fingerprint)
        assert len(reader.read(*answer).remote.fingerprints) == 2

    def test_a_section_outside_the_group_is_refused_in_a_later_answer(self) -> None:
        reader = AnswerReader()
        sdp, sections = self.answer("0", "1")
        reader.read(sdp, sections)
        with pytest.raises(PeerError, match="BUNDLE"):
            reader.read(sdp.replace("BUNDLE 0 1", "BUNDLE 0"), sections)

    def test_a_room_of_fifty_is_read_quickly_when_one_joins(self) -> None:
        reader = AnswerReader()
        reader.read(*self.answer(*(str(mid) for mid in range(49))))
        parsed: list[int] = []
        original = SessionDescription.parse.__func__  # type: ignore[attr-defined]

        def counting(kind: type, sdp: str) -> SessionDescription:
            description: SessionDescription = original(kind, sdp)
            parsed.append(len(description.media))
            return description

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SessionDescription, "parse", classmethod(counting))
            reader.read(*self.answer(*(str(mid) for mid in range(50))))
        assert parsed == [1]
