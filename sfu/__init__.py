"""One shard: the process that touches media. It obeys one control and imports nothing of it.

Glossary
--------
- **Participant**: one signaling session in a room (``user_id``).
- **Transport**: one ICE + DTLS + SRTP association. **Connection**: a transport plus its SDP state.
- **Publisher**: a participant's client-to-server connection and the tracks it sends.
- **Track**: one published source (audio; later video, screen). **Encoding**: one SSRC of it.
- **Consumer**: one outgoing copy of a track for one participant. It rides on some transport; several may share one.
- **Subscription**: one connection on which a participant hears the whole room, a section for each track.
- **Slot**: a transport's place in the native tables. **Generation** tells apart what used one slot in turn.
- SSRC, sequence number, timestamp, payload type, MID, ROC: as in RFC 3550, RFC 3711 and RFC 8843.

Theory of operation
-------------------
Two threads. The **forwarding thread** (:mod:`sfu.forwarding`, C) owns the UDP sockets: it unprotects each RTP packet once, walks the
track's flat list of consumers and sends each its copy. It decides nothing and never takes the GIL. The **signaling thread** (this
package, uvloop) decides who hears whom and tells the other by small commands. RTP never enters Python.

What comes to the signaling thread, and where it goes::

    control ── ZeroMQ ──▶ link ──▶ process ──▶ shard ──▶ room ──▶ publisher, consumer ──┐
                                      ▲          │                                      ├──▶ native loop
    peers ── UDP ──▶ native loop ── events ──────┴──▶ connection ──▶ transport/* ───────┘

- :mod:`~sfu.process` and :mod:`~sfu.link` hold the sockets, clocks and timers. Everything below them takes ``now`` and messages, and
  can be run in a test without any of these.
- :mod:`~sfu.shard` carries out control's commands (:mod:`~sfu.protocol`) and hands native events to the connection they concern.
- :mod:`~sfu.room` knows who publishes and who consumes, and compiles that into the lists that the forwarding thread walks. A consumer
  is listed exactly while its transport is connected, its section was answered, and its listener wants to hear it.
- :mod:`~sfu.subscription` keeps the connections that carry a whole room: what changes is gathered, offered as one revision, and answered.
- :mod:`~sfu.connection` keeps transports: slots, timers, the effects that :mod:`~sfu.transport.webrtc` asks for, which is the state
  machine of one association: :mod:`~sfu.transport.ice_lite` answers STUN and learns the peer's address from authenticated requests,
  :mod:`~sfu.transport.dtls` makes the SRTP keys.
- :mod:`~sfu.negotiation` writes offers and reads answers. :mod:`~sfu.feedback` reads what peers report.

A call from the shard's side: JoinRoom; CreatePublisher takes a slot and answers with an offer; the peer's STUN request carries our ufrag,
which names the slot, and binds the peer's address; DTLS; AnswerPublisher brings the fingerprint; when both are there the keys go to the
forwarding thread and control hears TrackPublished. CreateConsumer likewise in the other direction; when its transport is up the consumer
enters the track's list. Leaving, closing, close_notify and lost consent all end in the same place and free the same things, in the
order: lists, consumer, track, transport.

Faults stay with whom they concern: a peer's are :class:`~sfu.errors.PeerError` or a named drop counter, and an exception while handling
one peer's event closes that peer and is logged. A shard that loses its control forwards on.
"""

__version__ = "0.1.0"
