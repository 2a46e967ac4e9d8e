"""Generate the client's messages and stubs from protos/."""

import os
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "clients/python/src"


def main(out: Path = OUT) -> int:
    """Run protoc over every proto of the contract into `out`; returns its exit code."""
    # protoc looks its plugins up on PATH, and a venv that is not activated is not on it.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = [
        "protoc",
        f"-I{ROOT / 'protos'}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *files,
    ]
    return int(protoc.main(arguments))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
