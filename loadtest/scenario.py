"""What is asked of a server: who joins which room and when, what they do there, what breaks, and which quality is demanded.

A scenario is a TOML file (``loadtest/scenarios/*.toml``; every key is a field below) or the flags of the command line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from loadtest.participant import Hearing

SHIPPED: Final = Path(__file__).with_name("scenarios")
MAX_PARTICIPANTS: Final = 100_000

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_PARTICIPANTS)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=7 * 86400)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=60_000)]


class ScenarioError(Exception):
    """The scenario cannot be used; one line that names the file and the key."""


class Talk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How people speak. They say the sentences of ``speech.opus`` with its pauses; where ``pause_s`` is above 0, ``talk_s`` seconds of that
    and then nothing for ``pause_s``. In pauses one packet goes each 400 ms, as with DTX; with ``always`` the speech's own pauses are sent,
    50 packets a second."""

    talk_s: Seconds = 4.0
    pause_s: Seconds = 0.0
    always: bool = False


class Mute(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody who talks mutes ``per_minute`` times a minute, over all rooms, and unmutes ``muted_s`` seconds later."""

    per_minute: Annotated[float, msgspec.Meta(ge=0, le=60_000)] = 0.0
    muted_s: Seconds = 2.0


class Churn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody leaves ``per_minute`` times a minute, over all rooms, and comes back ``away_s`` seconds later."""

    per_minute: Annotated[float, msgspec.Meta(ge=0, le=60_000)] = 0.0
    away_s: Seconds = 2.0


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that breaks ``at_s`` seconds after everybody began to talk.

    ``kill_shard``: the process of shard ``shard`` (or ``pid``); ``kill_control``: of control (or ``pid``); both only of a server on this
    machine. ``cut_listeners``: ``share`` of those who listen lose their connections without a word and ask for them again.
    """

    kind: Literal["kill_shard", "kill_control", "cut_listeners"]
    at_s: Seconds
    shard: str = "0"
    pid: Annotated[int, msgspec.Meta(ge=0)] = 0
    share: Ratio = 1.0


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the load tester does to packets, as a bad network would: ``loss_ratio`` of them are thrown away, the others come ``delay_ms``
    later. Without ``namespace`` to media that arrive at light participants; with it to every IP packet of all participants, signaling
    included, in both directions: they live in a network namespace behind a bad link (:mod:`loadtest.namespace`, Linux, root)."""

    loss_ratio: Ratio = 0.0
    delay_ms: Milliseconds = 0.0
    namespace: bool = False


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is demanded; a run that misses one of these ends with status 1."""

    max_loss_ratio: Ratio = 0.001
    max_latency_p99_ms: Milliseconds = 20.0
    min_setup_ratio: Ratio = 1.0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who does what. All counts of people are per room.

    ``publishers`` are light, ``aiortc_publishers`` whole aiortc peers; both also listen, ``listeners`` only listen. ``hearing``: one
    subscriber connection for the whole room, or one consumer for each publisher. People of all rooms join evenly spread over ``ramp_s``,
    rooms in turn; ``duration_s`` counts from when everybody hears everybody.
    """

    title: str = ""
    description: str = ""
    rooms: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTICIPANTS)] = 1
    publishers: Count = 0
    aiortc_publishers: Count = 0
    listeners: Count = 0
    hearing: Hearing = "subscription"
    duration_s: Seconds = 10.0
    ramp_s: Seconds = 0.0
    talk: Talk = Talk()
    mute: Mute = Mute()
    churn: Churn = Churn()
    network: Network = Network()
    faults: tuple[Fault, ...] = ()
    quality: Quality = Quality()

    @property
    def talkers(self) -> int:
        """Of one room."""
        return self.publishers + self.aiortc_publishers

    @property
    def participants(self) -> int:
        return self.rooms * (self.talkers + self.listeners)

    @property
    def streams(self) -> int:
        """What is heard when everybody hears everybody else who talks."""
        return self.rooms * self.talkers * (self.talkers - 1 + self.listeners)

    @property
    def departures(self) -> int:
        """How often somebody leaves, about."""
        return int(self.churn.per_minute * self.duration_s / 60) + 1

    def check(self, source: str) -> None:
        """Raises :class:`ScenarioError` for what the types cannot say."""
        if self.participants == 0:
            raise ScenarioError(f"{source}: nobody to join: give publishers, aiortc_publishers or listeners")
        if self.participants > MAX_PARTICIPANTS:
            raise ScenarioError(f"{source}: rooms: {self.participants} participants are more than {MAX_PARTICIPANTS}")
        if self.talk.pause_s > 0 and self.talk.talk_s < 0.02:
            raise ScenarioError(f"{source}: talk.talk_s: a spurt lasts 0.02 s at least")


def shipped() -> list[str]:
    """Names of the scenarios that come with the load tester."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def load(name: str) -> Scenario:
    """The shipped scenario of that name, or the file. Raises :class:`ScenarioError`."""
    file = SHIPPED / f"{name}.toml" if name in shipped() else Path(name)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise ScenarioError(f"{name}: {error.strerror}; shipped scenarios are {', '.join(shipped())}") from None
    try:
        scenario = msgspec.toml.decode(text, type=Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{file}: {in_words(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{file}: is not valid TOML: {error}") from None
    scenario.check(str(file))
    return scenario


def in_words(error: msgspec.ValidationError) -> str:
    """``key: what is wrong``, of msgspec's ``what is wrong - at `$.key```."""
    text, _, place = str(error).partition(" - at `$")
    unknown = re.match(r"Object contains unknown field `(.*)`", text)
    key = place.rstrip("`").lstrip(".")
    if unknown:
        return f"{key + '.' if key else ''}{unknown[1]}: there is no such key"
    return f"{key}: {text[0].lower()}{text[1:]}" if key else text


def changed(scenario: Scenario, changes: dict[str, Any]) -> Scenario:
    """``scenario`` with the given fields; ``part.field`` names one of a part, like ``quality.max_loss_ratio``."""
    for name, value in changes.items():
        part, _, field = name.partition(".")
        scenario = msgspec.structs.replace(
            scenario, **{part: msgspec.structs.replace(getattr(scenario, part), **{field: value}) if field else value}
        )
    return scenario
