"""The command line ``antiphon``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from control import __version__, console
from control.config import ConfigError, load

OTHERS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""For the commands of other packages: their flags are theirs to read."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="antiphon")
def main() -> None:
    """Antiphon: people in browsers talk through a selective forwarding unit.

    The quickest start is "antiphon serve"; then open http://localhost:8080.
    """


SERVE_OPTIONS: Final = (
    click.option(
        "--config", "file", metavar="FILE", type=click.Path(path_type=Path), help="TOML file with the sections [control] and [shard]."
    ),
    click.option("--host", metavar="ADDR", help="Address that HTTP and WebSocket listen on.  [default: localhost]"),
    click.option("--port", metavar="PORT", help="TCP port of HTTP and WebSocket; 0: any free one.  [default: 8080]"),
    click.option("--shards", metavar="N|auto", help="Local shard processes; auto: one for each usable core.  [default: auto]"),
    click.option("--udp-port", metavar="PORT", help="UDP port of shard 0, the next for shard 1, ...; 0: any free ones.  [default: 40000]"),
    click.option("--open", is_flag=True, default=None, help="Let anyone make and join rooms, also where --host is not this machine only."),
    click.option("--advertise", metavar="ADDR[,ADDR]", help="Addresses told to browsers for media.  [default: all of this host]"),
    click.option("--tls-certificate", metavar="FILE", help="Serve HTTPS and wss with this certificate (PEM)."),
    click.option("--tls-key", metavar="FILE", help="The certificate's key (PEM)."),
    click.option("--dev-tls", is_flag=True, default=None, help="Serve HTTPS with a self-signed certificate."),
)
"""Flags of ``serve`` and ``check-config``; but for ``--config`` each is named as the option of [control] that it sets."""


def with_serve_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(SERVE_OPTIONS):
        command = option(command)
    return command


@main.command()
@with_serve_options
def serve(file: Path | None, **flags: Any) -> None:
    """Run control and the local shards: the page and media.

    A flag goes before the environment (ANTIPHON_PORT, ANTIPHON_CONTROL_ROOM_GRACE_S, ...), the environment before the file, the
    file before the defaults.
    """
    try:
        config = load(_given(flags), os.environ, file)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"antiphon: {problem}", err=True)
        sys.exit(2)
    from control.serve import run  # not before: the other commands need none of it

    sys.exit(run(config, file))


@main.command()
@with_serve_options
def check_config(file: Path | None, **flags: Any) -> None:
    """Show the configuration in force, and where it comes from.

    What "serve" would have with the same flags: every option of both sections with its value and its source, which is a line of the
    file, a variable of the environment, a flag, or the default. Secrets are shown as ***. Where "serve" would not start, the exit
    status is 2, with a line for each problem.
    """
    from control.check import run

    sys.exit(run(_given(flags), os.environ, file))


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


@main.command(context_settings=OTHERS, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def shard(arguments: tuple[str, ...]) -> None:
    """Run one shard that joins a control elsewhere."""
    _become("sfu", arguments)


@main.command(context_settings=OTHERS, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def loadtest(arguments: tuple[str, ...]) -> None:
    """Join rooms as synthetic people and measure."""
    _become("loadtest", arguments)


for operators_command in console.COMMANDS:
    main.add_command(operators_command)


@main.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--dir", "folder", metavar="DIR", type=click.Path(path_type=Path), default=Path(), help="Where the files go.  [default: here]"
)
def keygen(names: tuple[str, ...], folder: Path) -> None:
    """Make keys for shards on other hosts.

    They are CURVE keys, by which control and such shards know each other. Without a NAME one pair for control and one for a
    shard; then one for each further shard that is to have its own. Prints what
    to put where. Keys are never overwritten.
    """
    from control.keygen import run

    run(folder, names or ("control", "shard"))


def _become(package: str, arguments: tuple[str, ...]) -> None:
    """Replace this process by ``python -m package``: control imports neither shard nor load tester."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", package, *arguments])


if __name__ == "__main__":
    main(prog_name="antiphon")
