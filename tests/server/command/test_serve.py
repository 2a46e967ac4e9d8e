"""The processes of a service."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from server.command import serve
from server.command.serve import Child, children
from server.settings import Settings


def names(settings: Settings) -> list[str]:
    return [child.name for child in children(settings, "postgresql://db/x", lambda: None)]


def test_a_service_has_the_workers_and_the_warm_up_that_are_configured() -> None:
    assert names(Settings(workers=2, warm_up=())) == [
        "server",
        "worker (calls)",
        "worker (shards 0)",
        "worker (shards 1)",
    ]
    assert names(Settings(workers=1, warm_up=(2,)))[-1] == "warm-up"


@pytest.mark.parametrize("once", [True, False])
async def test_a_process_that_ends_is_started_again_unless_it_is_to_run_once(
    once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "RESTART_SECONDS", 0.0)
    (tmp_path / "fails.py").write_text("open('runs', 'a').write('x'); raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    given_up = asyncio.Event()
    child = Child("child", ["fails"], {**os.environ, "PYTHONPATH": str(tmp_path)}, given_up.set, once=once)
    child.start()
    assert child._task is not None
    await asyncio.wait_for(child._task, 30)
    # A process that ends sooner than any useful one is tried a few times.
    assert len((tmp_path / "runs").read_text()) == (1 if once else serve.MAX_QUICK_DEATHS)
    assert given_up.is_set() is not once
