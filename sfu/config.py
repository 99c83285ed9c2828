"""Configuration of one shard process: one field, one description, one unit.

A value comes from a flag, or else from the environment (``ANTIPHON_SHARD_UDP_PORT``), or else from the section ``[shard]`` of the TOML
file, or else it is the default. Lists are TOML arrays in the file and comma-separated elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

SECTION: Final = "shard"
ENVIRONMENT_PREFIX: Final = "ANTIPHON_SHARD_"

_TOML_TYPES: Final[dict[type, tuple[type, ...]]] = {int: (int,), float: (float, int), str: (str,), tuple: (list, str)}
"""Which TOML types stand for an option, by the type of its default."""


def _split(value: Any) -> Any:
    """``"A,B"`` as a flag or variable has it; lists pass through."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _numeric(value: Any) -> Any:
    """Addresses in their canonical form; ``localhost`` stands for both loopback addresses."""
    parts = _split(value)
    if not isinstance(parts, list | tuple):
        return parts
    numeric: list[str] = []
    for part in parts:
        numeric += ["127.0.0.1", "::1"] if part == "localhost" else [str(ipaddress.ip_address(part))]
    return tuple(dict.fromkeys(numeric))


def _one_per_family(value: Any) -> Any:
    addresses = _numeric(value)
    if isinstance(addresses, tuple) and len({ipaddress.ip_address(address).version for address in addresses}) < len(addresses):
        raise ValueError("at most one address of each family")
    return addresses


def _is_on_this_host(endpoint: str) -> bool:
    """Whether nobody else can be, or listen to, who is at a ZeroMQ endpoint."""
    if not endpoint.startswith("tcp://"):
        return True
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_numeric)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_one_per_family)]


class ShardConfig(BaseSettings):
    """Everything a shard can be told."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True, validate_default=True)

    control: str = Field(
        default="tcp://127.0.0.1:8081",
        pattern=r"^(ipc://.+|tcp://.+:\d+|inproc://.+)$",
        description="ZeroMQ endpoint of control that the shard connects to, ipc://PATH or tcp://HOST:PORT",
    )
    key_file: str = Field(
        default="",
        description="file with this shard's CURVE key pair (antiphon keygen makes it), needed where control is on another host",
    )
    control_public_key: str = Field(
        default="",
        pattern=r"^$|^[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}$",
        description="public CURVE key of control in Z85; a control that cannot prove to have it is not obeyed",
    )
    shard_id: str = Field(
        default="",
        max_length=64,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="name of this shard, unique at its control; empty is the name of the host and the UDP port",
    )
    origin: str = Field(
        default="",
        max_length=200,
        description="what control has started this shard with, so that the next control knows it; set by control",
    )
    host: Hosts = Field(
        default=(), description="addresses that the UDP port is bound to, at most one per family; empty for all addresses of both families"
    )
    udp_port: int = Field(default=40000, ge=0, le=65535, description="UDP port of all media; 0 for any free one")
    advertise: Addresses = Field(
        default=(), description="addresses put into SDP for browsers to send to; empty for those in host, or every address of the machine"
    )
    heartbeat_ms: int = Field(default=250, ge=10, le=60_000, description="interval of heartbeats to control, in milliseconds")
    handshake_timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="time from SDP answer to finished DTLS handshake, in seconds"
    )
    answer_timeout_s: float = Field(default=30.0, gt=0, le=600, description="time from offer to SDP answer, in seconds")
    consent_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="a connected peer that sends no STUN for so long is gone, in seconds (RFC 7675)"
    )
    orphan_timeout_s: float = Field(
        default=30.0, gt=0, description="a shard without control and without connections for so long ends, in seconds"
    )
    max_transports: int = Field(default=16384, ge=1, le=1 << 20, description="transports at a time, connected or not")
    max_tracks: int = Field(default=16384, ge=1, le=1 << 20, description="published tracks at a time")
    max_consumers: int = Field(default=65536, ge=1, le=1 << 22, description="consumers at a time")
    max_sections: int = Field(
        default=100, ge=1, le=1000, description="people that can be heard at a time on one subscriber connection; further ones wait"
    )
    gather_ms: int = Field(
        default=400,
        ge=0,
        le=10_000,
        description="longest time that people who come are gathered before subscriber connections are told of them, in milliseconds;"
        " an eighth of it where nobody else comes",
    )
    socket_buffer_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=0,
        le=1 << 30,
        description="kernel buffer of each UDP socket and direction, in bytes; 0 for the system's",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least important lines that are logged")

    def contradictions(self) -> list[str]:
        """What is wrong though every option by itself is right, one line each."""
        if bool(self.key_file) != bool(self.control_public_key):
            return ["key_file and control_public_key: expected both or neither"]
        if not self.key_file and not _is_on_this_host(self.control):
            return [f"control: {self.control} is another host, which needs key_file and control_public_key (antiphon keygen makes them)"]
        return []

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before environment before file. ``file`` below is not a field: it carries the file's section here."""
        assert isinstance(init_settings, InitSettingsSource)
        section = init_settings.init_kwargs.pop("__file__", {})
        return init_settings, env_settings, InitSettingsSource(settings_cls, section)


class ConfigError(Exception):
    """The configuration cannot be used. ``problems``: one line each, naming the key, where it stands and what was expected."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(flags: Mapping[str, Any], file: Path | None = None, environment: Mapping[str, str] | None = None) -> ShardConfig:
    """The effective configuration. ``flags``: values by field name, without those not given. Raises :class:`ConfigError`."""
    environment = os.environ if environment is None else environment
    section = _read_section(file) if file is not None else {}
    problems = [
        f"{name} in the environment: unknown option; expected one of {', '.join(ShardConfig.model_fields)}"
        for name in environment
        if name.startswith(ENVIRONMENT_PREFIX) and name[len(ENVIRONMENT_PREFIX) :].lower() not in ShardConfig.model_fields
    ]
    problems += _ill_typed(section, file)
    try:
        config = ShardConfig(**{**flags, "__file__": {} if problems else section})
    except ValidationError as error:
        problems += [_describe(problem, flags, file, environment) for problem in error.errors()]
    if not problems:
        problems = config.contradictions()
    if problems:
        raise ConfigError(problems)
    return config


def _read_section(file: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: not a TOML file: {error}"]) from None
    section = document.get(SECTION, {})
    if not isinstance(section, dict):
        raise ConfigError([f"{SECTION} in {file}: expected a section [{SECTION}]"])
    return section


def _ill_typed(section: Mapping[str, Any], file: Path | None) -> list[str]:
    """Values of the file whose TOML type is not the option's: text is turned into numbers only where there is nothing but text."""
    problems = []
    for key, value in section.items():
        field = ShardConfig.model_fields.get(key)
        where = f"{SECTION}.{key} in {file}"
        if field is None:
            problems.append(f"{where}: unknown option; expected one of {', '.join(ShardConfig.model_fields)}")
            continue
        wanted = _TOML_TYPES.get(type(field.get_default()), (str,))
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            names = " or ".join(kind.__name__ for kind in wanted)
            problems.append(f"{where}: should be of type {names}, got {value!r}; expected {field.description}")
    return problems


def _describe(problem: ErrorDetails, flags: Mapping[str, Any], file: Path | None, environment: Mapping[str, str]) -> str:
    key = str(problem["loc"][0])
    variable = ENVIRONMENT_PREFIX + key.upper()
    if key in flags:
        where = f"--{key.replace('_', '-')}"
    elif any(name.upper() == variable for name in environment):
        where = f"{variable} in the environment"
    else:
        where = f"{SECTION}.{key} in {file}"
    field = ShardConfig.model_fields[key]
    reason = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {reason[0].lower()}{reason[1:]}, got {problem['input']!r}; expected {field.description}"
