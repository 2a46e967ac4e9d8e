"""Data directories of the embedded Postgres for tests: initialised once, copied, and ended without ceremony."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import psutil  # type: ignore[import-untyped]


def copy_cluster(template: Path, directory: Path) -> None:
    """Let `EmbeddedPostgres(directory)` find a copy of the stopped, initialised cluster of `template`."""
    directory.mkdir(parents=True, exist_ok=True)
    # By `cp`, which keeps the owner: Postgres does not run as root, nor on files of another user.
    subprocess.run(["cp", "-a", str(template / "postgres"), str(directory)], check=True)


def end_cluster(directory: Path) -> None:
    """Kill whatever postmaster still runs on `directory` and wait until it is gone; what it holds is thrown away."""
    try:
        pid = int((directory / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        postmaster = psutil.Process(pid)
        if str(directory / "postgres") in postmaster.cmdline():  # a stale file's pid may be anybody's
            os.kill(pid, signal.SIGQUIT)  # ends its children too, without a checkpoint
            postmaster.wait(30)
