"""Everything an operator can set on the control process: one field, one description, one unit.

Values come from, in rising order: the default, the section ``[control]`` of the TOML file, the environment, the command line.
Each of these is checked by itself, so that a wrong value is reported with the key and the very place where it stands. The same
file holds the section ``[shard]``, which every shard reads (sfu/config.py).

An option that is a secret has the type :class:`pydantic.SecretStr` (or a list of them): that alone keeps its value out of
``antiphon check-config``, of error lines and of every ``repr``.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from control import ice_servers
from control.clients import networks

SECTIONS: Final = ("control", "shard")
"""Top-level tables of the file; anything else in it is an error."""
ENV_PREFIX: Final = "ANTIPHON_CONTROL_"
SHORT_ENV: Final = {
    "ANTIPHON_HOST": "host",
    "ANTIPHON_PORT": "port",
    "ANTIPHON_SHARDS": "shards",
    "ANTIPHON_UDP_PORT": "udp_port",
    "ANTIPHON_ADVERTISE": "advertise",
}
"""Short names for what is set most often; the long one (``ANTIPHON_CONTROL_PORT``) wins where both are set."""


class ConfigError(Exception):
    """The configuration cannot be used. ``problems``: one line each, with key, place and what was expected."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _split_list(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _check_address(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z_.:%-]{1,253}", value):
        raise ValueError("an address or a host name")
    return value


def _check_token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text and (len(text) < 16 or not text.isascii() or not text.isprintable() or " " in text):
        raise ValueError("16 printable characters at least, without spaces")
    return value


Address = Annotated[str, AfterValidator(_check_address)]
Addresses = Annotated[list[Address], BeforeValidator(_split_list)]


def _check_origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"https?://[0-9a-z_.\-\[\]:]{1,260}", value):
        raise ValueError("an origin (https://example.org, with :PORT where it has one, in small letters) or *")
    return value


def _check_url(value: str) -> str:
    if value and not re.fullmatch(r"https?://[!-~]{1,2000}", value):
        raise ValueError("an address that begins with http:// or https://")
    return value


Origins = Annotated[list[Annotated[str, AfterValidator(_check_origin)]], BeforeValidator(_split_list)]


def _check_curve_key(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}", value):
        raise ValueError("a CURVE public key, which is 40 characters (antiphon keygen prints it)")
    return value


ShardKeys = Annotated[list[Annotated[str, AfterValidator(_check_curve_key)]], BeforeValidator(_split_list)]


def _check_ice_url(value: str) -> str:
    if not ice_servers.URL.fullmatch(value):
        raise ValueError("stun:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT, the latter two maybe with ?transport=tcp")
    return value


IceServerUrls = Annotated[list[Annotated[str, AfterValidator(_check_ice_url)]], BeforeValidator(_split_list)]


def _check_network(value: str) -> str:
    try:
        networks([value])
    except ValueError:
        raise ValueError("an address or a network, as 10.0.0.0/8") from None
    return value


Networks = Annotated[list[Annotated[str, AfterValidator(_check_network)]], BeforeValidator(_split_list)]


class ControlConfig(BaseModel):
    """Section ``[control]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Address = Field(
        "localhost",
        description="Address that HTTP and WebSocket listen on; localhost is 127.0.0.1 and, where there is IPv6, ::1.",
    )
    port: int = Field(8080, ge=0, le=65535, description="TCP port of HTTP and WebSocket; 0 lets the system choose.")
    shards: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = Field(
        "auto", description="Local shard processes; auto is one for each CPU core that this process may use; 0 starts none."
    )
    udp_port: int = Field(
        40000, ge=0, le=65535, description="UDP port of local shard 0; shard i uses udp_port + i. 0 lets the system choose each."
    )
    advertise: Addresses = Field(
        [],
        description="Addresses put into SDP for local shards; empty means every address of the host.",
    )
    tls_certificate: str = Field(
        "",
        description="PEM file with the certificate and those of its issuers, for HTTPS and wss; read again when it changes; empty is HTTP.",
    )
    tls_key: str = Field("", description="PEM file with the certificate's key, not encrypted; read again when it changes.")
    dev_tls: bool = Field(
        False,
        description="HTTPS with a self-signed certificate, kept in runtime_dir, so that pages get a microphone across a LAN.",
    )
    ice_servers: IceServerUrls = Field(
        [], description="ICE servers that clients are told, e.g. stun:stun.example.org:3478 or turn:turn.example.org:3478?transport=tcp."
    )
    turn_secret: SecretStr = Field(
        SecretStr(""), description="Secret shared with the TURN servers among ice_servers (static-auth-secret of coturn)."
    )
    turn_secret_file: str = Field("", description="File that holds turn_secret, so that it need not stand here.")
    turn_ttl_s: int = Field(86_400, ge=60, le=31_536_000, description="Seconds for which the TURN credentials hold that a client is given.")
    runtime_dir: str = Field(
        "", description="Folder (mode 0700) of the shards' ipc socket; empty is $XDG_RUNTIME_DIR/antiphon or /tmp/antiphon-UID."
    )
    shard_endpoint: str = Field(
        "",
        pattern=r"^$|^ipc://.+$|^tcp://.+:(\d+|\*)$",
        description="ZeroMQ endpoint for shards that control does not start itself, e.g. tcp://0.0.0.0:8081; empty is none.",
    )
    shard_key_file: str = Field(
        "", description="File with control's CURVE key pair (antiphon keygen), needed where shard_endpoint is not on loopback."
    )
    shard_public_keys: ShardKeys = Field([], description="Public CURVE keys, in Z85, of the shards that may join through shard_endpoint.")
    command_timeout_ms: int = Field(
        3000, ge=10, le=60_000, description="Milliseconds after which a command that a shard has not answered is given up."
    )
    heartbeat_timeout_ms: int = Field(
        5000, ge=100, le=600_000, description="Milliseconds of silence after which a shard counts as lost and its rooms are moved."
    )
    drain_deadline_s: float = Field(
        5.0, ge=0, le=86_400, description="Seconds that people in rooms have to end their calls after SIGTERM (Ctrl-C does not wait)."
    )
    shard_start_timeout_s: float = Field(60.0, gt=0, le=600, description="Seconds that local shards may take to report at the start.")
    stop_timeout_s: float = Field(5.0, gt=0, le=600, description="Seconds that local shards have to end before they are killed.")
    sockets: int = Field(10_000, ge=1, le=1_000_000, description="Signaling sockets at a time (more: close 1013).")
    register_timeout_s: float = Field(10.0, gt=0, le=3600, description="Seconds that a socket may take to register (longer: close 1008).")
    message_bytes: int = Field(65536, ge=1024, le=1024 * 1024, description="Longest WebSocket message in bytes (longer: close 1009).")
    messages_per_s: float = Field(50.0, gt=0, le=100_000, description="Messages a second that one socket may send in the long run.")
    message_burst: int = Field(100, ge=1, le=100_000, description="Messages that one socket may send at once.")
    errors_in_a_row: int = Field(20, ge=1, le=100_000, description="Errors in a row after which a socket is closed with 1008.")
    waiting_messages: int = Field(256, ge=1, le=100_000, description="Messages of one socket that may wait for earlier ones.")
    queue_bytes: int = Field(1024 * 1024, ge=65536, description="Bytes that may wait to be sent to one socket (more: it is closed).")
    username_chars: int = Field(64, ge=1, le=1024, description="Longest username in characters.")
    room_participants: int = Field(1000, ge=1, le=100_000, description="Participants that a room takes.")
    rooms: int = Field(10_000, ge=1, le=10_000_000, description="Rooms that there may be at a time, idle ones included.")
    rooms_per_minute: float = Field(10.0, gt=0, le=100_000, description="Rooms a minute that one socket may make in the long run.")
    room_burst: int = Field(20, ge=1, le=100_000, description="Rooms that one socket may make at once.")
    address_sockets: int = Field(
        4000, ge=1, le=1_000_000, description="Signaling sockets at a time of one address, an IPv6 /64 being one (more: close 1013)."
    )
    bytes_per_s: float = Field(262144, ge=1024, description="Bytes a second that one socket may send in the long run.")
    byte_burst: int = Field(1024 * 1024, ge=1024, description="Bytes that one socket may send at once; at least message_bytes is allowed.")
    joins_per_s: float = Field(500.0, gt=0, le=1_000_000, description="Rooms made and joined a second by all clients, in the long run.")
    join_burst: int = Field(5000, ge=1, le=1_000_000, description="Rooms made and joined at once by all clients.")
    address_joins_per_s: float = Field(100.0, gt=0, le=1_000_000, description="Rooms made and joined a second by one address.")
    address_join_burst: int = Field(4000, ge=1, le=1_000_000, description="Rooms made and joined at once by one address.")
    user_rooms: int = Field(100, ge=1, le=1_000_000, description="Rooms at a time that one person has made (token identity, or socket).")
    address_rooms: int = Field(1000, ge=1, le=1_000_000, description="Rooms at a time that one address has made.")
    user_consumers: int = Field(1000, ge=1, le=100_000, description="People whom one client may ask to hear (create_consumer).")
    shard_participants: int = Field(10_000, ge=1, le=1_000_000, description="Participants that one shard takes.")
    shard_rooms: int = Field(10_000, ge=1, le=1_000_000, description="Rooms with people that one shard takes.")
    shard_capacity_pps: float = Field(
        250_000.0, gt=0, description="Outgoing packets a second that one shard can carry on this machine (make bench), for placement."
    )
    http_header_timeout_s: float = Field(
        10.0, gt=0, le=3600, description="Seconds that a TCP connection may take to send a request (longer: it is cut)."
    )
    trusted_proxies: Networks = Field(
        [], description="Addresses or networks of reverse proxies whose X-Forwarded-For tells the client's address."
    )
    resume_grace_s: float = Field(30.0, ge=0, le=3600, description="Seconds that a client whose socket was lost may take to come back.")
    room_grace_s: float = Field(300.0, ge=0, description="Seconds that an empty room can still be joined by its id.")
    admin_token: Annotated[SecretStr, AfterValidator(_check_token)] = Field(
        SecretStr(""),
        description="Token of the admin API, 16 characters at least; empty draws one at each start into a private file in runtime_dir.",
    )
    admin_token_file: str = Field("", description="File that holds the admin token, instead of admin_token.")
    open: bool = Field(
        False, description="Anyone may make and join rooms, though host is not loopback and no key for access tokens is set."
    )
    access_secret: SecretStr = Field(
        SecretStr(""), description="Secret of access tokens (JWT, HS256), 32 bytes at least; who registers then needs a token."
    )
    access_secret_file: str = Field("", description="File that holds the secret of access tokens, instead of access_secret.")
    access_public_key_file: str = Field(
        "", description="PEM file of the Ed25519 key that checks access tokens (JWT, EdDSA); who registers then needs a token."
    )
    access_private_key_file: str = Field(
        "", description="PEM file of the Ed25519 key that signs access tokens, for antiphon token and the admin API; checks them too."
    )
    webhook_url: Annotated[str, AfterValidator(_check_url)] = Field(
        "", description="Address that is told what happens in rooms (control/webhooks.py), http or https; empty tells nobody."
    )
    webhook_secret: SecretStr = Field(SecretStr(""), description="Secret that signs webhooks, 16 characters at least.")
    webhook_queue: int = Field(1000, ge=1, le=1_000_000, description="Webhooks that may wait to be taken (more: dropped and counted).")
    webhook_give_up_s: float = Field(300.0, ge=0, le=86_400, description="Seconds that one webhook is tried again.")
    allowed_origins: Origins = Field(
        [], description="Origins of other sites whose pages may connect, e.g. https://example.org; the server's own always may, * is any."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log lines that are written.")

    def contradictions(self) -> list[str]:
        """What is wrong though every option by itself is right, one line each."""
        problems = []
        if bool(self.tls_certificate) != bool(self.tls_key):
            problems.append("tls_certificate and tls_key: expected both or neither")
        if self.tls_certificate and self.dev_tls:
            problems.append("dev_tls: expected only where there is no tls_certificate")
        if self.turn_secret.get_secret_value() and self.turn_secret_file:
            problems.append("turn_secret and turn_secret_file: expected one of them")
        has_secret = bool(self.turn_secret.get_secret_value() or self.turn_secret_file)
        if any(ice_servers.is_turn(url) for url in self.ice_servers) and not has_secret:
            problems.append("ice_servers: a TURN server needs turn_secret or turn_secret_file, browsers refuse one without credentials")
        if bool(self.shard_key_file) != bool(self.shard_public_keys):
            problems.append("shard_key_file and shard_public_keys: expected both or neither")
        if self.shard_key_file and not self.shard_endpoint.startswith("tcp://"):
            problems.append("shard_key_file: expected only with a shard_endpoint tcp://HOST:PORT")
        host = self.shard_endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
        if self.shard_endpoint.startswith("tcp://") and not self.shard_key_file and not is_loopback(host):
            problems.append(f"shard_endpoint: {self.shard_endpoint} is not loopback, which needs shard_key_file and shard_public_keys")
        return problems


def load(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None) -> ControlConfig:
    """The effective configuration. Raises :class:`ConfigError` with every problem of every place.

    ``flags``: field name to value of each flag that was given; ``file``: None for no file.
    """
    return load_with_sources(flags, environ, file)[0]


def load_with_sources(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None) -> tuple[ControlConfig, dict[str, str]]:
    """As :func:`load`, and where each value comes from: ``FILE:LINE``, the name of a variable, a flag, or ``default``."""
    problems: list[str] = []
    merged: dict[str, Any] = {}
    sources = dict.fromkeys(ControlConfig.model_fields, "default")
    layers: tuple[tuple[_Layer, bool], ...] = (
        (_from_file(file, problems), True),
        (_from_environment(environ, problems), False),
        ({key: (value, "--" + key.replace("_", "-")) for key, value in flags.items()}, False),
    )
    for layer, in_file in layers:
        checked = _checked(layer, in_file, problems)
        merged |= checked
        sources |= {key: layer[key][1] for key in checked}
    if not problems:
        config = ControlConfig(**merged)
        problems = config.contradictions()
    if problems:
        raise ConfigError(problems)
    return config, sources


_Layer = dict[str, tuple[Any, str]]
"""Field name to its value and where that stands."""


def _from_file(file: Path | None, problems: list[str]) -> _Layer:
    if file is None:
        return {}
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{file}: is not valid TOML: {error}")
        return {}
    expected = " or ".join(f"[{section}]" for section in SECTIONS)
    for name, value in document.items():
        if name not in SECTIONS or not isinstance(value, dict):
            problems.append(f"{name} in {file}: expected the section {expected}")
    section = document.get("control", {})
    lines = _lines_of_keys(text, "control")
    if not isinstance(section, dict):
        return {}
    return {key: (value, f"{file}:{lines[key]}" if key in lines else str(file)) for key, value in section.items()}


def _lines_of_keys(text: str, section: str) -> dict[str, int]:
    """The line of each key that stands below ``[section]`` as ``key = ...``, from 1. tomllib does not tell it."""
    lines = text.splitlines()
    found: dict[str, int] = {}
    inside = False
    for index, line in enumerate(lines):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line)
        key = re.match(r"\s*([A-Za-z0-9_-]+)\s*=", line)
        if (not header and not key) or not _is_toml("\n".join(lines[:index])):
            continue  # the latter: amid a text or list of several lines
        if header:
            inside = header[1].strip() == section
        elif key and inside:
            found[key[1]] = index + 1
    return found


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> _Layer:
    values: _Layer = {field: (environ[name], name) for name, field in SHORT_ENV.items() if name in environ}
    for name, value in environ.items():
        if name.startswith(ENV_PREFIX):
            field = name.removeprefix(ENV_PREFIX).lower()
            if field in ControlConfig.model_fields:
                values[field] = (value, name)
            else:
                problems.append(f"{name}: {_unknown(field)}")
        elif name not in SHORT_ENV and _lacks_prefix(name):
            problems.append(f"{name}: there is no such short name; did you mean {name.replace('ANTIPHON_', ENV_PREFIX)}?")
    return values


def _lacks_prefix(variable: str) -> bool:
    """Whether somebody has meant an option of [control] and left out half of the prefix. Those of shards are theirs to read."""
    if not variable.startswith("ANTIPHON_") or variable.startswith("ANTIPHON_SHARD_"):
        return False
    return variable.removeprefix("ANTIPHON_").lower() in ControlConfig.model_fields


def _checked(layer: _Layer, in_file: bool, problems: list[str]) -> dict[str, Any]:
    """Values that the fields take. What does not fit is added to ``problems`` and left out.

    ``in_file``: no conversion of types, as befits a file that has types; the environment and flags have only text.
    """
    checked: dict[str, Any] = {}
    for key, (value, source) in layer.items():
        place = f"{key} in {source}" if in_file else source
        if key not in ControlConfig.model_fields:
            problems.append(f"{place}: {_unknown(key)}")
            continue
        try:
            ControlConfig.model_validate({key: value}, strict=in_file)
        except ValidationError as error:
            shown = "what it has (it is a secret)" if is_secret(ControlConfig.model_fields[key]) else f"{value!r:.100}"
            problems.append(f"{place}: {_expected(error.errors())}, not {shown}")
        else:
            checked[key] = value
    return checked


def is_secret(field: FieldInfo) -> bool:
    """Whether the value of an option must not be shown."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def _expected(errors: list[ErrorDetails]) -> str:
    """What a field takes, from pydantic's complaints about a value."""
    texts = []
    for error in errors:
        text = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        text = text.split(", unable to parse")[0].split(", got")[0]
        if text not in texts:
            texts.append(text)
    return "expected " + " or ".join(texts)


def _unknown(key: str) -> str:
    close = _closest(key)
    return "there is no such option" + (f"; did you mean {close}?" if close else "")


def _closest(key: str) -> str | None:
    return next(iter(difflib.get_close_matches(key, ControlConfig.model_fields, 1)), None)


def shards_advertise_themselves(environ: Mapping[str, str], file: Path | None) -> bool:
    """Whether the section ``[shard]`` or its variable says what shards announce, so that control must not decide it."""
    if "ANTIPHON_SHARD_ADVERTISE" in environ:
        return True
    section = tomllib.loads(file.read_text(encoding="utf-8")).get("shard", {}) if file is not None else {}
    return bool(section.get("advertise"))


def usable_cores() -> int:
    """CPU cores that this process may use, at least 1."""
    return max(1, len(os.sched_getaffinity(0)))


def shard_count(config: ControlConfig) -> int:
    return usable_cores() if config.shards == "auto" else config.shards


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
