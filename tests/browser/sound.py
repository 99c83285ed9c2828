"""A sound that can be told from silence after echo cancellation, noise suppression and Opus: short rising tones with pauses."""

from __future__ import annotations

import array
import math
import sys
import wave
from pathlib import Path

RATE_HZ = 48_000
SYLLABLE_S = 0.16
PAUSE_S = 0.06


def write_speech(path: Path, *, base_hz: float = 220.0, syllables: int = 40) -> Path:
    """Write a mono 16-bit WAV of ``syllables`` gliding tones, each with four harmonics and soft edges; returns ``path``."""
    samples = array.array("h")
    length, pause = int(SYLLABLE_S * RATE_HZ), int(PAUSE_S * RATE_HZ)
    for number in range(syllables):
        start_hz = base_hz * (1 + (number * 7 % 5) / 4)
        phase = 0.0
        for index in range(length):
            position = index / length
            phase += 2 * math.pi * start_hz * (1 + 0.4 * position) / RATE_HZ
            edge = min(1.0, position * 12, (1 - position) * 12)
            tone = sum(math.sin(phase * harmonic) / harmonic for harmonic in (1, 2, 3, 4)) / 2.1
            samples.append(int(24_000 * edge * tone))
        samples.extend([0] * pause)
    return _write(path, samples)


def write_silence(path: Path, *, seconds: int = 4) -> Path:
    """Write a mono 16-bit WAV of nothing but zeros; returns ``path``."""
    return _write(path, array.array("h", bytes(2 * RATE_HZ * seconds)))


def _write(path: Path, samples: array.array[int]) -> Path:
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.tobytes())
    return path
