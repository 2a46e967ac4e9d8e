"""The released contract: a buf image of the protos, and the record of the version that it was written for."""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "protos/released.binpb"
RECORD = "protos/released.toml"
PROJECTS = ("pyproject.toml", "clients/python/pyproject.toml")
"""Server and client are released together: both carry the messages of the contract, and its version."""

_VERSION_LINE = re.compile(r'^version = "(.*)"$', re.MULTILINE)
_BUF = Path(sys.executable).parent / "buf"
_PARTS = ("message_type", "nested_type", "enum_type", "service", "extension", "field", "oneof_decl", "value", "method")


class Refused(Exception):
    """Why there is no release, one reason a line."""


def elements(image: bytes) -> dict[str, bytes]:
    """Every file, message, field, oneof, enum, value, service and method of a buf image, by its full name.

    What is kept of each is its descriptor without its parts: number, type, options, but neither comments nor place.
    """
    by_name: dict[str, bytes] = {}

    def keep(name: str, element: Message, inside: str) -> None:
        own = type(element)()
        own.CopyFrom(element)
        for part in _PARTS:
            if part in element.DESCRIPTOR.fields_by_name:
                own.ClearField(part)
                for child in getattr(element, part):
                    keep(f"{inside}.{child.name}", child, f"{inside}.{child.name}")
        by_name[name] = own.SerializeToString(deterministic=True)

    for file in FileDescriptorSet.FromString(image).file:
        if not file.name.startswith("google/"):
            file.ClearField("dependency")
            file.ClearField("source_code_info")
            file.DiscardUnknownFields()
            keep(file.name, file, file.package)
    return by_name


def differences(contract: bytes, image: bytes) -> list[str]:
    """What sets the image of the last release apart from that of today's contract, one line for each element."""
    now, then = elements(contract), elements(image)
    lines = [f"{IMAGE} lacks {name}" for name in now if name not in then]
    lines += [f"{IMAGE} differs in {name}" for name in now if name in then and now[name] != then[name]]
    return lines + [f"{IMAGE} has {name}, which is no longer in protos/" for name in then if name not in now]


def faults(root: Path = ROOT) -> list[str]:
    """Why the image is not that of the version that the projects name, or not that of protos/; empty if it is both."""
    record, image = tomllib.loads((root / RECORD).read_text()), (root / IMAGE).read_bytes()
    reasons = [
        f"{project} says version {_version(root / project)}, but {IMAGE} was written for {record['version']}"
        for project in PROJECTS
        if _version(root / project) != record["version"]
    ]
    if hashlib.sha256(image).hexdigest() != record["sha256"]:
        reasons.append(f"{IMAGE} is not the image that was written for {record['version']}")
    return reasons + differences(_build(root), image)


def release(version: str, root: Path = ROOT) -> None:
    """Give server and client this version, and write the image of protos/ and its record for it.

    Refused for a version that is not greater than each one that stands, and for a contract that breaks a client of the
    last release.
    """
    last = [tomllib.loads((root / RECORD).read_text())["version"], *(_version(root / name) for name in PROJECTS)]
    if not version:
        raise Refused("say which version: make release VERSION=x.y.z")
    if _numbers(version) <= max(map(_numbers, last)):
        raise Refused(f"version {version} is not greater than {max(last, key=_numbers)}")
    _buf(root, "breaking", "--against", IMAGE)
    image = _build(root)
    (root / IMAGE).write_bytes(image)
    (root / RECORD).write_text(
        f"# Written by `make release`: the version whose contract {Path(IMAGE).name} is.\n"
        f'version = "{version}"\nsha256 = "{hashlib.sha256(image).hexdigest()}"\n'
    )
    for project in PROJECTS:
        path = root / project
        path.write_text(_VERSION_LINE.sub(f'version = "{version}"', path.read_text(), count=1))


def _numbers(version: str) -> tuple[int, ...]:
    if not re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}", version, re.ASCII):
        raise Refused(f"{version!r} is no version; it has to be of the form x.y.z")
    return tuple(map(int, version.split(".")))


def _version(project: Path) -> str:
    match = _VERSION_LINE.search(project.read_text())
    if match is None:
        raise Refused(f"{project} names no version")
    return match[1]


def _build(root: Path) -> bytes:
    return _buf(root, "build", "--exclude-source-info", "--output", "-")


def _buf(root: Path, *arguments: str) -> bytes:
    done = subprocess.run([_BUF, *arguments], cwd=root, capture_output=True, check=False)
    if done.returncode:
        raise Refused((done.stdout + done.stderr).decode().strip())
    return done.stdout


def main() -> int:
    """Check the image, or release the version that is said; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", help="the version to release; without it the image is only checked")
    version = parser.parse_args().version
    try:
        if version is not None:
            release(version)
            return 0
        reasons = faults()
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    if reasons:
        reasons.append("the contract has changed since it was last released: make release VERSION=x.y.z")
        sys.stderr.write("\n".join(reasons) + "\n")
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
