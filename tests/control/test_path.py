"""The verdict on a path, from figures: each hop broken in turn."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from control.path import HOPS, Looks, Signaling, report
from sfu import protocol as p

ANN, BO = p.UserId("a"), p.UserId("b")
TRANSPORT = p.TransportFigures(
    answered=True,
    address="192.0.2.1:5000",
    heard_s=1.0,
    dtls="connected",
    cipher="DTLSv1.2",
    packets_in=1000,
    packets_out=1000,
    auth_failed=0,
    replayed=0,
)
TRACK = p.PathTrack(announced=True, packets=1000, lost=0, jitter_ms=1.0, audio_level=30, silent_s=0.01)
CONSUMER = p.ConsumerFigures(
    consumer_id=p.ConsumerId("c"),
    on_subscription=False,
    accepted=True,
    wanted=True,
    age_s=20.0,
    packets=900,
    reports=5,
    report_s=1.0,
    unreported=50,
    fraction_lost=0.0,
    lost=0,
    jitter_ms=2.0,
    rtt_ms=30.0,
    nacks=0,
)
FINE = p.PathFigures(
    publisher_known=True,
    listener_known=True,
    muted=False,
    publisher_transport=TRANSPORT,
    track=TRACK,
    consumer=CONSUMER,
    listener_transport=TRANSPORT,
)


def changed(part: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(part, **changes)


def looks(now: p.PathFigures | None, *, earlier: p.PathFigures | None = None, **changes: Any) -> Looks:
    """Two looks a second apart; ``earlier``: default is ``now`` with 50 packets less."""
    if earlier is None and now is not None:
        track = changed(now.track, packets=now.track.packets - 50) if now.track is not None else None
        consumer = changed(now.consumer, packets=now.consumer.packets - 50) if now.consumer is not None else None
        earlier = changed(now, track=track, consumer=consumer)
    speaker = changes.pop("speaker", Signaling(ANN, "Ann", True))
    shard = changes.pop("shard", p.ShardId("0"))
    return Looks(p.RoomId("r"), speaker, Signaling(BO, "Bo", True), shard, earlier, now, 1.0)


def still(**changes: Any) -> tuple[p.PathFigures, p.PathFigures]:
    """Twice the same: no counter moves, but for what is said."""
    now = changed(FINE, **changes)
    return now, now


def test_all_in_order() -> None:
    said = report(looks(FINE))
    assert [hop.name for hop in said.hops] == list(HOPS)
    assert {hop.state for hop in said.hops} == {"ok"}
    assert (said.failed_hop, said.verdict) == (None, "Bo receives Ann: every hop is in order.")
    figures = {name: value for hop in said.hops for name, value in hop.figures.items()}
    assert figures["packets_per_s"] == 50
    assert (figures["rtt_ms"], figures["jitter_ms"], figures["fraction_lost"]) == (30.0, 2.0, 0.0)


BROKEN: dict[str, tuple[str, dict[str, Any], str]] = {
    "no publisher": ("ice", {"publisher_transport": None, "track": None, "consumer": None}, "does not publish"),
    "offer not answered": ("ice", {"publisher_transport": changed(TRANSPORT, answered=False), "track": None}, "has not answered"),
    "no check came": ("ice", {"publisher_transport": changed(TRANSPORT, address=None)}, "No ICE check"),
    "checks have ended": ("ice", {"publisher_transport": changed(TRANSPORT, heard_s=20.0)}, "no ICE check for 20 s"),
    "no DTLS": ("dtls", {"publisher_transport": changed(TRANSPORT, dtls="waiting")}, "DTLS handshake with Ann"),
    "muted": ("level", {"muted": True}, "Ann is muted."),
    "track not announced": ("track", {"track": changed(TRACK, announced=False)}, "no track"),
    "no consumer": ("consumer", {"consumer": None}, "Bo has no consumer for Ann"),
    "not wanted": ("consumer", {"consumer": changed(CONSUMER, wanted=False)}, "has chosen not to hear"),
    "not taken": ("consumer", {"consumer": changed(CONSUMER, accepted=False)}, "has not taken"),
    "listener unreachable": ("listener_transport", {"listener_transport": changed(TRANSPORT, address=None)}, "No ICE check of Bo"),
    "listener without keys": ("listener_transport", {"listener_transport": changed(TRANSPORT, dtls="waiting")}, "DTLS handshake with Bo"),
    "never reported": ("reception", {"consumer": changed(CONSUMER, report_s=None, reports=0, unreported=None)}, "never reported"),
    "reports have ended": ("reception", {"consumer": changed(CONSUMER, report_s=20.0, unreported=1000)}, "not reported for 20 s"),
    "nothing arrives": ("reception", {"consumer": changed(CONSUMER, unreported=300)}, "do not arrive"),
    "heavy loss": ("reception", {"consumer": changed(CONSUMER, fraction_lost=0.4)}, "loses 40%"),
    "unknown to the shard": ("shard", {"publisher_known": False}, "does not know Ann"),
}


@pytest.mark.parametrize(("hop", "changes", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_the_first_hop_that_fails_is_named(hop: str, changes: dict[str, Any], words: str) -> None:
    said = report(looks(changed(FINE, **changes)))
    assert said.failed_hop == hop
    assert words in said.verdict
    assert said.verdict.endswith(".")


def test_nothing_comes_in() -> None:
    now, earlier = still(track=changed(TRACK, silent_s=7.2))
    said = report(looks(now, earlier=earlier))
    assert (said.failed_hop, said.verdict) == ("packets_in", "No media packet has come from Ann for 7 s.")


def test_nothing_goes_out_although_something_comes_in() -> None:
    said = report(looks(FINE, earlier=changed(FINE, track=changed(TRACK, packets=950))))
    assert said.failed_hop == "packets_out"


def test_who_is_muted_and_sends_nothing_is_muted() -> None:
    now, earlier = still(muted=True)
    assert report(looks(now, earlier=earlier)).failed_hop == "level"


def test_a_lost_websocket_is_named_and_that_media_go_on() -> None:
    said = report(looks(FINE, speaker=Signaling(ANN, "Ann", False, 4.0)))
    assert said.failed_hop == "signaling"
    assert said.verdict == "Ann's WebSocket was lost 4 s ago and has not come back. Still, Bo hears Ann."


def test_silence_is_no_failure_but_is_said() -> None:
    silent = changed(FINE, track=changed(TRACK, audio_level=127))
    said = report(looks(silent))
    assert said.failed_hop is None
    assert "the microphone may be off" in said.verdict


def test_a_new_consumer_without_a_report_is_no_failure() -> None:
    young = changed(CONSUMER, age_s=2.0, report_s=None, reports=0, unreported=None)
    said = report(looks(changed(FINE, consumer=young)))
    assert said.failed_hop is None
    assert "never reported" in said.verdict


def test_one_that_was_replaced_between_the_looks_is_not_counted() -> None:
    said = report(looks(FINE, earlier=changed(FINE, consumer=changed(CONSUMER, consumer_id=p.ConsumerId("old")))))
    assert next(hop for hop in said.hops if hop.name == "packets_out").state == "unknown"


@pytest.mark.parametrize(("shard", "words"), [(None, "no media server"), (p.ShardId("3"), "Media server 3 does not answer.")])
def test_without_an_answer_of_the_shard_the_rest_is_unknown(shard: p.ShardId | None, words: str) -> None:
    said = report(looks(None, shard=shard))
    assert said.failed_hop == "shard"
    assert words in said.verdict
    assert {hop.state for hop in said.hops[2:]} == {"unknown"}
