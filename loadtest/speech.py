"""What synthetic participants say: the Opus packets of ``speech.opus`` (see make_speech.py), each with its level."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np

SPEECH_FILE: Final = Path(__file__).with_name("speech.opus")
SILENT_DBOV: Final = 60
"""A frame of this level (-dBov) or below is not sent, as an encoder with DTX would not."""
LOWEST_DBOV: Final = 127


class Frame(NamedTuple):
    """20 ms. ``packet``: Opus of code 0, ``level``: -dBov (RFC 6464 3)."""

    packet: bytes
    level: int

    @property
    def silent(self) -> bool:
        return self.level >= SILENT_DBOV


@functools.cache
def frames() -> tuple[Frame, ...]:
    """All of it, 45 s. The level of a frame is that of the sound which its packet decodes to."""
    with av.open(str(SPEECH_FILE)) as file:
        stream = file.streams.audio[0]
        found = []
        for packet in file.demux(stream):
            decoded = packet.decode()
            if packet.size:
                samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in decoded]) if decoded else np.zeros(1, np.float32)
                found.append(Frame(bytes(packet), _level(float(np.mean(np.square(samples.astype(np.float64)))))))
    return tuple(found)


def _level(power: float) -> int:
    return min(LOWEST_DBOV, round(-10 * math.log10(power))) if power > 1e-12 else LOWEST_DBOV
