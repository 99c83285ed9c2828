"""How the page treats sound: what it asks of the browser, and what it sends when nobody speaks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.browser.conftest import Opener
from tests.browser.driver import WAIT_S
from tests.browser.person import Person
from tests.browser.sound import write_silence

pytestmark = pytest.mark.browser

SPAN_S = 4.0
"""How long packets are counted."""
RECORD_CONTEXTS = """
window.contexts = [];
window.AudioContext = class extends AudioContext {
  constructor(options) {
    super(options);
    window.contexts.push({ options, sampleRate: this.sampleRate });
  }
};
"""


async def publishing(person: Person) -> None:
    await person.connect("Ann")
    await person.give_microphone()
    await person.create_room()
    await person.page.wait("window.antiphon.client.room.local.publishing", for_="the publisher")


async def packets_per_s(person: Person) -> float:
    before, began = await person.sent_packets(), time.monotonic()
    await asyncio.sleep(SPAN_S)  # the span that is measured
    return (await person.sent_packets() - before) / (time.monotonic() - began)


async def test_levels_are_measured_for_conversation(open_chromium: Opener) -> None:
    """10 ms latency at 48 kHz, the rate of Opus: with the default, meters would lag behind voices."""
    ann = await open_chromium(before=RECORD_CONTEXTS)
    await publishing(ann)
    await ann.wait_microphone_level()
    contexts = await ann.page.evaluate("window.contexts")
    assert contexts == [{"options": {"latencyHint": 0.01, "sampleRate": 48_000}, "sampleRate": 48_000}]


async def test_speech_is_fifty_packets_a_second(open_chromium: Opener) -> None:
    ann = await open_chromium()
    await publishing(ann)
    assert 40 < await packets_per_s(ann) < 60


async def test_silence_sends_next_to_nothing(open_chromium: Opener, tmp_path: Path) -> None:
    """Opus' discontinuous transmission, which the server asks for (usedtx=1): one packet in 400 ms."""
    ann = await open_chromium(hears=write_silence(tmp_path / "silence.wav"))
    await publishing(ann)
    end = time.monotonic() + WAIT_S
    while (rate := await packets_per_s(ann)) >= 25:  # it takes a moment until the encoder believes in the silence
        assert time.monotonic() < end, f"{rate} packets a second of silence"
