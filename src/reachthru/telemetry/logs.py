"""Logs on stderr: lines for people and journald, or JSON objects as oslo.log makes them.

Guests' words get into logs. Whatever they are, a record is one line (a traceback's lines are
indented), of bounded length, without control characters that a terminal would obey, and without
the passwords of URLs that libraries log as they are.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from oslo_config import cfg

from reachthru.secret_files import without_secrets

MESSAGE_LIMIT_CHARS = 8_000
_UNPRINTABLE = re.compile(
    # C0, DEL and C1 (ESC and CSI are in them), line ends of Unicode's, and what turns text around.
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_PLAIN = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_JOURNALD = "%(levelname)s %(name)s: %(message)s"  # it has the time
_SYSLOG_LEVELS = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))

# As oslo.log calls them, for whoever knows other services of OpenStack.
OPTIONS: list[cfg.Opt] = [
    cfg.BoolOpt("debug", default=False, help="Log each stage of a fault's way, and more."),
    cfg.BoolOpt("use_json", default=False, help="Log JSON objects, as oslo.log's JSONFormatter."),
]


def log_to_stderr(chatty: Iterable[str]) -> None:
    """At INFO; libraries that are `chatty` there, at WARNING. For before the settings are read."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter(_is_journald()))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in chatty:
        logging.getLogger(name).setLevel(logging.WARNING)


def log_as(*, use_json: bool, debug: bool) -> None:
    """As the settings say, from here on."""
    if debug:
        logging.getLogger().setLevel(logging.DEBUG)
    if use_json:
        for handler in logging.getLogger().handlers:
            if isinstance(handler.formatter, PlainFormatter):
                handler.setFormatter(_json_formatter())


def about(fault_id: str) -> dict[str, Any]:
    """For a record's `extra`: JSON has it as a field of its own. The text names it as well."""
    return {"extra": {"fault_id": fault_id}}


def printable(text: str) -> str:
    """`text` on one line that a terminal only shows, as long as a line may be."""
    if len(text) > MESSAGE_LIMIT_CHARS:
        text = f"{text[:MESSAGE_LIMIT_CHARS]}... ({len(text)} characters)"
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class PlainFormatter(logging.Formatter):
    """For people; for journald with its level's prefix (sd-daemon(3))."""

    def __init__(self, journald: bool = False) -> None:
        super().__init__(_JOURNALD if journald else _PLAIN)
        self._journald = journald

    def format(self, record: logging.LogRecord) -> str:
        text = without_secrets(super().format(record))
        if not self._journald:
            return text
        level = next(number for least, number in _SYSLOG_LEVELS if record.levelno >= least)
        return "\n".join(f"<{level}>{line}" for line in text.splitlines())

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return _indented("".join(traceback.format_exception(*ei)))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        return _indented(stack_info)


def _indented(text: str) -> str:
    """So that no line of it can be taken for a record, whatever an exception says."""
    return "\n".join(f"    {printable(line)}" for line in text.splitlines())


def _json_formatter() -> logging.Formatter:
    """oslo.log is imported where it is wanted: it costs 5 MB."""
    from oslo_log.formatters import JSONFormatter  # noqa: PLC0415

    class Formatter(JSONFormatter):
        def format(self, record: logging.LogRecord) -> str:
            """`message` has what `msg` and `args` say, within its limit."""
            said = {"msg": printable(record.getMessage()), "args": None}
            line: str = super().format(logging.makeLogRecord({**record.__dict__, **said}))
            return without_secrets(line)

    return Formatter()


def _is_journald() -> bool:
    """systemd.exec(5): JOURNAL_STREAM names the device and inode of journald's stream."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
