"""Test quantities: which functions of parameters and data are ranked, and how to compute those that no fit returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from engine.arrays import Floats
from engine.distributions.distribution import Uniform
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.models.protocol import Model
from engine.rules.quantity_names import (
    LOG_JOINT,
    LOG_LIKELIHOOD,
    LOG_PRIOR,
    check_ranked,
    check_recovered,
    name_of,
    operands,
    split_name,
)

_OPERATORS: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    " + ": np.add,
    " - ": np.subtract,
    " * ": np.multiply,
    " / ": np.divide,
}
"""A combination of two quantities sees an error in their dependence, which neither sees alone (Modrák et al. 2023)."""


def ranked_quantities(model: Model, further: Sequence[str] = (), *, dependence: bool = False) -> tuple[str, ...]:
    """What a run ranks: every parameter, the estimands, log-likelihood, log-prior and log-joint, and `further` names.

    A fixed positive multiple of a parameter is left out, because its ranks are the parameter's (`equivalents`), and so
    is a log prior that is constant, and with it the log-joint. `dependence` adds combinations of parameters that the
    data tie together: differences of neighbouring channels, and each channel's effect times its half-saturation.
    `further`: names of the model's quantities, or two of them joined by +, -, * or / between spaces.
    """
    names = [
        name for name in model.quantity_names if name in model.parameter_names or _multiple_of(model, name) is None
    ]
    flat = all(isinstance(prior, Uniform) for prior in model.priors.values())
    if flat:
        names.remove(LOG_PRIOR)  # every draw would tie with the truth, which elsewhere is the mark of a stuck chain
    else:
        names.append(LOG_JOINT)
    if dependence:
        names += _combinations(model)
    known = (*model.quantity_names, LOG_JOINT)
    for index, name in enumerate(further):
        try:
            check_ranked(name, known, flat=flat)
        except UnsupportedQuantity as error:
            raise InvalidInput(f"further_quantities[{index}]", error.message) from None
    return tuple(dict.fromkeys((*names, *further)))


def recovered_quantities(model: Model, further: Sequence[str] = ()) -> tuple[str, ...]:
    """What a run at a fixed truth tells of: parameters, estimands in whatever unit they are, and `further` names."""
    for index, name in enumerate(further):
        try:
            check_recovered(name, (*model.quantity_names, LOG_JOINT))
        except UnsupportedQuantity as error:
            raise InvalidInput(f"further_quantities[{index}]", error.message) from None
    densities = (LOG_LIKELIHOOD, LOG_PRIOR)
    return tuple(dict.fromkeys((*(name for name in model.quantity_names if name not in densities), *further)))


def equivalents(model: Model, ranked: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Names whose ranks are those of a ranked parameter because they are a fixed positive multiple of it."""
    same: dict[str, tuple[str, ...]] = {}
    for name in model.quantity_names:
        parameter = None if name in ranked else _multiple_of(model, name)
        if parameter is not None and parameter in ranked:
            same[parameter] = (*same.get(parameter, ()), name)
    return same


def evaluated(name: str, values: Mapping[str, Floats]) -> Floats:
    """The named quantity from those that a model returns, all of one shape; UnsupportedQuantity for an unknown name."""
    if name in values:
        return np.asarray(values[name], dtype=np.float64)
    if name == LOG_JOINT:
        return evaluated(LOG_LIKELIHOOD, values) + evaluated(LOG_PRIOR, values)
    left, symbol, right = operands(name, (*values, LOG_JOINT))
    with np.errstate(all="ignore"):  # what is not finite is a rank's business
        return _OPERATORS[symbol](evaluated(left, values), evaluated(right, values))


def _multiple_of(model: Model, name: str) -> str | None:
    """The parameter that a quantity is a fixed positive multiple of."""
    try:
        return model.multiple_of(name)[0]
    except UnsupportedQuantity:
        return None


def _combinations(model: Model) -> list[str]:
    effects = [name for name in model.parameter_names if split_name(name)[0] in ("share_of_outcome", "roi")]
    halves = [name_of("half_saturation", split_name(effect)[1]) for effect in effects]
    shapes = [
        f"{effect} * {half}" for effect, half in zip(effects, halves, strict=True) if half in model.parameter_names
    ]
    return [f"{effect} - {other}" for effect, other in pairwise(effects)] + shapes
