"""The image of the released contract: that it is today's, that nothing can leave it, and how it is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

from clients import release

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"
OFFLINE = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
RELEASED = "90.9.0"
ELSEWHERE = 20_000
"""A number of a field or value that no field or value has."""
UNKNOWN_FIELD = b"\x98\x06\x00"
"""Bytes that add nothing to a message but themselves."""


def image() -> FileDescriptorSet:
    return FileDescriptorSet.FromString((ROOT / release.IMAGE).read_bytes())


def files(image: FileDescriptorSet) -> list[FileDescriptorProto]:
    return [file for file in image.file if file.name.startswith("liftos/")]


def messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    """Every message of a file, nested ones too, by its name within the package."""
    todo = [(message.name, message) for message in file.message_type]
    while todo:
        name, message = todo.pop()
        yield name, message
        todo += [(f"{name}.{nested.name}", nested) for nested in message.nested_type]


def enums(file: FileDescriptorProto) -> Iterator[tuple[str, EnumDescriptorProto]]:
    yield from ((enum.name, enum) for enum in file.enum_type)
    for name, message in messages(file):
        yield from ((f"{name}.{enum.name}", enum) for enum in message.enum_type)


def contract() -> set[tuple[str, str, str]]:
    """(owner, kind, number or name) of every field, enum value and method, as buf names them."""
    every = set()
    for file in files(image()):
        every |= {(owner, "field", str(field.number)) for owner, message in messages(file) for field in message.field}
        every |= {(owner, "value", str(value.number)) for owner, enum in enums(file) for value in enum.value}
        every |= {(service.name, "RPC", method.name) for service in file.service for method in service.method}
    return every


def broken(changed: FileDescriptorSet, directory: Path) -> set[tuple[str, str, str]]:
    """(owner, kind, number or name) of what buf finds broken in this contract."""
    (directory / "changed.binpb").write_bytes(changed.SerializeToString())
    against = ("--against", release.IMAGE, "--config", "buf.yaml", "--error-format", "json")
    done = subprocess.run(
        [BUF, "breaking", directory / "changed.binpb", *against],
        cwd=ROOT,
        env=OFFLINE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 100, done.stderr
    found = set()
    for text in (json.loads(line)["message"] for line in done.stdout.splitlines()):
        named = re.match(r'(?:Previously present |Enum )(field|enum value|value|RPC) "(\w+)".* on \w+ "([\w.]+)"', text)
        if named is not None:
            found.add((named[3], named[1].removeprefix("enum "), named[2]))
    return found


def test_the_walk_sees_the_whole_contract() -> None:
    assert len(contract()) > 1200
    assert {
        ("Channel", "field", "9"),
        ("Saturation", "value", "3"),
        ("SbcService", "RPC", "ReadSbcLedger"),
    } <= contract()


def test_every_field_enum_value_and_method_that_is_dropped_is_found(tmp_path: Path) -> None:
    """Also where number and name are reserved, as is good practice for what was never released."""
    changed = image()
    for file in files(changed):
        for _, message in messages(file):
            for field in message.field:
                message.reserved_name.append(field.name)
                message.reserved_range.add(start=field.number, end=field.number + 1)
            del message.field[:], message.oneof_decl[:]
        for name, enum in enums(file):
            enum.reserved_name.extend(value.name for value in enum.value)
            del enum.value[:]
            # Without a value of number 0 it would be no enum.
            enum.value.add(name=f"{name}_OTHER", number=0)
        for service in file.service:
            del service.method[:]
    assert broken(changed, tmp_path) == contract()


def test_every_field_and_enum_value_that_gets_another_number_is_found(tmp_path: Path) -> None:
    changed = image()
    for file in files(changed):
        for _, message in messages(file):
            for field in message.field:
                field.number += ELSEWHERE
        for _, enum in enums(file):
            for value in enum.value[1:]:
                value.number += ELSEWHERE
    assert broken(changed, tmp_path) == {
        (owner, kind, which) for owner, kind, which in contract() if kind != "RPC" and (kind, which) != ("value", "0")
    }


def test_the_image_is_todays_contract_and_that_of_the_version() -> None:
    assert release.faults() == []


def test_make_check_looks_at_the_image() -> None:
    done = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "clients/release.py\n" in done.stdout


def test_an_image_without_an_element_of_the_contract_lacks_it() -> None:
    now = (ROOT / release.IMAGE).read_bytes()
    then = image()
    for file in files(then):
        del file.message_type[:], file.enum_type[:], file.service[:], file.extension[:]
    elements = {name for name in release.elements(now) if not name.endswith(".proto")}
    lines = release.differences(now, then.SerializeToString())
    assert sorted(lines) == sorted(f"{release.IMAGE} lacks {name}" for name in elements)
    assert {
        "liftos.bayes.v1.Saturation.SATURATION_LINEAR",
        "liftos.bayes.v1.SbcService.ReadSbcLedger",
    } <= elements


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of everything that a release reads or writes, with today's contract released."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    for name in ("buf.yaml", *release.PROJECTS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    release.release(RELEASED, tmp_path)
    return tmp_path


def content(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def sbc(tree: Path) -> Path:
    return tree / "protos/liftos/bayes/v1/sbc.proto"


def test_a_release_writes_the_version_of_server_and_client_the_image_and_its_record(tree: Path) -> None:
    before = content(tree)
    edit(sbc(tree), "enum VerdictKind {", "enum Added { ADDED_UNSPECIFIED = 0; }\nenum VerdictKind {")
    release.release("90.10.0", tree)
    after = content(tree)
    assert {name for name in after if after[name] != before[name]} == {
        str(sbc(tree).relative_to(tree)),
        release.IMAGE,
        release.RECORD,
        *release.PROJECTS,
    }
    assert b'\nversion = "90.10.0"\n' in after["pyproject.toml"]
    assert "liftos.bayes.v1.Added" in release.elements(after[release.IMAGE])
    assert release.faults(tree) == []


@pytest.mark.parametrize(
    "version", ["", "91", "91.0", "v91.0.0", "91.0.0rc1", "091.0.0", "91.0.0.0", "91.0.0 ", "0.1.0", RELEASED]
)
def test_a_version_that_is_missing_malformed_or_not_greater_is_refused(tree: Path, version: str) -> None:
    before = content(tree)
    with pytest.raises(release.Refused, match=r"which version|no version|not greater"):
        release.release(version, tree)
    assert content(tree) == before


def test_versions_are_compared_as_numbers_with_every_one_that_stands(tree: Path) -> None:
    edit(tree / "pyproject.toml", RELEASED, "90.10.0")
    with pytest.raises(release.Refused, match=r"90\.9\.1 is not greater than 90\.10\.0"):
        release.release("90.9.1", tree)


def test_a_release_without_a_version_ends_with_a_reason() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "clients/release.py", "--version", ""], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "say which version: make release VERSION=x.y.z\n"


def test_a_contract_that_breaks_the_last_release_is_not_released(tree: Path) -> None:
    edit(sbc(tree), "int64 seed = 8;", "int32 seed = 8;")
    before = content(tree)
    with pytest.raises(release.Refused, match="seed"):
        release.release("90.10.0", tree)
    assert content(tree) == before


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda tree: edit(sbc(tree), "int64 seed = 8;", "int64 seed = 8;\n  string added = 999;"), ".added"),
        (lambda tree: edit(tree / "pyproject.toml", RELEASED, "91.0.0"), "pyproject.toml says version 91.0.0"),
        (
            lambda tree: edit(tree / release.PROJECTS[1], RELEASED, "91.0.0"),
            "clients/python/pyproject.toml says version 91.0.0",
        ),
        (
            lambda tree: (tree / release.IMAGE).write_bytes((tree / release.IMAGE).read_bytes() + UNKNOWN_FIELD),
            "is not the image that was written for",
        ),
        (lambda tree: edit(sbc(tree), "int64 seed = 8;", "int32 seed = 8;"), "differs in liftos.bayes.v1."),
    ],
    ids=["a field more", "server's version", "client's version", "another image", "another type"],
)
def test_an_image_that_is_not_that_of_the_version_and_of_the_contract_is_a_fault(
    tree: Path, change: Callable[[Path], object], fault: str
) -> None:
    change(tree)
    found = release.faults(tree)
    assert len(found) == 1
    assert fault in found[0]


def test_another_comment_is_no_other_contract(tree: Path) -> None:
    edit(sbc(tree), "enum VerdictKind {", "// More is said.\nenum VerdictKind {")
    assert release.faults(tree) == []
