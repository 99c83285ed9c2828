"""A tone that goes through Opus comes out as the same tone, and an ear that is unsure says so."""

from __future__ import annotations

import math

import pytest
from aiortc.codecs.opus import OpusDecoder, OpusEncoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError

from loadtest.audio import FRAME_SAMPLES, SAMPLE_RATE, TONE_STEP_HZ, TONES, Ear, ToneTrack, tone_of


async def hear(track: ToneTrack, ear: Ear, frames: int) -> None:
    for _ in range(frames):
        ear.hear(await track.recv())


@pytest.mark.parametrize("number", [0, 1, 7, TONES - 1])
async def test_tone_survives_opus_within_half_a_step(number: int) -> None:
    track, ear, encoder, decoder = ToneTrack(tone_of(number)), Ear(), OpusEncoder(), OpusDecoder()
    while not ear.is_sure:
        payloads, timestamp = encoder.encode(await track.recv())
        for payload in payloads:
            for decoded in decoder.decode(JitterFrame(payload, timestamp)):
                ear.hear(decoded)
    assert ear.pitch_hz == pytest.approx(tone_of(number), abs=TONE_STEP_HZ / 2)
    assert ear.level_dbfs == pytest.approx(-13, abs=6)


def test_tones_of_one_room_differ() -> None:
    assert len({tone_of(number) for number in range(TONES)}) == TONES


async def test_frames_follow_each_other_without_a_gap() -> None:
    track = ToneTrack(440)
    frames = [await track.recv() for _ in range(3)]
    assert [frame.pts for frame in frames] == [0, FRAME_SAMPLES, 2 * FRAME_SAMPLES]
    assert {frame.sample_rate for frame in frames} == {SAMPLE_RATE}


async def test_fractional_frequency_has_whole_periods_in_its_table() -> None:
    ear = Ear()
    await hear(ToneTrack(440.5), ear, Ear.MEMORY_FRAMES)
    assert ear.pitch_hz == pytest.approx(440.5, abs=5)


async def test_stopped_track_ends() -> None:
    track = ToneTrack(440)
    track.stop()
    with pytest.raises(MediaStreamError):
        await track.recv()


async def test_ear_is_unsure_until_it_heard_enough_and_after_forgetting() -> None:
    track, ear = ToneTrack(440), Ear()
    assert ear.pitch_hz is None
    assert ear.level_dbfs == -math.inf
    await hear(track, ear, Ear.MEMORY_FRAMES)
    assert ear.pitch_hz is not None
    ear.forget()
    assert ear.pitch_hz is None


async def test_silence_has_no_pitch() -> None:
    ear = Ear()
    await hear(ToneTrack(440, amplitude=0), ear, Ear.MEMORY_FRAMES)
    assert ear.is_sure
    assert ear.pitch_hz is None
