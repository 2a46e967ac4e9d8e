"""The contract's files as CI checks them, offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OFFLINE = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


def test_buf_lint_finds_nothing() -> None:
    buf = Path(sys.executable).parent / "buf"
    done = subprocess.run([buf, "lint"], cwd=ROOT, env=OFFLINE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_generated_code_has_not_drifted() -> None:
    generator = ROOT / ".venv-gen/bin/python"
    if not generator.exists():
        pytest.skip("no generator environment; `make protos` or `make check` makes one")
    done = subprocess.run(
        [sys.executable, str(ROOT / "clients/drift.py"), str(generator)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
