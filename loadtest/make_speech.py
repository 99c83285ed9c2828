"""Makes ``speech.opus``, the sound that synthetic participants send: a few sentences by espeak-ng, 20 ms Opus packets in an Ogg file.

    apt-get install espeak-ng
    python -m loadtest.make_speech

The file is kept in the repository, so that nobody needs espeak-ng to run the load tester. It is an ordinary Ogg Opus file: any player
plays it. Sentences differ in length and so do the pauses between them, as in a conversation; what is silent is not sent (speech.py).
"""

from __future__ import annotations

import io
import subprocess
import wave
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

SPEECH_FILE: Final = Path(__file__).with_name("speech.opus")
RATE: Final = 48_000
FRAME: Final = 960
"""Samples of a packet: 20 ms."""
BITS_PER_SECOND: Final = 32_000

SENTENCES: Final = (
    ("Good morning, can everybody hear me? I will start in a minute, as soon as the last two of us are here.", 1.2),
    ("Yes, loud and clear.", 0.6),
    ("Then let us look at the figures of last week, there were more calls than ever, and nobody complained about the sound.", 1.6),
    ("One moment, please.", 2.4),
    (
        "I was wondering whether the rooms on the second machine were as good as those on the first one, because they were further away.",
        0.9,
    ),
    ("They were, within half a millisecond.", 1.5),
    ("Fine. What comes next?", 0.5),
    (
        "Next we try what happens when a machine dies in the middle of a conversation, and how long it takes until people go on talking.",
        1.8,
    ),
)
"""What is said, and how many seconds of silence follow."""


def speak(sentence: str) -> NDArray[np.float64]:
    """Samples at 48 kHz, -1..1."""
    said = subprocess.run(["espeak-ng", "-v", "en", "-s", "165", "--stdout", sentence], check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(said)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
    # A stream has no length in its header, and wave then reads what there is.
    times = np.arange(0, len(samples) / rate, 1 / RATE)
    return np.interp(times, np.arange(len(samples)) / rate, samples / 32768)


def main() -> None:
    """Write the file."""
    parts = [np.concatenate([speak(text), np.zeros(int(pause_s * RATE))]) for text, pause_s in SENTENCES]
    samples = np.concatenate(parts)
    samples = samples[: len(samples) // FRAME * FRAME]
    with av.open(str(SPEECH_FILE), "w", format="ogg") as file:
        stream = file.add_stream("libopus", rate=RATE, options={"application": "voip", "frame_duration": "20", "vbr": "on"})
        stream.bit_rate = BITS_PER_SECOND
        stream.layout = "mono"
        stream.format = "s16"
        for number, chunk in enumerate((samples * 32767).astype(np.int16).reshape(-1, 1, FRAME)):
            frame = av.AudioFrame.from_ndarray(chunk, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, number * FRAME, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    print(f"{SPEECH_FILE}: {SPEECH_FILE.stat().st_size} bytes, {len(samples) / RATE:.1f} s")


if __name__ == "__main__":
    main()
