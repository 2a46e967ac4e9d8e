"""The pins and the layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_pins_hold_no_address() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()
    assert not (ROOT / "uv.lock").exists()


@pytest.mark.parametrize(
    "module",
    [
        "server.rpc.app",
        "server.command.cli",
        "server.command.serve",
        "server.command.connection",
        "server.command.demo",
    ],
)
def test_the_server_does_not_load_jax(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'jax', 'numpyro', 'engine'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
