"""How records are written: for people and for programs, one line each whatever they hold."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from server.logs import MAX_VALUE, JsonFormatter, TextFormatter, note

FORGED = 'a\n2026-01-01 00:00:00,000 INFO x call code=OK\x1b[2K\u2028\x85\x7f"b=c\\'


def written(formatter: logging.Formatter, caplog: pytest.LogCaptureFixture) -> str:
    (record,) = caplog.records
    return formatter.format(record)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> logging.Logger:
    caplog.set_level(logging.INFO, "tests.logs")
    return logging.getLogger("tests.logs")


def test_a_line_for_people_has_time_level_logger_event_and_the_fields_that_are_not_empty(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    note(log, "call", method="a.B/C", client="acme", reason="", seconds=0.0, shard=0)
    line = written(TextFormatter(), caplog)
    assert line.endswith(" INFO tests.logs call method=a.B/C client=acme seconds=0.0 shard=0")
    assert line[:4].isdigit()


def test_a_line_for_programs_is_an_object_with_the_same_fields(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    note(log, "call", client="acme", reason="", seconds=0.25)
    entry = json.loads(written(JsonFormatter(), caplog))
    assert entry.pop("time").endswith("+00:00")
    assert entry == {"level": "INFO", "logger": "tests.logs", "message": "call", "client": "acme", "seconds": 0.25}


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_a_caller_sends_stays_in_its_field_and_on_its_line(
    log: logging.Logger, caplog: pytest.LogCaptureFixture, formatter: logging.Formatter
) -> None:
    note(log, "call", client=FORGED, code="CANCELLED")
    line = written(formatter, caplog)
    assert line.isprintable()
    assert line.isascii()
    # Read as a program would: the forged value comes out whole, and the code behind it is the true one.
    text = line if formatter.__class__ is JsonFormatter else line.partition(" client=")[2]
    value, end = json.JSONDecoder().raw_decode(text)
    assert (value["client"] if isinstance(value, dict) else value) == FORGED
    assert text[end:] == ("" if isinstance(value, dict) else " code=CANCELLED")


def test_a_value_that_looks_like_two_fields_is_quoted(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    note(log, "call", client="a code=OK", request="")
    assert written(TextFormatter(), caplog).endswith(' client="a code=OK"')


def test_a_long_value_is_cut(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    note(log, "call", client="a" * 10_000)
    assert json.loads(written(JsonFormatter(), caplog))["client"] == "a" * MAX_VALUE + "…"


def test_a_traceback_cannot_pass_for_a_record(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.exception("incident %s", "x\ny")
    first, *rest = written(TextFormatter(), caplog).split("\n")
    assert first.endswith("ERROR tests.logs incident x\\ny")
    assert any("2026-01-01 00:00:00,000 INFO x call" in line for line in rest)
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    entry = json.loads(written(JsonFormatter(), caplog))
    assert entry["message"] == "incident x\ny"
    assert FORGED in entry["exception"]


def test_a_process_logs_in_the_format_that_it_is_told() -> None:
    code = "import logging; from server import logs; logs.configure({!r}); logging.getLogger('p').info('hello')"
    for chosen, expected in (("text", "INFO p hello\n"), ("json", '"logger": "p", "message": "hello"}\n')):
        done = subprocess.run(
            [sys.executable, "-c", code.format(chosen)], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stderr.endswith(expected)
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
