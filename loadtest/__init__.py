"""Antiphon's load tester: synthetic participants that join rooms over real signaling and measure what they hear.

* :mod:`loadtest.signaling` speaks signaling version 1 over one WebSocket.
* :mod:`loadtest.audio` makes a tone and recognises it again.
* :mod:`loadtest.peer` is one participant: whole aiortc peer connections, one for its publisher, one for each consumer.
* :mod:`loadtest.participant` is one participant of a run: it publishes lightly or over aiortc, and measures what it hears.
* :mod:`loadtest.light` is a light media connection (:mod:`loadtest.ice`, :mod:`loadtest.dtls`, :mod:`loadtest.sdp`), whose packets
  :mod:`loadtest.native` sends, receives and counts; :mod:`loadtest.speech` is what they say, :mod:`loadtest.reach` where they may go.
* :mod:`loadtest.scenario` says who joins when, runs that and gathers figures.
* :mod:`loadtest.report` turns the figures into a table and a verdict.

It knows a server only through its URL and shares no code with ``control`` or ``sfu``, but for SRTP in C (native/README.md).
"""
