"""The one truth of a recovery run: what a caller states, completed to a value of every parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from engine.errors import InvalidInput, UnsupportedQuantity
from engine.models.protocol import Model


def prior_medians(model: Model) -> dict[str, float]:
    """The median of every parameter's prior."""
    return {name: float(prior.ppf(0.5)) for name, prior in model.priors.items()}


def fixed_truth(
    model: Model, stated: Mapping[str, float], others: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The value of every parameter, in the order of the model.

    stated: by the name of a parameter, or of a quantity that is a fixed multiple of one, such as the ROI of a channel
    whose share is sampled. others: values of the parameters that it leaves open; None: it must name all of them.
    InvalidInput with `fixed_truth[name]` for a name that is neither, for one that fixes what another fixes already, for
    a value that the prior excludes, and for a parameter that is missing.
    """
    values: dict[str, float] = {}
    named: dict[str, str] = {}
    for name, value in stated.items():
        parameter, factor = _parameter(model, name)
        if parameter in named:
            raise InvalidInput(f"fixed_truth[{name}]", f"{named[parameter]} fixes {parameter!r} already")
        at = value / factor
        if not np.isfinite(at) or not np.isfinite(model.priors[parameter].logpdf(np.asarray(at))):
            where = "" if name == parameter else f" (there {parameter!r} would be {at:.6g})"
            raise InvalidInput(f"fixed_truth[{name}]", f"{value:g} is a value that the prior excludes{where}")
        values[parameter], named[parameter] = at, name
    for parameter in model.parameter_names:
        if parameter not in values:
            if others is None:
                raise InvalidInput(
                    f"fixed_truth[{parameter}]",
                    "has no value: name every parameter, or say with other_truths what the others shall have",
                )
            values[parameter] = others[parameter]
    return {parameter: values[parameter] for parameter in model.parameter_names}


def fixed_by(model: Model, stated: Iterable[str]) -> list[str]:
    """The parameters that stated names fix."""
    return [_parameter(model, name)[0] for name in stated]


def _parameter(model: Model, name: str) -> tuple[str, float]:
    """The parameter that a name fixes, and the factor that it is multiplied by."""
    if name in model.parameter_names:
        return name, 1.0
    try:
        return model.multiple_of(name)
    except UnsupportedQuantity:
        raise InvalidInput(
            f"fixed_truth[{name}]",
            f"is neither a parameter of the model nor a fixed multiple of one; there are "
            f"{', '.join(model.parameter_names)}",
        ) from None
