"""The preparations of the model families, by versioned id."""

from __future__ import annotations

from importlib.metadata import entry_points

from server.contract.errors import unimplemented
from server.contract.families.registry import FAMILIES, load_families
from server.worker.fitting.families.additive_preparation import ADDITIVE
from server.worker.fitting.families.conjugate_preparation import CONJUGATE
from server.worker.fitting.preparation import Preparation

PLUGINS = "liftos.bayes.preparations"
"""Entry points of this group name a `Preparation` of an installed package."""

PREPARATIONS: dict[str, Preparation] = {preparation.family: preparation for preparation in (ADDITIVE, CONJUGATE)}


def register(preparation: Preparation) -> None:
    """Add the worker's half of a family; ValueError where another has its id."""
    if PREPARATIONS.setdefault(preparation.family, preparation) is not preparation:
        raise ValueError(f"there is a preparation of the model family {preparation.family!r} already")


def load_preparations() -> None:
    """Register both halves of the families of installed plug-ins, and see that none lacks one.

    Raises RuntimeError for a family with one half only: its models could be registered and never fitted.
    """
    load_families()
    for plugin in entry_points(group=PLUGINS):
        register(plugin.load())
    if halves := FAMILIES.keys() ^ PREPARATIONS.keys():
        raise RuntimeError(f"model families of which only one half is registered: {', '.join(sorted(halves))}")


def preparation_of(family_id: str) -> Preparation:
    """The preparation of a stored model; ServiceError UNIMPLEMENTED where its plug-in is not installed any more."""
    if family_id not in PREPARATIONS:
        raise unimplemented(f"the model family {family_id!r}, which is not installed here,", "model_id")
    return PREPARATIONS[family_id]
