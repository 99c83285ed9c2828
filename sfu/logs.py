"""Log lines of a shard: for people on a terminal, JSON otherwise, and never with a secret.

Nothing that logs hands over a secret on purpose. Exceptions do it unasked, with a line of SDP or a message that could not be handled; so
every finished line, whoever has written it, goes through :func:`scrub`.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Final, TextIO, cast

import structlog

from sfu.outlet import Outlet

_SECRETS: Final = re.compile(
    r"(a=(?:ice-pwd|crypto):)[^\s\"'\\]+"  # RFC 8839 5.4, RFC 4568
    r"|((?:token|secret|password|credential|pwd)\\*[\"']?\s*[=:]\s*\\*[\"'])[^\"'\\]+"
    r"|([?&#](?:token|secret)=)[^\s&\"'\\]+"
    r"|(Bearer )[^\s\"'\\]+"
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]+\.[\w-]*",  # a JWT wherever it stands
    re.IGNORECASE,
)
_MASK: Final = "***"


def scrub(text: str) -> str:
    """``text`` without what looks like the password of an ICE agent, a key or a token."""
    return _SECRETS.sub(lambda found: next((part for part in found.groups() if part), "") + _MASK, text)


def _scrubbed(logger: Any, method: str, line: Any) -> str:
    return scrub(str(line))


def set_up_logs(level: str) -> None:
    """From now on everything that is logged goes to standard error, what libraries log through :mod:`logging` included."""
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = sys.stderr.isatty()
    outlet = cast(TextIO, Outlet(sys.stderr))
    every: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Not rich's tracebacks: they show local variables, which are keys and passwords here, and take 100 ms each.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    last = [*([console] if terminal else renderer), _scrubbed]
    structlog.configure(
        processors=[*every, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(outlet),  # a line and its end in one write: several processes share the stream
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*every, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(outlet)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
