"""Statements about a mean and a spread, fitted by moments: "mean ± x", and a mode within bounds (PERT)."""

from __future__ import annotations

import enum
import math
from typing import assert_never

from scipy import special

from engine.distributions.distribution import Normal, Support
from engine.distributions.families import RULES, Family, chosen, describe
from engine.elicitation.statement import Fitted, within_floats
from engine.errors import InvalidInput


class Meaning(enum.Enum):
    """What the number after "±" is; there is no default because the answers differ by a severity band."""

    SD = "sd"
    INTERVAL_HALF_WIDTH = "interval_half_width"


def standard_deviation(plus_minus: float, meaning: Meaning, level: float | None) -> tuple[float, str]:
    """The standard deviation that "± x" means, and the reading in words.

    `level` is the interval's level in (0, 1) for INTERVAL_HALF_WIDTH and must be absent for SD; the half-width is
    divided by the normal quantile of (1 + level)/2. Raises InvalidInput on "plus_minus" and "level".
    """
    if not (math.isfinite(plus_minus) and plus_minus > 0.0):
        raise InvalidInput("plus_minus", "must be finite and above 0")
    match meaning:
        case Meaning.SD:
            if level is not None:
                raise InvalidInput("level", "has no meaning for a standard deviation")
            return plus_minus, f"± {plus_minus:g} read as one standard deviation"
        case Meaning.INTERVAL_HALF_WIDTH:
            if level is None or not 0.0 < level < 1.0:
                raise InvalidInput("level", "must lie strictly between 0 and 1 for the half-width of an interval")
            sd = plus_minus / float(special.ndtri(0.5 * (1.0 + level)))
            return sd, f"± {plus_minus:g} read as half the width of a {100 * level:g} % interval, so sd {sd:.4g}"
        case _:
            assert_never(meaning)


def fit_mean_plus_minus(
    mean: float,
    plus_minus: float,
    meaning: Meaning,
    level: float | None,
    support: Support,
    family: Family | None = None,
) -> Fitted:
    """The law of the family with the mean and standard deviation of "mean ± plus_minus" (methods/conflict.md §13).

    By default Beta on (0, 1), LogNormal on (0, inf), Normal on the real line. Raises InvalidInput on "mean",
    "plus_minus" (also where the family has no such moments), "level", "support", "family".
    """
    rules = RULES[chosen(family, support)]
    _check_inside("mean", mean, support)
    sd, reading = standard_deviation(plus_minus, meaning, level)
    with within_floats("plus_minus", "plus_minus", "mean"):
        law = rules.from_moments(mean, sd, support)
    same = "" if isinstance(law, Normal) else " with the same mean and sd"
    note = f"{reading}; {describe(law)}{same}"
    inside = float(law.cdf(mean + plus_minus) - law.cdf(mean - plus_minus))
    if level is not None and abs(inside - level) > 5e-4:
        note += f", which puts {100 * inside:.1f} % inside the stated interval"
    return Fitted(law, 2, notes=(f"{note}.",))


def fit_mode_and_bounds(
    mode: float, lower: float, upper: float, support: Support, family: Family | None = None
) -> Fitted:
    """The law of the family with PERT's moments: mean (lower + 4 mode + upper)/6, sd (upper - lower)/6.

    Malcolm, Roseboom, Clark & Fazar 1959. The bounds are not ends of the support: the note says how much lies within
    them, and where the fitted density really peaks. Raises InvalidInput on "mode", "lower", "upper", "family".
    """
    rules = RULES[chosen(family, support)]
    for name, end in (("lower", lower), ("upper", upper)):
        if not (math.isfinite(end) and support.lower <= end <= support.upper):
            raise InvalidInput(name, f"must be finite and inside [{support.lower:g}, {support.upper:g}]")
    if not lower < upper:
        raise InvalidInput("upper", "must be above lower")
    if not lower <= mode <= upper:
        raise InvalidInput("mode", "must lie between lower and upper")
    mean, sd = (lower + 4.0 * mode + upper) / 6.0, (upper - lower) / 6.0
    try:
        with within_floats("upper", "plus_minus"):
            law = rules.from_moments(mean, sd, support)
    except InvalidInput as error:
        raise InvalidInput("family" if error.field == "plus_minus" else error.field, error.message) from None
    inside = float(law.cdf(upper) - law.cdf(lower))
    peak = f"its density peaks at {rules.mode(law):.4g}" if rules.has_mode(law) else "its density has no peak inside"
    note = (
        f"Read as PERT does, mean {mean:.4g} and sd {sd:.4g}: {describe(law)}; {peak}, and {100 * inside:.1f} % of it "
        f"lies between {lower:g} and {upper:g}."
    )
    return Fitted(law, 3, notes=(note,))


def _check_inside(field: str, value: float, support: Support) -> None:
    if not math.isfinite(value) or not bool(support.contains(value)):
        raise InvalidInput(field, f"must be finite and strictly inside ({support.lower}, {support.upper})")
