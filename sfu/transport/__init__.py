"""One peer's association with the shard: ICE-lite, DTLS and what ties them together. No sockets and no clocks in here."""
