"""Which shard a room gets: a pure function of what is known of the shards."""

from __future__ import annotations

from collections.abc import Mapping

from control.rooms import ShardLoad
from sfu.protocol import ShardId


def least_loaded(loads: Mapping[ShardId, ShardLoad]) -> ShardId | None:
    """The shard with the fewest people; among equals the one with the fewest rooms, then the first by name.

    ``loads``: every shard that is alive and takes rooms. None if there is no such shard.
    """
    return min(loads, key=lambda shard: (loads[shard].people, loads[shard].rooms, shard), default=None)
