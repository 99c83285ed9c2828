"""What breaks on request, and how much silence it cost whom."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx

from loadtest.crowd import Crowd
from loadtest.participant import Participant, Target
from loadtest.reach import is_of_this_machine
from loadtest.report import FaultFigures, percentile
from loadtest.scenario import Fault

AFFECTED_S: Final = 0.1
"""A listener with less silence than this did not notice."""


@dataclass
class Silence:
    """Of one listener: the longest sum of silences of one talker, seconds, and how many packets it missed of all."""

    seconds: float
    lost: int


@dataclass
class Happened:
    """A fault that was made, or (``what`` says so) could not be. ``before``: the silence of each listener until then."""

    fault: Fault
    at_s: float
    what: str
    before: dict[str, Silence]


def silences(crowd: Crowd) -> dict[str, Silence]:
    """By listener."""
    found: dict[str, Silence] = {}
    for participant in crowd.participants():
        meters = [crowd.hub.traffic.meter(pair.meter) for pair in [*participant.pairs.values(), *participant.ended_pairs]]
        if meters:
            seconds = max(meter.silence_ns for meter in meters) / 1e9
            found[participant.name] = Silence(seconds, sum(meter.expected - meter.received for meter in meters))
    return found


async def make(fault: Fault, crowd: Crowd, targets: Sequence[Target], admin_token: str, at_s: float) -> Happened:
    """Break it. What cannot be broken is said in the report and does not end the run."""
    before = silences(crowd)
    try:
        match fault.kind:
            case "cut_listeners":
                what = cut_listeners(crowd, fault.share)
            case "kill_shard":
                what = kill(fault.pid or await shard_pid(targets[0], fault.shard, admin_token), f"shard {fault.shard}", targets)
            case "kill_control":
                what = kill(fault.pid or parent_of(await shard_pid(targets[0], "", admin_token)), "control", targets)
    except (OSError, LookupError, httpx.HTTPError) as error:
        what = f"could not be done: {error}"
    return Happened(fault, at_s, what, before)


def cut_listeners(crowd: Crowd, share: float) -> str:
    """Cut the connections over which a share of the people hear."""
    able = [p for p in (member.participant for member in crowd.ready) if isinstance(p, Participant) and p.connections()]
    chosen = crowd.random.sample(able, round(share * len(able)))
    for participant in chosen:
        participant.cut_off()
    return f"{len(chosen)} listeners cut off"


def kill(pid: int, name: str, targets: Sequence[Target]) -> str:
    """SIGKILL, only where the target is on this machine. Raises :class:`OSError` or :class:`LookupError`."""
    for target in targets:
        url = target.url if "://" in target.url else f"http://{target.url}"
        host = urlsplit(url).hostname or ""
        address = ipaddress.ip_address(socket.getaddrinfo(host, None)[0][4][0])
        if not address.is_loopback and not is_of_this_machine(address):
            raise LookupError(f"{host} is not this machine")
    if pid <= 1 or pid == os.getpid():
        raise LookupError(f"{pid} is no process of a server")
    os.kill(pid, signal.SIGKILL)
    return f"{name} (process {pid}) killed"


async def shard_pid(target: Target, shard: str, admin_token: str) -> int:
    """Process of a local shard, as the admin API has it; ``shard`` empty: any. Raises :class:`LookupError`."""
    parts = urlsplit(target.url if "://" in target.url else f"http://{target.url}")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    url = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/ws") + "/api/shards", "", ""))
    verify = target.tls if target.tls is not None else True
    async with httpx.AsyncClient(trust_env=False, timeout=5, verify=verify, headers={"Authorization": f"Bearer {admin_token}"}) as http:
        answer = await http.get(url)
        answer.raise_for_status()
    for found in answer.json()["shards"]:
        if found.get("pid") and found.get("local") and shard in ("", found["shard_id"]):
            return int(found["pid"])
    raise LookupError(f"{url} knows no process of shard {shard or 'any'} on this machine")


def parent_of(pid: int) -> int:
    """Raises :class:`LookupError`."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("PPid:"):
                return int(line.split()[1])
    raise LookupError(f"process {pid} has no parent")


def figures(happened: Sequence[Happened], after: dict[str, Silence]) -> tuple[FaultFigures, ...]:
    """What each cost, from its moment to the next one or (``after``) the end."""
    found = []
    for number, event in enumerate(happened):
        until = happened[number + 1].before if number + 1 < len(happened) else after
        nothing = Silence(0.0, 0)
        cost = {name: max(0.0, silence.seconds - event.before.get(name, nothing).seconds) for name, silence in until.items()}
        lost = sum(max(0, silence.lost - event.before.get(name, nothing).lost) for name, silence in until.items())
        values = list(cost.values())
        found.append(
            FaultFigures(
                kind=event.fault.kind,
                at_s=round(event.at_s, 3),
                what=event.what,
                listeners=len(values),
                affected=sum(value >= AFFECTED_S for value in values),
                silence_p50_s=percentile(values, 50) if values else None,
                silence_p99_s=percentile(values, 99) if values else None,
                silence_max_s=max(values, default=None),
                listener_silence_s={name: round(value, 3) for name, value in cost.items() if value > 0},
                lost_packets=lost,
            )
        )
    return tuple(found)
