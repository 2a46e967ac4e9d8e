"""The contract's files, the pins and the layers, as CI checks them; everything here runs offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"
OFFLINE = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


def buf(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *arguments], cwd=ROOT, env=OFFLINE, capture_output=True, text=True, check=False)


def test_buf_lint_finds_nothing() -> None:
    done = buf("lint")
    assert done.returncode == 0, done.stdout


def test_the_contract_breaks_nobody_since_the_last_release() -> None:
    done = buf("breaking", "--against", "protos/released.binpb")
    assert done.returncode == 0, done.stdout


def test_buf_breaking_does_find_a_break(tmp_path: Path) -> None:
    copy = tmp_path / "protos"
    subprocess.run(["cp", "-r", str(ROOT / "protos"), str(copy)], check=True)
    (tmp_path / "buf.yaml").write_text((ROOT / "buf.yaml").read_text())
    sbc = copy / "liftos/bayes/v1/sbc.proto"
    sbc.write_text(sbc.read_text().replace("int64 seed = 8;", "int32 seed = 8;"))
    done = subprocess.run(
        [BUF, "breaking", "--against", str(ROOT / "protos/released.binpb")],
        cwd=tmp_path,
        env=OFFLINE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 100
    assert "seed" in done.stdout


def test_generated_code_has_not_drifted() -> None:
    generator = ROOT / ".venv-gen/bin/python"
    if not generator.exists():
        pytest.skip("no generator environment; `make protos` or `make check` makes one")
    done = subprocess.run(
        [sys.executable, str(ROOT / "clients/drift.py"), str(generator)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_pins_hold_no_address() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()
    assert not (ROOT / "uv.lock").exists()


HEAVY = {"jax", "jaxlib", "numpyro", "engine"}


def test_the_server_does_not_load_jax() -> None:
    """By running it: import-linter proves the same, except of imports that are written inside functions."""
    names = ("rpc.app", "command.cli", "command.serve", "command.connection", "command.demo")
    code = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    print(module, *sorted({name.partition(".")[0] for name in sys.modules}))
"""
    command = [sys.executable, "-c", code, *(f"server.{name}" for name in names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = [line.split() for line in done.stdout.splitlines()]
    # All in one process: where one of them loads what is heavy, so have those after it.
    assert [(module, HEAVY & set(packages)) for module, *packages in loaded] == [
        (f"server.{name}", set()) for name in names
    ]
