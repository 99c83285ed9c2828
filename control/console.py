"""The commands of an operator: what runs where, and tokens. They speak to a running control over its admin API (control/admin.py).

Where control is and which token opens it follows from the same configuration that ``antiphon serve`` reads; a token that control drew
itself is found in its runtime folder, by the same user on the same host.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import click

from control.binding import StartError, runtime_path
from control.config import ConfigError, ControlConfig, is_loopback, load

if TYPE_CHECKING:
    import httpx
    from rich.table import Table

TIMEOUT_S: Final = 10.0
LATE_S: Final = 30.0
"""So long after its deadline a drain that is not done is a fault."""
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FILE_OPTION: Final = click.option(
    "--config", "file", metavar="FILE", type=click.Path(path_type=Path), help="The configuration file of the server."
)
URL_OPTION: Final = click.option("--url", metavar="URL", help="Where the server is.  [default: what its configuration says]")
JSON_OPTION: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
WATCH_OPTION: Final = click.option("--watch", is_flag=True, help="Show it again each second, until Ctrl-C.")


class ConsoleError(Exception):
    """What was asked for cannot be done; the text is one line for people."""


class AdminClient:
    """The admin API of one running control."""

    def __init__(self, file: Path | None, url: str | None) -> None:
        import httpx  # not before: it takes longer to load than most commands to run

        config = _config(file)
        self.url = (url or _url(config)).rstrip("/")
        headers = {"Authorization": f"Bearer {_token(config, self.url)}"}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S, trust_env=False, verify=_trust(config, self.url))

    def close(self) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, body)

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", path, None)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        import httpx

        try:
            answer = self._http.request(method, path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConsoleError(f"no server answers at {self.url}: {error}") from None
        if answer.is_success:
            return answer.json() if answer.content else None
        raise ConsoleError(_problem(answer))


def _problem(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"this is no Antiphon server: it answered with HTTP status {answer.status_code}"


def _config(file: Path | None) -> ControlConfig:
    try:
        return load({}, os.environ, file)
    except ConfigError as error:
        raise ConsoleError("; ".join(error.problems)) from None


def _url(config: ControlConfig) -> str:
    if not config.port:
        raise ConsoleError("the server's port is chosen by the system: say where it is with --url")
    host = "localhost" if config.host in ("0.0.0.0", "::") else config.host
    scheme = "https" if config.tls_certificate or config.dev_tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.port}"


def _trust(config: ControlConfig, url: str) -> ssl.SSLContext:
    """What a server's certificate is checked against.

    On this host it is enough that it is the very one that the configuration names, or that --dev-tls has made: that holds for other names
    than localhost, and nobody else vouches for the latter.
    """
    from control import dev_certificate  # not before: as httpx above

    context = ssl.create_default_context()
    known = Path(config.tls_certificate) if config.tls_certificate else runtime_path(config) / dev_certificate.CERTIFICATE
    if is_loopback(urlsplit(url).hostname or "") and known.is_file():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(known)
        except OSError as error:
            raise ConsoleError(f"the certificate {known} cannot be used: {error.strerror}") from None
    return context


def _token(config: ControlConfig, url: str) -> str:
    """The configured token, or the one that control has drawn and left in its folder."""
    from control.admin_token import configured, token_file

    token = configured(config)
    if token is not None:
        return token
    try:
        address = urlsplit(url)
        host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    except ValueError:
        raise ConsoleError(f"{url} is not the address of a server") from None
    if is_loopback(host) or host == config.host:
        folder = runtime_path(config)
        for path in (token_file(folder, config.host, port), token_file(folder, host, port), *folder.glob(f"admin-*-{port}.token")):
            if path.exists():
                return path.read_text(encoding="ascii").strip()
    raise ConsoleError(
        f"no admin token for {url}: set admin_token or ANTIPHON_CONTROL_ADMIN_TOKEN, or run this as the server's user on its host"
    )


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose failures are one line and exit status 1."""
    import functools

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except (ConsoleError, StartError, OSError) as error:
            click.echo(f"antiphon: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)

    return run


# ------------------------------------------------------------------------------------------------ lists


@click.command()
@FILE_OPTION
@URL_OPTION
@JSON_OPTION
@WATCH_OPTION
@reporting
def shards(file: Path | None, url: str | None, as_json: bool, watch: bool) -> None:
    """List the shards of a running server and their load."""
    client = AdminClient(file, url)
    _show(lambda: client.get("/api/shards"), _shard_table, as_json, watch)


@click.command()
@FILE_OPTION
@URL_OPTION
@JSON_OPTION
@WATCH_OPTION
@click.argument("room", required=False)
@reporting
def rooms(file: Path | None, url: str | None, as_json: bool, watch: bool, room: str | None) -> None:
    """List the rooms of a running server, or show one.

    Of each its shard and the people in it; with ROOM that one, and what comes in from its people.
    """
    client = AdminClient(file, url)
    if room is None:
        _show(lambda: client.get("/api/rooms"), _room_table, as_json, watch)
    else:
        _show(lambda: client.get(f"/api/rooms/{quoted(room)}"), _people_table, as_json, watch)


@click.command()
@click.argument("room")
@click.argument("speaker", metavar="A")
@click.argument("listener", metavar="B")
@FILE_OPTION
@URL_OPTION
@JSON_OPTION
@reporting
def why(room: str, speaker: str, listener: str, file: Path | None, url: str | None, as_json: bool) -> None:
    """Say why B does not hear A in ROOM: every hop of the way with its counters, and the first that fails.

    A and B are user ids, or usernames that only one in the room has. Exit status 2 if a hop fails.
    """
    path = f"/api/rooms/{quoted(room)}/path?from={quoted(speaker)}&to={quoted(listener)}"
    answer = AdminClient(file, url).get(path)
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
    else:
        from rich.console import Console

        Console().print(_path_table(answer))
        click.echo(_printable(answer["verdict"]))
    if answer["failed_hop"] is not None:
        sys.exit(2)


def _path_table(answer: Any) -> Table:
    from rich.text import Text

    table = _table("hop", "state", "what is known")
    colours = {"ok": "green", "failed": "red", "unknown": "yellow"}
    for hop in answer["hops"]:
        figures = ", ".join(f"{name} {value}" for name, value in hop["figures"].items() if value is not None)
        known = Text(_printable(hop["says"]))
        if figures:
            known.append(f"\n{_printable(figures)}", style="dim")
        table.add_row(hop["name"], Text(hop["state"], style=colours[hop["state"]]), known)
    return table


def _printable(text: str) -> str:
    """Names are other people's words: nothing in them may steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _show(ask: Callable[[], Any], table: Callable[[Any], Table], as_json: bool, watch: bool) -> None:
    """Print what ``ask`` gives: once, or each second."""
    answers: Iterator[Any] = _each_second(ask) if watch else iter([ask()])
    if as_json:
        for answer in answers:
            click.echo(json.dumps(answer, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not watch:
        console.print(table(next(answers)))
        return
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for answer in answers:
            live.update(table(answer), refresh=True)


def _each_second(ask: Callable[[], Any]) -> Iterator[Any]:
    while True:
        yield ask()
        time.sleep(1)


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        number = name.startswith("#")
        table.add_column(name.removeprefix("#"), justify="right" if number else "left", overflow="fold")
    return table


def _shard_table(answer: Any) -> Table:
    table = _table("shard", "state", "host", "#pid", "#UDP", "#rooms", "#people", "#consumers", "#lag ms")
    for one in answer["shards"]:
        figures = [str(one[name]) for name in ("pid", "udp_port", "rooms", "participants", "consumers")]
        table.add_row(one["shard_id"], "draining" if one["draining"] else one["state"], one["host"], *figures, f"{one['lag_ms']:.1f}")
    return table


def _room_table(answer: Any) -> Table:
    from rich.text import Text

    table = _table("room", "shard", "#people", "#talking", "names")
    for one in answer["rooms"]:
        people = one["participants"]
        talking = sum(person["track_id"] is not None and not person["muted"] for person in people)
        names = Text(", ".join(person["username"] for person in people[:8]) + (", ..." if len(people) > 8 else ""))
        table.add_row(one["room_id"], one["shard_id"] or "-", str(len(people)), str(talking), names)
    return table


def _people_table(answer: Any) -> Table:
    from rich.text import Text

    table = _table("name", "user", "muted", "#hears", "#packets", "#lost", "#jitter ms", "#kbit/s", "#dBov")
    for person in answer["participants"]:
        media = person["media"]
        figures = ["-"] * 5
        if media is not None:
            figures = [str(media["packets"]), str(media["lost"]), f"{media['jitter_ms']:.1f}"]
            figures += [f"{media['bitrate_bps'] / 1000:.1f}", str(media["level_dbov"])]
        muted = "yes" if person["muted"] else "no"
        table.add_row(Text(person["username"]), person["user_id"], muted, str(person["consumers"]), *figures)
    return table


# ------------------------------------------------------------------------------------------------ draining


@click.command()
@FILE_OPTION
@URL_OPTION
@click.argument("shard")
@click.option("--deadline", default=60.0, metavar="SECONDS", help="After so long no room is left on it.  [default: 60]")
@reporting
def drain(file: Path | None, url: str | None, shard: str, deadline: float) -> None:
    """Empty a shard: its rooms move to others.

    SHARD gets no new rooms, and those that it has are moved to other shards, or end at the deadline. Returns when it is empty;
    "antiphon undrain SHARD" lets it take rooms again.
    """
    client = AdminClient(file, url)
    state = client.post(f"/api/shards/{quoted(shard)}/drain", {"deadline_s": deadline})
    end = time.monotonic() + deadline + LATE_S
    while state["rooms"]:
        if time.monotonic() > end:
            raise ConsoleError(f"shard {shard} still has {state['rooms']} rooms after the deadline")
        click.echo(f"shard {shard}: {state['rooms']} rooms with {state['participants']} people left")
        time.sleep(1)
        state = next(one for one in client.get("/api/shards")["shards"] if one["shard_id"] == shard)
        if not state["draining"]:
            raise ConsoleError(f"shard {shard} was told to take rooms again")
    click.echo(f"shard {shard} is empty")


@click.command()
@FILE_OPTION
@URL_OPTION
@click.argument("shard")
@reporting
def undrain(file: Path | None, url: str | None, shard: str) -> None:
    """Let SHARD take rooms again."""
    AdminClient(file, url).delete(f"/api/shards/{quoted(shard)}/drain")
    click.echo(f"shard {shard} takes rooms")


# ------------------------------------------------------------------------------------------------ tokens


@click.command()
@FILE_OPTION
@click.option("--room", default="*", metavar="ROOM", help="Id of the room that it is for; * is any, and making rooms.  [default: *]")
@click.option("--identity", required=True, metavar="TEXT", help="Who it is for.")
@click.option("--name", default="", metavar="TEXT", help="The person's username.  [default: the person chooses]")
@click.option(
    "--grant",
    "grants",
    multiple=True,
    type=click.Choice(["join", "publish", "subscribe", "admin"]),
    help="What it allows; may be given several times.  [default: join, publish, subscribe]",
)
@click.option("--ttl", default="1h", metavar="TIME", help="How long it is good: a number and s, m, h or d.  [default: 1h]")
@reporting
def token(file: Path | None, room: str, identity: str, name: str, grants: tuple[Any, ...], ttl: str) -> None:
    """Make an access token.

    It is signed with the key of the configuration; no server is asked.

    The key is access_private_key_file (EdDSA) or access_secret, access_secret_file (HS256).
    """
    from control.auth import load_keys, make_token
    from control.grants import EVERYDAY, Grants

    keys = load_keys(_config(file))
    if keys is None:
        raise ConsoleError("there is no key: set access_private_key_file, access_secret_file or access_secret in the configuration")
    made = Grants(identity=identity, name=name, room=room, grants=grants or EVERYDAY)
    click.echo(make_token(keys, made, _seconds(ttl), time.time()))


def _seconds(ttl: str) -> float:
    found = re.fullmatch(r"(\d{1,9})([smhd])", ttl)
    if found is None or not int(found[1]):
        raise ConsoleError(f"--ttl {ttl}: expected a number and a unit, as 90s, 30m, 12h or 7d")
    return int(found[1]) * UNITS[found[2]]


def quoted(part: str) -> str:
    """``part`` as one piece of a path."""
    return quote(part, safe="")


COMMANDS: Final[list[click.Command]] = [shards, rooms, why, drain, undrain, token]
