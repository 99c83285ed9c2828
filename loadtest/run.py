"""One execution of a scenario: people come, talk, and go; meanwhile everything is watched once a second."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loadtest import faults
from loadtest.crowd import Crowd, Member
from loadtest.generator import GeneratorWatch, link_problems
from loadtest.light import Hub
from loadtest.metrics import ServerWatch
from loadtest.namespace import Link
from loadtest.participant import PROBLEMS, Target, check_protocol
from loadtest.reach import Reach
from loadtest.report import Counts, Report, Sample
from loadtest.scenario import Scenario
from loadtest.signaling import Refused, Signaling, TargetError
from loadtest.tally import Tally

SETTLE_S = 15.0
"""How long after the last join everybody may take to hear everybody."""
DRAIN_S = 2.0
"""How long after the end what was said may still be on its way."""
PROGRESS_EVERY_S = 0.25
SAMPLE_EVERY_S = 1.0
SILENT_PACKETS = 25
"""A stream is silent after half a second of missed speech."""
CLOSE_S = 20.0


@dataclass(frozen=True)
class Progress:
    """Where a run stands. ``phase`` is ``joining``, ``settling``, ``talking`` or ``leaving``; ``loss_ratio`` is of the talking so far,
    ``p99_ms`` of the last second."""

    phase: str
    elapsed_s: float
    joined: int
    talking: int
    hearing: int
    loss_ratio: float | None = None
    p99_ms: float | None = None
    talked_s: float = 0.0
    is_new_phase: bool = False


@dataclass
class Plan:
    """What to run and against whom. ``metrics_url`` and ``admin``: where the server's own word is found (:mod:`loadtest.metrics`,
    :mod:`loadtest.faults`). ``link``: the bad link behind which this process is, where the scenario wants one."""

    scenario: Scenario
    targets: Sequence[Target]
    reach: Reach = field(default_factory=Reach)
    metrics_url: str = ""
    metrics_token: str = ""
    admin_token: str = ""
    link: Link | None = None


async def check_target(target: Target) -> None:
    """Raises :class:`TargetError` with one line where a run against this server would be pointless."""
    signaling = await Signaling.open(target.url, tls=target.tls)
    try:
        fields: dict[str, Any] = {} if (token := target.token("load tester", "*")) is None else {"token": token}
        check_protocol(target.url, await signaling.request("register", "registered", username="load tester", **fields))
    except Refused as refused:
        raise TargetError(f"{target.url} lets the load tester not in: {refused.code}: {refused.text}") from None
    except TimeoutError:
        raise TargetError(f"{target.url} does not answer as an Antiphon server") from None
    except PROBLEMS as problem:
        raise TargetError(f"{target.url}: {problem}") from None
    finally:
        await signaling.close()


class Run:
    """:attr:`stop` ends it early, and the figures are then those so far."""

    def __init__(self, plan: Plan, on_progress: Callable[[Progress], None] = lambda progress: None) -> None:
        self.plan = plan
        self.stop = asyncio.Event()
        self._scenario = plan.scenario
        self._on_progress = on_progress
        self._phase = "joining"
        self._started_at = time.monotonic()
        self._timeline: list[Sample] = []
        self._p99_ms: float | None = None
        self._talking_since = 0.0
        self._reported = ""
        self._rooms_before: list[tuple[int, int]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._busy: set[Member] = set()
        """Those who are about to leave, come back, mute or unmute."""
        self._unmuted: list[float] = []
        self._faults: list[faults.Happened] = []

    async def execute(self) -> Report:
        """Run it and report. Raises :class:`TargetError` when the server cannot be used at all; then nothing was measured."""
        for target in self.plan.targets:
            await check_target(target)
        scenario = self._scenario
        started = datetime.datetime.now(datetime.UTC)
        self._started_at = time.monotonic()
        hub = self._make_hub(scenario)
        if self.plan.link is not None:
            self.plan.link.figures()  # from here on they are this run's
        else:
            hub.traffic.impair(scenario.network.loss_ratio, round(scenario.network.delay_ms * 1e6))
        try:
            self._crowd = Crowd(scenario, list(self.plan.targets), hub)
            self._generator = GeneratorWatch(hub.traffic)
            self._servers = [
                ServerWatch(t.url, t.tls, self.plan.metrics_token, self.plan.metrics_url)
                for t in {t.url: t for t in self.plan.targets}.values()
            ]
            self._rooms_before = [(0, 0)] * scenario.rooms
            sampler = asyncio.create_task(self._sample(), name="sampler")
            try:
                return await self._phases(started)
            finally:
                for task in [sampler, *self._background]:
                    task.cancel()
                await asyncio.gather(sampler, *self._background, return_exceptions=True)
                await self._generator.close()
                await asyncio.gather(*(server.close() for server in self._servers))
        finally:
            hub.close()

    def _make_hub(self, scenario: Scenario) -> Hub:
        connections = scenario.participants + (scenario.participants if scenario.hearing == "subscription" else scenario.streams)
        seats = scenario.talkers + scenario.listeners
        meters = scenario.streams + scenario.departures * (scenario.talkers + seats) + 64
        return Hub(
            endpoints=connections + seats + 64,
            talkers=max(1, scenario.rooms * scenario.talkers),
            meters=meters,
            groups=scenario.rooms,
            reach=self.plan.reach,
        )

    async def _phases(self, started: datetime.datetime) -> Report:
        try:
            await self._join()
            await self._until("settling", SETTLE_S, self._crowd.everybody_hears)
            await self._look_at_servers()
            for server in self._servers:
                server.begin()
            self._generator.begin()
            self._talking_since = time.monotonic()
            self._phase = "talking"
            self._start(self._churn(), self._mute(), self._break())
            await self._until("talking", self._scenario.duration_s)
            await self._until("settling", SETTLE_S, lambda: not self._busy and self._crowd.everybody_hears())
            await self._end_talking()
            return self._tally(started)
        finally:
            self._phase = "leaving"
            self._report("leaving")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._crowd.close()

    # ------------------------------------------------------------------------------------------------ coming and going

    async def _join(self) -> None:
        members = self._crowd.members
        pause_s = self._scenario.ramp_s / max(1, len(members))
        setups: list[asyncio.Task[None]] = []
        for number, member in enumerate(members):
            await self._until("joining", self._started_at + number * pause_s - time.monotonic())
            if self.stop.is_set():
                break
            setups.append(asyncio.create_task(member.enter()))
            await asyncio.sleep(0)  # so that the first of a room is the one that creates it
        await self._until("joining", float("inf"), lambda: all(task.done() for task in setups))
        for task in setups:
            task.cancel()  # only after stop: what was under way then is neither a success nor a failure
        await asyncio.gather(*setups, return_exceptions=True)

    async def _churn(self) -> None:
        """Somebody leaves and comes back, again and again."""
        churn = self._scenario.churn
        while churn.per_minute and self._phase == "talking":
            await asyncio.sleep(60 / churn.per_minute)
            if (able := [member for member in self._crowd.ready if member not in self._busy]) and self._phase == "talking":
                self._start(self._go_and_come_back(self._crowd.random.choice(able)))

    async def _go_and_come_back(self, member: Member) -> None:
        self._busy.add(member)
        await member.leave()
        await asyncio.sleep(self._scenario.churn.away_s)
        if not self.stop.is_set():
            await member.enter()
        self._busy.discard(member)

    async def _mute(self) -> None:
        """Somebody who talks mutes, and unmutes, again and again."""
        mute = self._scenario.mute
        while mute.per_minute and self._phase == "talking":
            await asyncio.sleep(60 / mute.per_minute)
            able = [member for member in self._crowd.ready if member.talker is not None and member not in self._busy]
            if able and self._phase == "talking":
                self._start(self._mute_one(self._crowd.random.choice(able)))

    async def _mute_one(self, member: Member) -> None:
        self._busy.add(member)
        participant = member.participant
        assert participant is not None
        with contextlib.suppress(*PROBLEMS):
            await participant.set_muted(True)
            await asyncio.sleep(self._scenario.mute.muted_s)
            traffic = self._crowd.hub.traffic
            others = [m.participant.pairs.get(participant.user_id) for m in member.room.members if m.participant is not None]
            meters = [pair.meter for pair in others if pair is not None]
            for meter in meters:
                traffic.mark_meter(meter)
            await participant.set_muted(False)
            await asyncio.sleep(1.0)
            if member.ready and member.participant is participant:
                after = [traffic.meter(meter).resumed_after_ns for meter in meters]
                self._unmuted += [ns / 1e9 for ns in after if ns >= 0]
        self._busy.discard(member)

    async def _break(self) -> None:
        """The scenario's faults, each at its time."""
        began = time.monotonic()
        for fault in sorted(self._scenario.faults, key=lambda fault: fault.at_s):
            await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
            self._faults.append(await faults.make(fault, self._crowd, self.plan.targets, self.plan.admin_token, self._elapsed()))

    def _start(self, *works: Coroutine[Any, Any, None]) -> None:
        for work in works:
            task = asyncio.create_task(work)
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _end_talking(self) -> None:
        """From now on nothing more is expected; what is on its way may arrive."""
        self._phase = "draining"
        for member in self._crowd.members:
            if member.participant is not None:
                member.participant.finish_hearing()
        meters = [pair.meter for member in self._crowd.ready if member.participant for pair in member.participant.pairs.values()]
        traffic = self._crowd.hub.traffic

        def all_arrived() -> bool:
            return all((figures := traffic.meter(meter)).received >= figures.expected for meter in meters)

        end = time.monotonic() + DRAIN_S
        while time.monotonic() < end and not all_arrived():  # noqa: ASYNC110 - the native counters tell nobody when they change
            await asyncio.sleep(0.05)
        await self._look_at_servers()

    # ------------------------------------------------------------------------------------------------ watching

    def _elapsed(self) -> float:
        return time.monotonic() - self._started_at

    async def _until(self, phase: str, seconds: float, condition: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until ``condition`` holds, ``seconds`` are over or the run is stopped, and report progress meanwhile."""
        self._phase = phase
        end = time.monotonic() + seconds
        while not self.stop.is_set() and not condition() and (left_s := end - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), min(left_s, PROGRESS_EVERY_S))
            self._report(phase)

    def _report(self, phase: str) -> None:
        crowd = self._crowd
        heard = crowd.note_heard()
        ready = crowd.ready
        received, missing = (sum(part) for part in zip(*self._rooms_before, strict=True)) if self._rooms_before else (0, 0)
        loss = missing / (received + missing) if received + missing else None
        talking = sum(member.talker is not None for member in ready)
        talked_s = time.monotonic() - self._talking_since if phase == "talking" else 0.0
        new = phase != self._reported
        self._reported = phase
        self._on_progress(Progress(phase, self._elapsed(), len(ready), talking, heard, loss, self._p99_ms, talked_s, new))

    async def _look_at_servers(self) -> dict[str, float]:
        found = await asyncio.gather(*(server.look(time.monotonic()) for server in self._servers))
        several = len(found) > 1
        return {f"{i}:{shard}" if several else shard: cpu for i, cpus in enumerate(found, 1) for shard, cpu in cpus.items()}

    async def _sample(self) -> None:
        """The timeline: one sample a second."""
        due = self._started_at
        while True:
            due += SAMPLE_EVERY_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._timeline.append(self._second(await self._look_at_servers()))

    def _second(self, shard_cpu: dict[str, float]) -> Sample:
        crowd, traffic = self._crowd, self._crowd.hub.traffic
        together, rooms_p99, rooms_loss = Counts(), [], []
        received = missing = 0
        for room in crowd.rooms:
            group = traffic.group(room.index)
            counts = Counts(group.interval)
            together.buckets += counts.buckets
            rooms_p99.append(counts.percentile_ms(99))
            before = self._rooms_before[room.index]
            got, lost = group.received - before[0], group.missing - before[1]
            rooms_loss.append(max(0, lost) / (got + max(0, lost)) if got + max(0, lost) else None)
            self._rooms_before[room.index] = (group.received, group.missing)
            received, missing = received + got, missing + lost
        self._p99_ms = together.percentile_ms(99)
        generator = self._generator.second()
        ready = crowd.ready
        return Sample(
            t_s=round(self._elapsed(), 3),
            phase=self._phase,
            joined=len(ready),
            talking=sum(member.talker is not None for member in ready),
            heard_streams=crowd.note_heard(),
            received_packets=received,
            missing_packets=missing,
            loss_ratio=max(0, missing) / (received + max(0, missing)) if received + max(0, missing) else None,
            latency_p50_ms=together.percentile_ms(50),
            latency_p99_ms=self._p99_ms,
            silent_streams=traffic.silent_meters(SILENT_PACKETS),
            rooms_p99_ms=tuple(rooms_p99),
            rooms_loss=tuple(rooms_loss),
            generator_cpu=generator.cpu,
            machine_cpu=generator.machine_cpu,
            loop_lag_ms=generator.loop_lag_ms,
            tick_late_p99_ms=generator.tick_late_p99_ms,
            shard_cpu=shard_cpu,
        )

    def _tally(self, started: datetime.datetime) -> Report:
        report = Tally(self._crowd, self._generator, self._faults, self._unmuted, interrupted=self.stop.is_set()).report(
            started=started.isoformat(timespec="seconds"),
            duration_s=self._elapsed(),
            servers=tuple(server.figures() for server in self._servers),
            timeline=tuple(self._timeline),
        )
        if self.plan.link is None:
            return report
        link = self.plan.link.figures()
        bottlenecks = (*report.generator.bottlenecks, *link_problems(link))
        return msgspec.structs.replace(report, link=link, generator=msgspec.structs.replace(report.generator, bottlenecks=bottlenecks))


async def run(plan: Plan) -> Report:
    """Execute without progress."""
    try:
        return await Run(plan).execute()
    except OSError as error:
        raise TargetError(f"the load tester itself cannot go on: {error}") from error
