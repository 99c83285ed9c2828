from __future__ import annotations

import struct
from typing import Any

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from sfu.transport.ice_lite import NOMINATION_STALE_S, IceLite, StunDrop, StunResult, make_ufrag, respond, slot_of_ufrag

HOME, AWAY = ("192.0.2.1", 5000), ("198.51.100.9", 6000)


@pytest.fixture
def agent() -> IceLite:
    agent = IceLite(slot=7, generation=3, now=0.0)
    agent.remote_ufrag = "peer"
    return agent


def request(agent: IceLite, *, key: str | None = None, username: str | None = None, nominate: bool = True, **more: Any) -> bytes:
    attributes: dict[str, Any] = {"USERNAME": username or f"{agent.local_ufrag}:peer", "PRIORITY": 100, "ICE-CONTROLLING": 1}
    if nominate:
        attributes["USE-CANDIDATE"] = None
    attributes |= {name.replace("_", "-"): value for name, value in more.items()}
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={k: v for k, v in attributes.items() if v is not False})
    message.add_message_integrity((key or agent.local_pwd).encode())
    return bytes(message)


def ask(agent: IceLite, data: bytes, source: tuple[str, int] = HOME, now: float = 1.0) -> StunResult:
    return respond(data, source, now, {agent.slot: agent}.get)


def parsed(result: StunResult) -> stun.Message:
    assert result.response is not None
    return stun.parse_message(result.response)


class TestUfrag:
    @given(st.integers(0, 2**24 - 1), st.integers(0, 2**31), st.binary(min_size=5, max_size=5))
    def test_carries_the_slot(self, slot: int, generation: int, randomness: bytes) -> None:
        ufrag = make_ufrag(slot, generation, randomness)
        assert slot_of_ufrag(ufrag) == slot
        assert 4 <= len(ufrag) <= 256  # RFC 8839 5.4
        assert ufrag.isalnum()

    @given(st.text(max_size=20))
    def test_anything_may_be_asked(self, text: str) -> None:
        slot_of_ufrag(text)

    def test_password_has_128_random_bits(self, agent: IceLite) -> None:
        assert len(agent.local_pwd) == 24  # of 6 bits each; RFC 8445 5.3
        assert set(agent.local_pwd) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


class TestRfc8489Authentication:
    def test_valid_request_is_answered_with_the_mapped_address(self, agent: IceLite) -> None:
        response = parsed(ask(agent, request(agent)))
        assert response.message_class is stun.Class.RESPONSE
        assert response.attributes["XOR-MAPPED-ADDRESS"] == HOME
        assert response.check_message_integrity(agent.local_pwd.encode())

    def test_request_before_the_answer_is_answered(self, agent: IceLite) -> None:
        agent.remote_ufrag = None
        assert ask(agent, request(agent, username=f"{agent.local_ufrag}:whoever")).bind

    def test_wrong_password_is_401_and_binds_nothing(self, agent: IceLite) -> None:
        result = ask(agent, request(agent, key="wrong"))
        assert (result.drop, result.bind, agent.address) == (StunDrop.BAD_INTEGRITY, False, None)
        assert parsed(result).error_code == 401

    @pytest.mark.parametrize("username", ["", "x", "aaaaaaaaaaaaaaaa:peer", ":peer", ":"])
    def test_unknown_user_is_401(self, agent: IceLite, username: str) -> None:
        result = ask(agent, request(agent, username=username or ":"))
        assert (result.drop, result.agent) == (StunDrop.UNKNOWN_USER, None)

    def test_other_remote_ufrag_is_refused(self, agent: IceLite) -> None:
        assert ask(agent, request(agent, username=f"{agent.local_ufrag}:other")).drop is StunDrop.UNKNOWN_USER

    def test_earlier_user_of_the_slot_is_refused(self, agent: IceLite) -> None:
        former = IceLite(slot=7, generation=2, now=0.0)
        assert ask(agent, request(former)).drop is StunDrop.UNKNOWN_USER

    def test_request_without_credentials_is_400(self, agent: IceLite) -> None:
        plain = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"SOFTWARE": "x" * 40})
        result = ask(agent, bytes(plain))
        assert (result.drop, parsed(result).error_code) == (StunDrop.NO_CREDENTIALS, 400)

    def test_error_is_never_longer_than_the_request(self, agent: IceLite) -> None:
        plain = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        assert ask(agent, bytes(plain)).response is None

    def test_unknown_required_attribute_is_420(self, agent: IceLite) -> None:
        message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": f"{agent.local_ufrag}:peer"})
        data = bytes(message) + struct.pack("!HHI", 0x7001, 4, 0)
        data += struct.pack("!HH", 8, 20) + stun.message_integrity(data, agent.local_pwd.encode())
        data = stun.set_body_length(data, len(data) - 20)
        result = ask(agent, data)
        assert (result.drop, result.bind) == (StunDrop.UNKNOWN_ATTRIBUTE, False)
        response = parsed(result)
        assert response.error_code == 420
        assert response.check_message_integrity(agent.local_pwd.encode())
        assert struct.pack("!HHH", 0x000A, 2, 0x7001) in (result.response or b"")

    @pytest.mark.parametrize("kind", [stun.Class.INDICATION, stun.Class.RESPONSE, stun.Class.ERROR])
    def test_other_classes_are_dropped_and_prove_nothing(self, agent: IceLite, kind: stun.Class) -> None:
        message = stun.Message(stun.Method.BINDING, kind, attributes={"USERNAME": f"{agent.local_ufrag}:peer"})
        message.add_message_integrity(agent.local_pwd.encode())
        assert ask(agent, bytes(message), now=9.0) == StunResult(drop=StunDrop.NOT_A_REQUEST)
        assert agent.last_valid == 0.0


class TestRfc8445:
    def test_controlled_peer_gets_487(self, agent: IceLite) -> None:
        result = ask(agent, request(agent, **{"ICE-CONTROLLED": 5, "ICE-CONTROLLING": False}))
        assert (result.drop, parsed(result).error_code) == (StunDrop.ROLE_CONFLICT, 487)

    def test_nomination_binds_once(self, agent: IceLite) -> None:
        assert ask(agent, request(agent)).bind
        assert not ask(agent, request(agent)).bind
        assert agent.address == HOME

    def test_check_without_nomination_binds_nothing(self, agent: IceLite) -> None:
        assert not ask(agent, request(agent, nominate=False)).bind

    def test_peer_moves_to_an_equal_or_better_pair_at_once(self, agent: IceLite) -> None:
        ask(agent, request(agent))
        assert ask(agent, request(agent), AWAY).bind
        assert agent.address == AWAY

    def test_worse_pair_needs_to_insist(self, agent: IceLite) -> None:
        ask(agent, request(agent, PRIORITY=200))
        worse = request(agent)
        assert not ask(agent, worse, AWAY).bind
        assert not ask(agent, worse, AWAY).bind  # the same transaction, repeated
        assert ask(agent, request(agent), AWAY).bind

    def test_aggressive_nomination_ends_at_the_best_pair(self, agent: IceLite) -> None:
        ask(agent, request(agent, PRIORITY=200))
        for _ in range(3):
            ask(agent, request(agent), AWAY)
            ask(agent, request(agent, PRIORITY=200))
        assert agent.address == HOME

    def test_silent_pair_loses_to_a_worse_one(self, agent: IceLite) -> None:
        ask(agent, request(agent, PRIORITY=200), now=1.0)
        assert ask(agent, request(agent), AWAY, now=1.1 + NOMINATION_STALE_S).bind


class TestRfc7675Consent:
    def test_valid_request_renews_consent(self, agent: IceLite) -> None:
        ask(agent, request(agent, nominate=False), now=12.0)
        assert agent.last_valid == 12.0

    def test_invalid_request_does_not(self, agent: IceLite) -> None:
        ask(agent, request(agent, key="wrong"), now=12.0)
        assert agent.last_valid == 0.0


class TestHostileBytes:
    @given(st.binary(max_size=200))
    def test_any_bytes_are_survived(self, data: bytes) -> None:
        agent = IceLite(7, 3, 0.0)
        assert respond(data, HOME, 1.0, {7: agent}.get).bind is False

    @given(st.data())
    def test_mutated_request_never_binds(self, data: st.DataObject) -> None:
        agent = IceLite(7, 3, 0.0)
        mutated = bytearray(request(agent))
        at = data.draw(st.integers(0, len(mutated) - 1 - stun.FINGERPRINT_LENGTH))
        mutated[at] ^= data.draw(st.integers(1, 255))
        result = respond(bytes(mutated), HOME, 1.0, {7: agent}.get)
        assert not result.bind
        assert agent.last_valid == 0.0


class TestRestart:
    """RFC 8445 9: new credentials for the same transport; what was agreed before holds until they are used."""

    @pytest.fixture
    def restarted(self, agent: IceLite) -> IceLite:
        ask(agent, request(agent, PRIORITY=1000), HOME)
        self.former = (agent.local_ufrag, agent.local_pwd)
        agent.restart()
        return agent

    def with_former(self, agent: IceLite) -> bytes:
        ufrag, pwd = self.former
        return request(agent, username=f"{ufrag}:peer", key=pwd)

    def test_both_change_and_the_slot_is_the_same(self, restarted: IceLite) -> None:
        assert restarted.local_ufrag != self.former[0]
        assert restarted.local_pwd != self.former[1]
        assert slot_of_ufrag(restarted.local_ufrag) == restarted.slot
        assert restarted.remote_ufrag is None

    def test_the_former_hold_until_the_new_are_used(self, restarted: IceLite) -> None:
        result = ask(restarted, self.with_former(restarted), HOME, now=2.0)
        assert result.agent is restarted
        assert restarted.last_valid == 2.0
        assert parsed(result).check_message_integrity(self.former[1].encode())
        assert ask(restarted, request(restarted, nominate=False), AWAY).agent is restarted
        assert ask(restarted, self.with_former(restarted), HOME).drop is StunDrop.UNKNOWN_USER

    def test_the_first_nomination_with_the_new_ones_moves_the_peer_whatever_its_priority(self, restarted: IceLite) -> None:
        assert restarted.address == HOME
        assert not ask(restarted, request(restarted, nominate=False, PRIORITY=1), AWAY).bind
        assert restarted.address == HOME
        assert ask(restarted, request(restarted, PRIORITY=1), AWAY).bind
        assert restarted.address == AWAY

    def test_the_answer_binds_the_new_ones_to_its_ufrag(self, restarted: IceLite) -> None:
        restarted.remote_ufrag = "moved"
        assert ask(restarted, request(restarted), AWAY).drop is StunDrop.UNKNOWN_USER
        assert ask(restarted, request(restarted, username=f"{restarted.local_ufrag}:moved"), AWAY).bind

    def test_a_wrong_password_ends_nothing(self, restarted: IceLite) -> None:
        assert ask(restarted, request(restarted, key=self.former[1]), AWAY).drop is StunDrop.BAD_INTEGRITY
        assert ask(restarted, self.with_former(restarted), HOME).agent is restarted

    def test_twice_forgets_what_was_never_used(self, restarted: IceLite) -> None:
        unused = (restarted.local_ufrag, restarted.local_pwd)
        restarted.restart()
        assert ask(restarted, request(restarted, username=f"{unused[0]}:peer", key=unused[1])).drop is StunDrop.UNKNOWN_USER
        assert ask(restarted, self.with_former(restarted), HOME).agent is restarted
        assert ask(restarted, request(restarted), AWAY).bind
