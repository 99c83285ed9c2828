"""``python -m sfu``, which is also ``antiphon shard``: one shard process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import structlog
import uvloop

from sfu.check import lines
from sfu.config import ConfigError, ShardConfig, load
from sfu.errors import ShardError
from sfu.keys import read_keys
from sfu.logs import set_up_logs


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", "file", metavar="FILE", type=click.Path(path_type=Path), help="TOML file; its section [shard] is read.")
@click.option("--control", metavar="ENDPOINT", help="ZeroMQ endpoint of control, ipc://PATH or tcp://HOST:PORT.")
@click.option("--key-file", metavar="FILE", help="This shard's CURVE keys, for a control on another host (antiphon keygen).")
@click.option("--control-public-key", metavar="KEY", help="Public CURVE key of that control.")
@click.option("--shard-id", metavar="NAME", help="Name of this shard, unique at its control.  [default: HOST-PORT]")
@click.option("--origin", hidden=True)  # for control, which starts shards with it
@click.option("--host", metavar="ADDR[,ADDR]", help="Addresses to bind, one per family.  [default: all]")
@click.option("--udp-port", metavar="PORT", help="UDP port of all media; 0: any free one.  [default: 40000]")
@click.option("--advertise", metavar="ADDR[,ADDR]", help="Addresses told to browsers for media.  [default: all of this host]")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.  [default: info]")
@click.option("--check-config", is_flag=True, help="Print the section [shard] as it would be in force, and end.")
def main(file: Path | None, check_config: bool, **flags: Any) -> None:
    """Run one shard: a process that forwards media and obeys one control.

    Every option of the section [shard] can be set in the environment too (ANTIPHON_SHARD_HEARTBEAT_MS, ...). A flag goes before
    the environment, the environment before the file, the file before the defaults.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        config = load(given, file)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"antiphon shard: {problem}", err=True)
        sys.exit(2)
    if check_config:
        _check(config)
        click.echo("\n".join(lines(config, given, file)))
        return
    set_up_logs(config.log_level)
    if config.shard_id:
        structlog.contextvars.bind_contextvars(shard=config.shard_id)
    from sfu.process import run  # after the flags are checked: it loads the native loop

    try:
        uvloop.run(run(config))
    except ShardError as error:
        click.echo(f"antiphon shard {config.shard_id}".rstrip() + f": {error}", err=True)
        sys.exit(2)


def _check(config: ShardConfig) -> None:
    """End where the files that the configuration names cannot be used."""
    try:
        read_keys(config)
    except ShardError as error:
        click.echo(f"antiphon shard: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main(prog_name="antiphon shard")
