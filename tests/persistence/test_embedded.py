"""The embedded Postgres survives its owner's death, and its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from persistence.database import conninfo
from persistence.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.postgres import copy_cluster, end_cluster

ROOT = Path(__file__).parents[2]

OWNER = """
import sys, time
from pathlib import Path
import psycopg
from persistence.database import conninfo
from persistence.embedded import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]))
with psycopg.connect(conninfo(server.start())) as connection:
    connection.execute("create table kept (n int)")
    connection.execute("insert into kept values (42)")
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def directory(postgres_template: Path) -> Iterator[Path]:
    """An initialised directory of the test's own; whatever Postgres the test leaves there is ended."""
    # Not tmp_path: its name is near the limit of a socket's.
    path = Path(tempfile.mkdtemp(prefix="lb-own-")).resolve()
    copy_cluster(postgres_template, path)
    yield path
    end_cluster(path)
    shutil.rmtree(path)


@contextlib.contextmanager
def owner(directory: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("XDG_RUNTIME_DIR", None)
    command = [sys.executable, "-W", "error", "-c", OWNER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the owner could not start Postgres"
            yield process, int(line)
        finally:
            process.kill()


def kept(url: str) -> object:
    with psycopg.connect(conninfo(url)) as connection:
        return connection.execute("select n from kept").fetchone()


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_after_kill_9_of_the_owner_the_next_start_attaches_and_its_stop_stops(directory: Path) -> None:
    with owner(directory) as (process, postmaster):
        with pytest.raises(EmbeddedPostgresError, match="in use by another process"):
            EmbeddedPostgres(directory).start()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert psutil.pid_exists(postmaster)
        server = EmbeddedPostgres(directory)
        assert kept(server.start()) == (42,)
        assert server.pid == postmaster
        server.stop()
        assert gone(postmaster)


def test_after_kill_9_of_owner_and_postmaster_the_next_start_recovers_the_data(directory: Path) -> None:
    with owner(directory) as (process, postmaster):
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.kill(postmaster, signal.SIGKILL)
        assert gone(postmaster)
        assert (directory / "postgres" / "postmaster.pid").exists()
        with EmbeddedPostgres(directory) as url:
            assert kept(url) == (42,)


def test_a_pid_file_whose_pid_now_belongs_to_another_program_is_ignored(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    server.start()
    pidfile = directory / "postgres" / "postmaster.pid"
    lines = pidfile.read_text().splitlines()
    server.stop()
    for stale in ([str(os.getpid()), *lines[1:]], [str(os.getpid())], [""]):
        pidfile.write_text("\n".join(stale) + "\n")
        server.start()
        assert server.pid not in (None, os.getpid())
        server.stop()


def test_an_initialization_that_was_killed_half_way_is_begun_anew(postgres_template: Path, directory: Path) -> None:
    assert not (postgres_template / "postgres.unfinished").exists()  # the template began with one
    with EmbeddedPostgres(directory) as url, psycopg.connect(conninfo(url)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_it_listens_on_a_socket_only_runs_version_18_and_can_be_started_again(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    for _ in range(2):
        url = server.start()
        assert server.start() == url
        with psycopg.connect(conninfo(url)) as connection:
            shown = [
                connection.execute(f"show {name}").fetchone()
                for name in ("listen_addresses", "max_connections", "unix_socket_permissions")
            ]
            assert shown == [("",), ("200",), ("0700",)]
            assert connection.info.server_version // 10000 == 18
        server.stop()
        server.stop()


def test_a_directory_with_a_path_too_long_for_a_socket_works(directory: Path) -> None:
    long = directory / ("x" * 120)
    long.mkdir()
    (directory / "postgres").rename(long / "postgres")
    with EmbeddedPostgres(long) as url, psycopg.connect(conninfo(url)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
