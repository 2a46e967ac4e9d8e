"""A range that holds a stated probability: the law of greatest entropy within a family that holds it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from scipy import optimize, special

from engine.arrays import Floats
from engine.distributions.distribution import Distribution, Uniform
from engine.distributions.families import RULES, Anchor, Family, chosen, describe
from engine.distributions.support import Link, Support
from engine.elicitation.statement import Fitted, within_floats
from engine.errors import InvalidInput

_STEP = 1e-5  # central differences of entropy and mass, whose own errors are near 1e-15
_MET = 1e-9
_GRID_STARTS = 6
_BOX = 12.0  # parameters relative to the range; a law out here holds it in its tail


def fit_range(
    lower: float,
    upper: float,
    probability: float,
    support: Support,
    family: Family | None = None,
    mean: float | None = None,
    mode: float | None = None,
) -> Fitted:
    """The law of the family with P(lower < X < upper) = probability and the greatest entropy (Jaynes 1957).

    With `mean` or `mode` (at most one) the law has that as well; both are solved as equations of their own, so the
    probability is met whatever the other asks (methods/conflict.md §13, §15.2). Among several solutions the one of
    greatest entropy is taken. Raises InvalidInput on "lower", "upper", "probability", "mean", "mode", "family"; also
    where the entropy has no greatest value, as when a range at the end of a half-line holds too little, or has it, on a
    half-line, in a law of which more than half lies beyond the range: that would be far out for no stated reason.
    """
    family = chosen(family, support)
    _check(lower, upper, probability, support, mean, mode)
    beside = "mean" if mode is None else "mode"
    with within_floats("upper", "lower", "upper", "probability", "mean", "mode", "family"):
        fitter = _Fitter(lower, upper, probability, support, family)
        if mean is None and mode is None:
            law = fitter.greatest()
        elif RULES[family].free == 1:
            raise InvalidInput(beside, f"{family.value} has one parameter, which the range settles")
        else:
            law = fitter.with_statistic(beside, float(mean if mode is None else mode))  # type: ignore[arg-type]
        inside = fitter.mass(law)
    notes = [f"{describe(law)}, which puts {100 * inside:.4g} % between {lower:g} and {upper:g}"]
    if mode is not None:
        notes[0] += f" and peaks at {RULES[family].mode(law):.4g}"
    equations = 1 if mean is None and mode is None else 2
    ends = [end for end in (lower, upper) if support.contains(end)]
    return Fitted(law, equations, notes=(f"{notes[0]}.",), **_told(law, ends, probability, lower, upper, support))


def _told(
    law: Distribution, ends: list[float], probability: float, lower: float, upper: float, support: Support
) -> dict[str, tuple[float, ...]]:
    """Stated and fitted probability where the range is one tail; a central one says nothing of either side alone."""
    if len(ends) != 1:
        return {}
    below = probability if lower <= support.lower else 1.0 - probability
    return {"values": (ends[0],), "asked": (below,), "fitted": (float(law.cdf(ends[0])),)}


def _check(
    lower: float, upper: float, probability: float, support: Support, mean: float | None, mode: float | None
) -> None:
    for name, end in (("lower", lower), ("upper", upper)):
        if not (math.isfinite(end) and support.lower <= end <= support.upper):
            raise InvalidInput(name, f"must be finite and inside [{support.lower:g}, {support.upper:g}]")
    if not lower < upper:
        raise InvalidInput("upper", "must be above lower")
    if (lower, upper) == (support.lower, support.upper):
        raise InvalidInput("upper", "the range is all that the quantity can be, which says nothing")
    if not 0.0 < probability < 1.0:
        raise InvalidInput("probability", "must lie strictly between 0 and 1")
    if mean is not None and mode is not None:
        raise InvalidInput("mode", "at most one of mean and mode")
    for name, value in (("mean", mean), ("mode", mode)):
        if value is not None and not support.contains(value):
            raise InvalidInput(name, f"must lie strictly inside ({support.lower:g}, {support.upper:g})")


class _Fitter:
    """One statement and one family."""

    def __init__(self, lower: float, upper: float, probability: float, support: Support, family: Family) -> None:
        self.lower, self.upper, self.probability = lower, upper, probability
        self.support, self.family, self.rules = support, family, RULES[family]
        middle = 0.5 * (lower + upper)
        if support.link is Link.LOG and lower > 0.0:
            middle = math.sqrt(lower * upper)
        # A normal law about the middle would hold the probability with this spread.
        spread = 0.5 * (upper - lower) / max(float(special.ndtri(0.5 * (1.0 + probability))), 0.05)
        self.anchor = Anchor(support, middle, spread)

    def mass(self, law: Distribution) -> float:
        """P(lower < X < upper), from whichever tails are accurate."""
        if float(law.cdf(self.lower)) > 0.5:
            return float(law.sf(self.lower) - law.sf(self.upper))
        return float(law.cdf(self.upper) - law.cdf(self.lower))

    def _make(self, theta: Floats) -> Distribution:
        return self.rules.make(np.clip(theta, -_BOX, _BOX), self.anchor)

    def _gap(self, theta: Floats) -> float:
        return self.mass(self._make(theta)) - self.probability

    def _entropy(self, theta: Floats) -> float:
        # In units of the range, so that its size does not depend on the unit.
        return self.rules.entropy(self._make(theta)) - math.log(self.upper - self.lower)

    def _starts(self) -> Iterator[Floats]:
        """Parameters of laws about the centre, narrow and wide; each time the anchor becomes that of the start."""
        first = self.anchor
        for factor in (1.0, 0.4, 2.5):
            self.anchor = first.widened(factor)
            yield np.clip(self.rules.rough(self.anchor), -_BOX, _BOX)

    # -- the mass alone ----------------------------------------------------------------------------------------

    def greatest(self) -> Distribution:
        """The law of greatest entropy with the stated mass."""
        if self.family is Family.UNIFORM:
            return self._uniform()
        if self.family in (Family.NORMAL, Family.STUDENT_T):
            # Entropy is the logarithm of the scale, and the mass for a scale is greatest about the middle.
            return self._make(np.array([0.0, self._scale_root(lambda value: np.array([0.0, value]))]))
        if self.rules.free == 1:
            return self._make(np.array([self._scale_root(lambda value: np.array([value]))]))
        return self._along_the_constraint()

    def _scale_root(self, theta: Callable[[float], Floats]) -> float:
        """The largest parameter at which the mass, small again for large ones, is the stated one."""
        grid = np.linspace(-_BOX, _BOX, 481)
        gaps = np.asarray([self._gap(theta(float(value))) for value in grid])
        above = np.flatnonzero(gaps >= 0.0)
        if above.size == 0 or above[-1] == grid.size - 1:
            raise self._impossible()
        last = int(above[-1])
        return float(
            optimize.brentq(lambda v: self._gap(theta(float(v))), grid[last], grid[last + 1], xtol=1e-14, rtol=1e-14)
        )

    def _uniform(self) -> Distribution:
        """The one about the middle of the range: all that contain it have this width, and so the same entropy."""
        width = (self.upper - self.lower) / self.probability
        if width > self.support.upper - self.support.lower:
            raise self._impossible()
        low = max(0.5 * (self.lower + self.upper - width), self.support.lower)
        low = min(low, self.support.upper - width)
        return Uniform(low, low + width)

    def _uniform_about(self, mean: float) -> Distribution:
        """The widest uniform law about a mean that holds the mass."""
        self.anchor = Anchor(self.support, mean, self.anchor.spread)
        law = self._make(np.array([0.0, self._scale_root(lambda value: np.array([0.0, value]))]))
        if abs(law.mean - mean) > _MET * (self.upper - self.lower):
            raise self._none_with("mean", mean)  # it would leave the support
        return law

    def _along_the_constraint(self) -> Distribution:
        """Entropy maximised with the mass held: a search from several starts, then the equations to the last digits."""
        best: tuple[float, Distribution] | None = None
        highest = -math.inf
        for start in self._starts():
            optimum = optimize.minimize(  # type: ignore[call-overload]  # the stubs want extra arguments
                lambda theta: -self._entropy(theta),
                start,
                method="SLSQP",
                bounds=[(-_BOX, _BOX)] * 2,
                constraints=optimize.NonlinearConstraint(lambda theta: [self._gap(theta)], 0.0, 0.0),
                tol=1e-12,
            )
            if not np.all(np.isfinite(optimum.x)) or abs(self._gap(optimum.x)) > 1e-6:
                continue
            highest = max(highest, self._entropy(optimum.x))
            exact = optimize.root(self._stationary, optimum.x, tol=1e-13).x
            if self._at_an_end(exact) or abs(self._gap(exact)) > _MET:
                continue
            value = self._entropy(exact)
            if np.max(np.abs(self._stationary(exact))) < 1e-7 and (best is None or value > best[0]):
                best = value, self._make(exact)
        if best is None or highest > best[0] + 1e-5:
            raise self._impossible()
        # On a half-line the measure draws a law that has room to where numbers are large, and the unit would choose.
        if self.support.link is Link.LOG and not self.lower < float(best[1].ppf(0.5)) < self.upper:
            raise self._impossible()
        return best[1]

    def _at_an_end(self, theta: Floats) -> bool:
        """Whether a parameter lies where it is clipped, so that the law no longer moves with it."""
        steps = np.concatenate([np.eye(theta.size), -np.eye(theta.size)])
        law = self._make(theta)
        return any(self._make(theta + step) == law for step in steps)

    def _stationary(self, theta: Floats) -> Floats:
        """Mass less the stated one, and the part of the entropy's slope along the constraint."""
        entropy, mass = self._slopes(self._entropy, theta), self._slopes(self._gap, theta)
        along = (entropy[0] * mass[1] - entropy[1] * mass[0]) / max(float(np.hypot(*mass)), 1e-12)
        return np.array([self._gap(theta), along])

    @staticmethod
    def _slopes(function: Callable[[Floats], float], theta: Floats) -> Floats:
        steps = _STEP * np.eye(theta.size)
        return np.asarray([(function(theta + step) - function(theta - step)) / (2.0 * _STEP) for step in steps])

    # -- mass and a statistic ----------------------------------------------------------------------------------

    def with_statistic(self, name: str, value: float) -> Distribution:
        """The law with the stated mass and mean or mode: two equations for two parameters, from several starts."""
        if name == "mode" and self.family is Family.UNIFORM:
            raise InvalidInput("mode", "a uniform law has no most likely value")
        if self.family is Family.UNIFORM:
            return self._uniform_about(value)
        statistic = self.rules.mode if name == "mode" else lambda law: law.mean
        self.anchor = Anchor(self.support, value, self.anchor.spread)

        def equations(theta: Floats) -> list[float]:
            try:
                law = self._make(theta)
                return [self.mass(law) - self.probability, (statistic(law) - value) / (self.upper - self.lower)]
            except (InvalidInput, OverflowError):  # outside of where a law exists, or its mean
                return [1.0, 1.0]

        # The equations are far from linear, so the search starts where they are nearly met: at the best of a grid.
        rough = self.rules.rough(self.anchor)
        grid = [rough + offset for offset in product(np.arange(-3.0, 3.5, 0.5), repeat=rough.size)]
        starts = sorted(grid, key=lambda theta: max(abs(value) for value in equations(theta)))[:_GRID_STARTS]
        best: tuple[float, Distribution] | None = None
        for start in starts:
            theta = optimize.root(equations, start, tol=1e-13).x
            if np.max(np.abs(theta)) > _BOX or np.max(np.abs(equations(theta))) > _MET:
                continue
            law = self._make(theta)
            if name == "mode" and not self.rules.has_mode(law):
                continue
            entropy = self.rules.entropy(law)
            if best is None or entropy > best[0]:
                best = entropy, law
        if best is None:
            raise self._none_with(name, value)
        return best[1]

    def _none_with(self, name: str, value: float) -> InvalidInput:
        return InvalidInput(
            name,
            f"no {self.family.value} law with {name} {value:g} has probability {self.probability:g} between "
            f"{self.lower:g} and {self.upper:g}",
        )

    def _impossible(self) -> InvalidInput:
        return InvalidInput(
            "probability",
            f"a range from {self.lower:g} to {self.upper:g} with probability {self.probability:g} does not settle a "
            f"{self.family.value} law of greatest entropy; state a mean or mode beside it, or take another family",
        )
