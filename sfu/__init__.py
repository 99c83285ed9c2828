"""One shard (placeholder docstring, see architecture)."""
