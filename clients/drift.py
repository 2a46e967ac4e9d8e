"""Fail when the committed generated code is not what the protos, and the asynchronous client, generate."""

from __future__ import annotations

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

import sync

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "clients/python/src/liftos/bayes/v1"


def main(generator: str) -> int:
    """Generate into a temporary directory with the interpreter `generator` and compare; returns the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([generator, str(ROOT / "clients/generate.py"), directory], check=True)
        fresh = Path(directory) / "liftos/bayes/v1"
        names = {path.name for path in fresh.iterdir()}
        kept = {path.name for path in COMMITTED.glob("*_pb2*")}
        _, differing, missing = filecmp.cmpfiles(fresh, COMMITTED, sorted(names), shallow=False)
    stale = sorted({*differing, *missing, *(kept - names)})
    for name in stale:
        sys.stderr.write(f"{name} has drifted from the protos; run `make protos`\n")
    for name in (rewritten := sync.stale()):
        sys.stderr.write(f"{name} has drifted from its asynchronous source; run `make protos`\n")
    return 1 if stale or rewritten else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
