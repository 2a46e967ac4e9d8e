"""The pins and the layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_pins_hold_no_address() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()
    assert not (ROOT / "uv.lock").exists()


HEAVY = {"jax", "jaxlib", "numpyro", "scipy"} | {
    f"engine.{package}"
    for package in ("distributions", "elicitation", "inference", "models", "conflict", "updates", "sbc")
}


def test_the_server_does_not_load_jax() -> None:
    """By running it: import-linter proves the same, except of imports that are written inside functions."""
    names = [
        f"server.{name}" for name in ("rpc.app", "command.cli", "command.serve", "command.connection", "command.demo")
    ]
    code = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    print(module, *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = [line.split() for line in done.stdout.splitlines()]
    # All in one process: where one of them loads what is heavy, so have those after it.
    assert [(module, HEAVY & set(modules)) for module, *modules in loaded] == [(name, set()) for name in names]
