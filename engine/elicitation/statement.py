"""A statement as a distribution: what every form of it gives, and what the other families would have made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from engine.distributions.distribution import Distribution
from engine.distributions.families import RULES, Family, admissible, describe
from engine.distributions.support import Support
from engine.errors import InvalidInput

WARN_ERROR = 0.02
REJECT_ERROR = 0.05


@dataclass(frozen=True)
class Fitted:
    """The distribution fitted to a statement.

    `asked[i]` is the stated probability of lying below `values[i]` and `fitted[i]` the distribution's; all empty for a
    statement without probabilities. `equations` is how many numbers the statement fixes; `notes` are sentences on how
    it was read and what to mind.
    """

    distribution: Distribution
    equations: int
    values: tuple[float, ...] = ()
    asked: tuple[float, ...] = ()
    fitted: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def max_error(self) -> float:
        """Largest difference of a stated and a fitted probability; 0 without any."""
        return max((abs(a - b) for a, b in zip(self.asked, self.fitted, strict=True)), default=0.0)

    def interpolated(self, family: Family) -> bool:
        """Whether the family has more free parameters than numbers stated less one: nothing checks the fit."""
        return RULES[family].free > self.equations - 1


@contextmanager
def within_floats(field: str, *own: str) -> Iterator[None]:
    """Numerics of a statement: what leaves the range of floats, or of a family's parameters, is the fault of `field`.

    InvalidInput on one of the statement's `own` fields goes through.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except InvalidInput as error:
        if error.field in own:
            raise
        raise InvalidInput(field, f"leads to a law that cannot be had: its {error.field} {error.message}") from None
    except (ArithmeticError, ValueError, np.linalg.LinAlgError):
        raise InvalidInput(field, "is too extreme to be worked with") from None


Fit = Callable[[Family], Fitted]
"""Fits one statement by a family; InvalidInput where the family cannot say it."""


@dataclass(frozen=True)
class FamilyFit:
    """What a family makes of a statement; the outer quantiles are its own doing, not the client's."""

    family: Family
    max_error: float
    quantile_01: float
    quantile_99: float


def band(fit: Fit, support: Support) -> tuple[FamilyFit, ...]:
    """How every family that can say the statement fits it, best first (methods/conflict.md §13: untold tails)."""
    fits = []
    for family in admissible(support):
        try:
            fitted = fit(family)
        except InvalidInput:
            continue
        law = fitted.distribution
        fits.append(FamilyFit(family, fitted.max_error, float(law.ppf(0.01)), float(law.isf(0.01))))
    return tuple(sorted(fits, key=lambda family_fit: round(family_fit.max_error, 6)))


def of_probabilities(
    law: Distribution, values: Sequence[float], asked: Sequence[float], limit: float, notes: Sequence[str] = ()
) -> Fitted:
    """The fit of probabilities: one missed by more than 0.02 is noted, by more than `limit` refused."""
    fitted = law.cdf(values)
    worst = int(np.argmax(np.abs(fitted - np.asarray(asked))))
    error = float(abs(fitted[worst] - asked[worst]))
    if error > limit:
        raise InvalidInput(
            "values",
            f"no {type(law).__name__} comes near: at {values[worst]:g} the stated probability is {asked[worst]:.4g} "
            f"and the best fit gives {fitted[worst]:.3f}",
        )
    remarks = list(notes)
    if error > WARN_ERROR:
        remarks.append(
            f"At {values[worst]:g} the stated probability is {asked[worst]:.4g}, that of the fitted "
            f"{describe(law)} {fitted[worst]:.3f}."
        )
    return Fitted(law, len(asked), tuple(values), tuple(asked), tuple(fitted.tolist()), tuple(remarks))
