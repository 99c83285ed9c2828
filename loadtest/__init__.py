"""Antiphon's load tester: synthetic participants that join rooms over real signaling and measure what they hear.

In the order in which a run goes:

* :mod:`loadtest.scenario` says who joins when and what is demanded; :mod:`loadtest.reach` where packets may go, :mod:`loadtest.tokens`
who gets in.
* :mod:`loadtest.run` runs that: :mod:`loadtest.crowd` has the people, :mod:`loadtest.faults` breaks what is to break.
* :mod:`loadtest.participant` is one of them: it publishes lightly or over a whole aiortc peer connection (:mod:`loadtest.stamped`), and
hears
  over light connections (:mod:`loadtest.light`, with :mod:`loadtest.ice`, :mod:`loadtest.dtls`, :mod:`loadtest.sdp`).
* :mod:`loadtest.native` sends, receives and counts media; :mod:`loadtest.speech` is what is said.
* :mod:`loadtest.namespace` takes all of it into a network namespace behind :mod:`loadtest.bad_link`, where that is asked for.
* :mod:`loadtest.generator` watches the load tester, :mod:`loadtest.metrics` the server; :mod:`loadtest.tally` adds up.
* :mod:`loadtest.report` is what comes out, REPORT.md its JSON, :mod:`loadtest.table` and :mod:`loadtest.html` (:mod:`loadtest.charts`)
its looks;
  :mod:`loadtest.capacity` runs one after the other to find the limit.

For tests there are whole peers that decode what they hear: :mod:`loadtest.peer` and :mod:`loadtest.audio`; :mod:`loadtest.signaling`
serves both.

It knows a server only through its URL and shares no code with ``control`` or ``sfu``, but for SRTP in C (native/README.md).
"""
