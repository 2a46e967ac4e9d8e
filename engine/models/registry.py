"""The model families, by versioned id; the only place where they are listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from engine.errors import InvalidInput
from engine.models import additive_mmm, conjugate_normal
from engine.models.protocol import Model

FAMILIES: Mapping[str, Callable[..., Model]] = MappingProxyType(
    {additive_mmm.FAMILY: additive_mmm.prepare, conjugate_normal.FAMILY: conjugate_normal.prepare}
)
"""Family id → its `prepare`, which takes that family's own inputs and returns a Model."""


def prepare_function(family: str) -> Callable[..., Model]:
    """The family's `prepare`; InvalidInput for an unknown id."""
    if family not in FAMILIES:
        raise InvalidInput("family", f"{family!r} is unknown; the families are {', '.join(sorted(FAMILIES))}")
    return FAMILIES[family]
