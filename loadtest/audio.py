"""What synthetic participants say and how they recognise each other: one steady tone each."""

from __future__ import annotations

import asyncio
import math
from fractions import Fraction
from typing import Final

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame
from numpy.typing import NDArray

SAMPLE_RATE: Final = 48_000
"""Hz; Opus in RTP always counts at this rate (RFC 7587 4.1)."""
FRAME_SAMPLES: Final = 960
"""Samples in one frame and one packet: 20 ms."""
PACKETS_PER_SECOND: Final = SAMPLE_RATE // FRAME_SAMPLES

LOWEST_HZ: Final = 300.0
TONE_STEP_HZ: Final = 50.0
"""Distance of two participants' tones: far more than :attr:`Ear.pitch_hz` can be wrong."""
TONES: Final = 60
"""How many different tones there are before they repeat; the highest stays where Opus codes every tone well (3.25 kHz)."""


def tone_of(number: int) -> float:
    """Frequency in Hz for participant ``number`` of a room."""
    return LOWEST_HZ + TONE_STEP_HZ * (number % TONES)


class ToneTrack(MediaStreamTrack):
    """An audio track with a sine of ``frequency_hz``, mono, 48 kHz, one frame each 20 ms of wall clock.

    The clock is the event loop's; after a stall frames come at once until the track is on time again, as from a sound card.
    """

    kind = "audio"

    def __init__(self, frequency_hz: float, amplitude: float = 0.3) -> None:
        super().__init__()
        self.frequency_hz = frequency_hz
        # A table of a whole number of periods: a second holds one for every integer frequency.
        seconds = Fraction(frequency_hz).limit_denominator(10).denominator
        samples = np.arange(SAMPLE_RATE * seconds)
        sine = np.sin(2 * np.pi * frequency_hz * samples / SAMPLE_RATE) * amplitude * 32767
        self._table: NDArray[np.int16] = sine.astype(np.int16).reshape(-1, FRAME_SAMPLES)
        self._frames = 0
        self._start_s: float | None = None

    async def recv(self) -> AudioFrame:
        """The next frame, when it is due. Raises :class:`MediaStreamError` after ``stop``."""
        if self.readyState != "live":
            raise MediaStreamError
        now_s = asyncio.get_running_loop().time()
        if self._start_s is None:
            self._start_s = now_s
        due_s = self._start_s + self._frames / PACKETS_PER_SECOND
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
        frame = AudioFrame.from_ndarray(self._table[self._frames % len(self._table)].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._frames * FRAME_SAMPLES
        frame.time_base = Fraction(1, SAMPLE_RATE)
        self._frames += 1
        return frame


class Ear:
    """Listens to one decoded track: remembers the last :data:`MEMORY_FRAMES` frames and says which tone is in them."""

    MEMORY_FRAMES: Final = 10
    """200 ms: a resolution of 5 Hz, and a change of the source is noticed as fast."""

    def __init__(self) -> None:
        self.frames = 0
        """Decoded frames so far."""
        self._memory: list[NDArray[np.float32]] = []

    def hear(self, frame: AudioFrame) -> None:
        """Take one decoded frame: packed 16-bit samples at 48 kHz, as aiortc's Opus decoder gives."""
        channels = len(frame.layout.channels)
        samples = frame.to_ndarray().reshape(-1, channels)[:, 0]
        self.frames += 1
        self._memory.append(samples.astype(np.float32) / np.float32(32768))
        del self._memory[: -self.MEMORY_FRAMES]

    def forget(self) -> None:
        """Start afresh: what was heard before no longer counts for pitch and level."""
        self._memory.clear()

    @property
    def is_sure(self) -> bool:
        """Whether enough was heard since the start, or since :meth:`forget`, for a pitch."""
        return len(self._memory) == self.MEMORY_FRAMES

    @property
    def pitch_hz(self) -> float | None:
        """The strongest frequency, within 5 Hz; None while too little was heard or it was silent."""
        if not self.is_sure or self.level_dbfs < -60:
            return None
        samples = np.concatenate(self._memory)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        return float(np.argmax(spectrum)) * SAMPLE_RATE / len(samples)

    @property
    def level_dbfs(self) -> float:
        """Root mean square of what is remembered, in dB below full scale; -inf for silence."""
        if not self._memory:
            return -math.inf
        power = float(np.mean(np.square(np.concatenate(self._memory))))
        return 10 * math.log10(power) if power > 0 else -math.inf
