"""What the contract says about a belief is written by somebody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from liftos.bayes.v1 import conflict_pb2

import server.worker

WORKER = "\n".join(path.read_text() for path in Path(server.worker.__path__[0]).rglob("*.py"))
"""The source of all that runs in a worker."""


@pytest.mark.parametrize(
    "field",
    [
        f"{message.DESCRIPTOR.name}.{field.name}"
        for message in (conflict_pb2.BeliefConflict, conflict_pb2.JointConflict)
        for field in message.DESCRIPTOR.fields
    ],
)
def test_every_field_of_a_conflict_is_set_by_the_worker(field: str) -> None:
    """By its source: a field that nobody writes is read as zero, and no type tells."""
    name = field.partition(".")[2]
    assert re.search(rf"\b{name}\b\s*=[^=]|\.{name}\.(CopyFrom|extend|append|add|MergeFrom)\(|\"{name}\"", WORKER), (
        field
    )
