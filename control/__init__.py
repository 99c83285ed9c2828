"""The control plane: one process that serves the page, speaks signaling with browsers and directs the shards.

No media passes here. The files, in the order in which a message travels:

* :mod:`control.app` — the Starlette application: page, ``/ws``, ``/api``, ``/healthz``, ``/metrics``.
* :mod:`control.websocket` — one WebSocket: limits, order, bounded queues; knows nothing of rooms.
* :mod:`control.messages` — every JSON message of a browser and to a browser (documented in SIGNALING.md).
* :mod:`control.signaling` — what a message means: sans-IO, a message in, effects out.
* :mod:`control.path`, :mod:`control.why` — why can't A hear B: the verdict, and who asks the shard for it.
* :mod:`control.leftover`, :mod:`control.adoption`, :mod:`control.kept` — going on with the shards, rooms and people of a control that died.
* :mod:`control.media`, :mod:`control.subscriptions` — publishers, consumers, one connection for a whole room, ICE restart.
* :mod:`control.resume` — sessions that have lost their socket and may come back. Pure.
* :mod:`control.rooms`, :mod:`control.placement` — who is where; which shard a room gets. Pure.
* :mod:`control.dispatch` — carries effects out: to sockets and to shards.
* :mod:`control.shards` — ZeroMQ to the shards: request ids, deadlines, heartbeats.
* :mod:`control.curve` — keys of shards on other hosts; :mod:`control.keygen` makes them.
* :mod:`control.processes` — starts the local shards and starts them again when they die.
* :mod:`control.config`, :mod:`control.check` — the options; ``antiphon check-config``, which shows them.
* :mod:`control.admin` — the endpoints under ``/api``; :mod:`control.api` bounds and guards their requests, and
  :mod:`control.openapi` describes them.
* :mod:`control.grants`, :mod:`control.auth` — who may do what; the tokens that say so. :mod:`control.origins` — whose pages may connect.
* :mod:`control.admission`, :mod:`control.fleet`, :mod:`control.clients` — limits on who comes in; the shards' loads; whose address it is.
* :mod:`control.operator` — what an operator does to rooms and shards. :mod:`control.connections` — bounds on TCP connections.
* :mod:`control.happenings`, :mod:`control.webhooks` — what happens in rooms, and telling it to other systems.
* :mod:`control.console` — the commands of operators.
* :mod:`control.admin_token` — where the admin token comes from.
* :mod:`control.files` — the files that options name: :mod:`control.tls` (read again when they change), secrets.
* :mod:`control.metrics`, :mod:`control.meters` — ``/metrics``: what there is to read, and what is measured; grafana.json shows it.
* :mod:`control.serve` — puts all of it together and takes it down in order.

Of ``sfu`` only ``sfu.protocol`` is imported, never anything else.
"""

from __future__ import annotations

__version__ = "0.1.0"
