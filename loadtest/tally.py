"""Adds up what a run has measured, into the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import metadata

from loadtest import faults
from loadtest.crowd import Crowd, Entry, Member
from loadtest.generator import GeneratorWatch
from loadtest.native._traffic import MeterFigures
from loadtest.participant import Pair, Participant
from loadtest.report import (
    KEPT_FAILURES,
    Counts,
    Durations,
    GapFigures,
    GeneratorFigures,
    HearingFigures,
    MediaFigures,
    People,
    Report,
    RoomFigures,
    Sample,
    ServerFigures,
    SetupFigures,
    StreamFigures,
    judge,
    media_of,
)


class Tally:
    """Made once, when everything has arrived and before anybody leaves."""

    def __init__(
        self, crowd: Crowd, generator: GeneratorWatch, happened: Sequence[faults.Happened], unmuted: list[float], *, interrupted: bool
    ) -> None:
        self._crowd = crowd
        self._generator = generator
        self._happened = happened
        self._unmuted = unmuted
        self._interrupted = interrupted
        self._scenario = crowd.scenario
        crowd.note_heard()
        self._by_talker = {member.talker: member for member in crowd.members if member.talker is not None}
        self._streams = [
            (participant, pair, crowd.hub.traffic.meter(pair.meter))
            for participant in crowd.participants()
            for pair in [*participant.ended_pairs, *participant.pairs.values()]
        ]

    def report(self, *, started: str, duration_s: float, servers: tuple[ServerFigures, ...], timeline: tuple[Sample, ...]) -> Report:
        """The whole."""
        scenario = self._scenario
        setup, hearing, media = self._setup(), self._hearing(), self._media()
        failures = self._failures()
        asked_for = bool(scenario.faults)
        cuts = 0 if asked_for else sum(len(participant.interruptions) for participant in self._crowd.participants())
        return Report(
            version=metadata.version("antiphon"),
            started_at=started,
            duration_s=round(duration_s, 3),
            interrupted=self._interrupted,
            targets=tuple(dict.fromkeys(room.target.url for room in self._crowd.rooms)),
            scenario=scenario,
            people=People(
                light_publishers=scenario.rooms * scenario.publishers,
                aiortc_publishers=scenario.rooms * scenario.aiortc_publishers,
                listeners=scenario.rooms * scenario.listeners,
            ),
            setup=setup,
            hearing=hearing,
            media=media,
            media_by_kind=self._media_by_kind(),
            gaps=self._gaps(),
            server=servers,
            generator=self._generator_figures(),
            faults=faults.figures(self._happened, faults.silences(self._crowd)),
            quality=judge(scenario.quality, setup, hearing, media, cuts, expects_sound=scenario.streams > 0 and not self._interrupted),
            failures=tuple(failures[:KEPT_FAILURES]),
            failure_count=len(failures),
            rooms=self._rooms(),
            streams=tuple(self._stream(*stream) for stream in self._streams),
            timeline=timeline,
        )

    # ------------------------------------------------------------------------------------------------ coming in

    def _setup(self) -> SetupFigures:
        entries = [(member, entry) for member in self._crowd.members for entry in member.entries if entry.done]
        good = [entry for member, entry in entries if not entry.failure and self._heard_all(member, entry)]
        times = Durations.of(entry.ready_after_s for entry in good)
        return SetupFigures(
            attempted=len(entries),
            succeeded=len(good),
            p50_ms=times.p50_ms,
            p99_ms=times.p99_ms,
            steps=self._steps([e for _, e in entries]),
        )

    def _heard_all(self, member: Member, entry: Entry) -> bool:
        """Whether somebody who is still there hears all who talk; of who has left that is no longer known."""
        if self._interrupted or entry is not member.entries[-1] or not member.ready:
            return True
        return member.hears() >= member.should_hear()

    def _steps(self, entries: Iterable[Entry]) -> dict[str, Durations]:
        times: defaultdict[str, list[float]] = defaultdict(list)

        def note(name: str, start: float, end: float) -> None:
            if start and end >= start:
                times[name].append(end - start)

        for entry in entries:
            setup, media = entry.setup, entry.setup.media
            note("websocket", setup.started, setup.open)
            note("register", setup.open, setup.registered)
            note("join", setup.registered, setup.joined)
            note("offer", setup.offer_asked, media.offered)
            note("ice", media.offered, media.ice)
            note("dtls", media.ice, media.dtls)
        for _, pair, _ in self._streams:
            steps = pair.steps
            if pair.connection is not None:
                note("consumer_offer", pair.asked, steps.offered)
            note("consumer_ice", steps.offered, steps.ice)
            note("consumer_dtls", steps.ice, steps.dtls)
            if pair.heard_after_s is not None:
                note("first_packet", max(steps.dtls, pair.asked), pair.asked + pair.heard_after_s)
        return {name: Durations.of(values) for name, values in times.items()}

    def _hearing(self) -> HearingFigures:
        ready = self._crowd.ready
        heard = sum(len(member.hears() & member.should_hear()) for member in ready)
        expected = heard if self._interrupted else sum(len(member.should_hear()) for member in ready)
        times = Durations.of(pair.heard_after_s for _, pair, _ in self._streams if pair.heard_after_s is not None)
        return HearingFigures(expected=expected, heard=heard, p50_ms=times.p50_ms, p99_ms=times.p99_ms)

    # ------------------------------------------------------------------------------------------------ media

    def _media(self) -> MediaFigures:
        latency = Counts()
        for room in self._crowd.rooms:
            latency.add(self._crowd.hub.traffic.group(room.index).latency)
        return media_of([meter for _, _, meter in self._streams], latency)

    def _media_by_kind(self) -> dict[str, MediaFigures]:
        by_kind: defaultdict[str, list[MeterFigures]] = defaultdict(list)
        for _, _, meter in self._streams:
            by_kind[self._by_talker[meter.talker].kind].append(meter)
        return {kind: media_of(meters, _coarse(meters)) for kind, meters in sorted(by_kind.items())}

    def _rooms(self) -> tuple[RoomFigures, ...]:
        by_room: defaultdict[int, list[MeterFigures]] = defaultdict(list)
        for _, _, meter in self._streams:
            by_room[meter.group].append(meter)
        found = []
        for room in self._crowd.rooms:
            sums = media_of(by_room[room.index], Counts(self._crowd.hub.traffic.group(room.index).latency))
            found.append(
                RoomFigures(
                    room=room.index + 1,
                    target=room.target.url,
                    expected_packets=sums.expected_packets,
                    received_packets=sums.received_packets,
                    loss_ratio=sums.loss_ratio,
                    latency_p50_ms=sums.latency_p50_ms,
                    latency_p99_ms=sums.latency_p99_ms,
                    silence_s=sums.silence_s,
                )
            )
        return tuple(found)

    def _stream(self, participant: Participant, pair: Pair, meter: MeterFigures) -> StreamFigures:
        talker = self._by_talker[meter.talker]
        measured = meter.received > 0
        return StreamFigures(
            room=meter.group + 1,
            listener=participant.name,
            publisher=talker.name,
            kind=talker.kind,
            expected_packets=meter.expected,
            received_packets=meter.received,
            duplicate_packets=meter.duplicates,
            reordered_packets=meter.reordered,
            latency_mean_ms=meter.latency_sum_us / meter.received / 1000 if measured else None,
            latency_p99_ms=_coarse([meter]).percentile_ms(99),
            latency_max_ms=meter.latency_max_us / 1000 if measured else None,
            jitter_ms=meter.jitter_ns / 1e6 if measured else None,
            silence_s=meter.silence_ns / 1e9,
            longest_silence_s=meter.longest_silence_ns / 1e9,
            first_packet_ms=None if pair.heard_after_s is None else 1000 * pair.heard_after_s,
        )

    # ------------------------------------------------------------------------------------------------ the rest

    def _gaps(self) -> GapFigures:
        again = [entry for member in self._crowd.members for entry in member.entries if entry.again and not entry.failure]
        rejoined = [entry.first_heard - entry.setup.started for entry in again if entry.first_heard is not None]
        reconnected = [after for participant in self._crowd.participants() for after in participant.reconnected_after_s]
        return GapFigures(unmute=Durations.of(self._unmuted), rejoin=Durations.of(rejoined), reconnect=Durations.of(reconnected))

    def _generator_figures(self) -> GeneratorFigures:
        traffic = self._crowd.hub.traffic
        talkers = [traffic.talker(member.talker) for member in self._crowd.members if member.talker is not None]
        return self._generator.figures(send_errors=sum(talker.send_errors for talker in talkers))

    def _failures(self) -> list[str]:
        entries = [entry.failure for member in self._crowd.members for entry in member.entries if entry.failure]
        later = [failure for participant in self._crowd.participants() for failure in participant.failures]
        cuts = [f"{participant.name}: {cut}" for participant in self._crowd.participants() for cut in participant.interruptions]
        return entries + later + cuts


def _coarse(meters: Iterable[MeterFigures]) -> Counts:
    counts = Counts(fine=False)
    for meter in meters:
        counts.add(meter.latency)
    return counts
