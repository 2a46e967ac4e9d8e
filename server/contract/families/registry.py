"""The model families of the service, by versioned id."""

from __future__ import annotations

from importlib.metadata import entry_points

from liftos.bayes.v1 import model_pb2

from server.contract.errors import unimplemented
from server.contract.families.additive_specification import Additive
from server.contract.families.conjugate_specification import Conjugate
from server.contract.families.family import Family

PLUGINS = "liftos.bayes.families"
"""Entry points of this group name a `Family` of an installed package; those of `liftos.bayes.preparations` the rest."""

FAMILIES: dict[str, Family] = {family.id: family for family in (Additive(), Conjugate())}


def register(family: Family) -> None:
    """Add a family; ValueError where another has its id."""
    if FAMILIES.setdefault(family.id, family) is not family:
        raise ValueError(f"there is a model family {family.id!r} already")


def load_families() -> None:
    """Register the families of installed plug-ins; every process does so when it starts, and twice does no harm."""
    for plugin in entry_points(group=PLUGINS):
        register(plugin.load())


def registered(family_id: str) -> Family:
    """The family of a stored model; ServiceError UNIMPLEMENTED where its plug-in is not installed any more."""
    if family_id not in FAMILIES:
        raise unimplemented(f"the model family {family_id!r}, which is not installed here,", "model_id")
    return FAMILIES[family_id]


def family_of(spec: model_pb2.ModelSpec) -> Family:
    """The family that a specification asks for; ServiceError UNIMPLEMENTED for one that is not there."""
    member = spec.WhichOneof("family")
    for family in FAMILIES.values():
        if family.member == member and (member != "custom" or family.id == spec.custom.family):
            return family
    raise unimplemented("a custom model family", "spec.custom")
