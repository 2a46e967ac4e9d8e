"""Ranges and quartiles against PreliZ, which minimises the same criteria by other means.

Its roulette is a widget that fits the density, a different criterion, so it is not compared. PreliZ comes with the
extra `preliz`.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.distributions.distribution import POSITIVE, REAL_LINE, UNIT_INTERVAL, Distribution, Support
from engine.distributions.families import Family
from engine.elicitation.mass import fit_range
from engine.elicitation.quantiles import fit_quantiles

pytestmark = pytest.mark.slow
pz: Any = pytest.importorskip("preliz")

CLASSES: dict[Family, tuple[str, tuple[str, ...]]] = {
    Family.NORMAL: ("Normal", ("mean", "sd")),
    Family.HALF_NORMAL: ("HalfNormal", ("scale",)),
    Family.LOG_NORMAL: ("LogNormal", ("log_mean", "log_sd")),
    Family.GAMMA: ("Gamma", ("shape", "rate")),
    Family.BETA: ("Beta", ("alpha", "beta")),
}


def parameters(law: Distribution, family: Family) -> list[float]:
    return [float(getattr(law, name)) for name in CLASSES[family][1]]


@pytest.mark.parametrize(
    ("family", "support", "lower", "upper", "probability"),
    [
        (Family.BETA, UNIT_INTERVAL, 0.2, 0.6, 0.9),
        (Family.BETA, UNIT_INTERVAL, 0.05, 0.3, 0.94),
        (Family.GAMMA, POSITIVE, 0.0, 10.0, 0.7),
        (Family.GAMMA, POSITIVE, 1.0, 3.0, 0.9),
        (Family.GAMMA, POSITIVE, 2.0, 20.0, 0.8),
        (Family.LOG_NORMAL, POSITIVE, 1.0, 3.0, 0.9),
        (Family.NORMAL, REAL_LINE, -1.0, 3.0, 0.9),
        (Family.HALF_NORMAL, POSITIVE, 0.0, 10.0, 0.9),
    ],
)
def test_the_law_of_greatest_entropy_is_that_of_preliz(
    family: Family, support: Support, lower: float, upper: float, probability: float
) -> None:
    theirs = getattr(pz, CLASSES[family][0])()
    pz.maxent(theirs, lower, upper, probability, plot=False)
    ours = fit_range(lower, upper, probability, support, family).distribution
    # The entropy is flat at its top, where a general minimiser stops some 1e-5 away; 5.7e-5 is the most that was seen.
    assert parameters(ours, family) == pytest.approx([float(value) for value in theirs.params], rel=1e-4, abs=2e-6)


@pytest.mark.parametrize(
    ("family", "support", "quartiles"),
    [
        (Family.GAMMA, POSITIVE, (0.5, 1.0, 2.5)),
        (Family.BETA, UNIT_INTERVAL, (0.3, 0.5, 0.7)),
        (Family.BETA, UNIT_INTERVAL, (0.1, 0.2, 0.35)),
        (Family.LOG_NORMAL, POSITIVE, (0.5, 1.0, 2.0)),
        (Family.NORMAL, REAL_LINE, (-1.0, 0.2, 1.0)),
    ],
)
def test_the_fit_of_three_quartiles_is_that_of_preliz(
    family: Family, support: Support, quartiles: tuple[float, float, float]
) -> None:
    theirs = getattr(pz, CLASSES[family][0])()
    pz.quartile(theirs, *quartiles, plot=False)
    ours = fit_quantiles([0.25, 0.5, 0.75], quartiles, support, family).distribution
    assert parameters(ours, family) == pytest.approx([float(value) for value in theirs.params], rel=1e-6, abs=1e-8)
