"""Whether truth and noise of a simulation come from the same random numbers, which ranks hardly show.

A simulator that uses one key twice draws truths that depend on the noise of their data. The posterior is then wrong for
every data set, but the ranks stay near uniform. Simulated again at one fixed truth the data vary with the noise alone:
what the truths correlate with there is what they share with it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from engine.arrays import Floats, Integers
from engine.errors import EngineError
from engine.inference.fit import Seed
from engine.models.protocol import Model
from engine.rules.sbc_presets import Part
from engine.sbc.ledger import RankLedger
from engine.sbc.shard import seed_of

SIMULATIONS = 500
"""Most simulations that are looked at, the first ones: a shared number is found among a hundred."""
OBSERVATIONS = 1000
"""Most observations: half of them the first, where a generator that is started twice repeats itself, the rest evenly
over the others."""
PERMUTATIONS = 999
"""At least so many, unless EXCEEDING of them reach what was seen before that."""
MOST_PERMUTATIONS = 99_999
EXCEEDING = 10

_PERMUTING = Seed.of(0x5EED).derived("shared numbers")


class Untested(enum.Enum):
    """Why it could not be told."""

    OTHER_TRUTHS = "OTHER_TRUTHS"
    """The model does not draw the ledger's truths from this seed: they are of another version, or from elsewhere."""
    OTHER_NOISE = "OTHER_NOISE"
    """Simulated at the truths that it draws, the model gives other data than it drew with them."""
    NOT_SIMULATED = "NOT_SIMULATED"
    """The model does not simulate at given parameters."""
    NO_VARIATION = "NO_VARIATION"
    """Truths or data at one truth do not vary, or are no numbers."""


@dataclass(frozen=True)
class SharedNumbers:
    """The largest Spearman correlation of a parameter's truths with the noise of an observation, over all pairs.

    Of either the distance from its median stands beside its value (`far_truth`, `far_noise`: it is that of the
    distance): a half-normal truth that is the absolute value of a noise does not correlate with it. p: by permutation
    of the simulations, None where it could not be tested, for the reason `untested`.
    """

    simulations: int
    p: float | None
    quantity: str = ""
    observation: int = 0
    correlation: float = 0.0
    far_truth: bool = False
    far_noise: bool = False
    untested: Untested | None = None


def shared_numbers(model: Model, ledger: RankLedger, seed: Seed, part: Part, level: float) -> SharedNumbers:
    """Test the first rows of a part's ledger, computed from the run's `seed`; the p-value can reach `level`.

    All parameters stand at their prior medians. With independent truths and noise every order of the simulations is as
    likely, so the p-value is exact; it is sequential (Besag & Clifford 1991, Biometrika 78, 301-304), so that it takes
    many permutations only where there is something to see.
    """
    rows = ledger.rows(np.arange(len(ledger)) < SIMULATIONS)
    names = [name for name in model.parameter_names if name in rows.quantities]
    truths = rows.truth[:, [rows.quantities.index(name) for name in names]].T
    seed, count = seed_of(seed, part), len(rows)
    try:
        stored = dict(zip(names, truths, strict=True))
        if part is Part.PRIOR and (fault := _regenerated(model, seed, rows.simulations, stored)):
            return SharedNumbers(count, None, untested=fault)
        fixed = {name: np.full(count, float(prior.ppf(0.5))) for name, prior in model.priors.items()}
        with np.errstate(all="ignore"):
            noise = model.simulate(fixed, seed, rows.simulations)
    except (EngineError, NotImplementedError):
        return SharedNumbers(count, None, untested=Untested.NOT_SIMULATED)

    usable = np.isfinite(truths).all(axis=0)
    chosen = _spread(len(noise))
    left, which = _standard_ranks(truths[:, usable])
    right, when = _standard_ranks(noise[chosen][:, usable])
    if not (left.size and right.size):
        return SharedNumbers(count, None, untested=Untested.NO_VARIATION)
    correlations = left @ right.T
    row, column = np.unravel_index(int(np.abs(correlations).argmax()), correlations.shape)
    return SharedNumbers(
        simulations=int(usable.sum()),
        p=_permuted(left, right, float(np.abs(correlations).max()), level),
        quantity=names[which[row % which.size]],
        observation=int(chosen[when[column % when.size]]),
        correlation=float(correlations[row, column]),
        far_truth=bool(row >= which.size),
        far_noise=bool(column >= when.size),
    )


def _regenerated(model: Model, seed: Seed, simulations: Integers, stored: Mapping[str, Floats]) -> Untested | None:
    """What is wrong with truths and noise drawn anew, if anything."""
    drawn = model.sample_prior(seed, simulations)
    for name, values in stored.items():
        if not np.allclose(drawn.parameters[name], values, rtol=1e-9, atol=0.0, equal_nan=True):
            return Untested.OTHER_TRUTHS
    with np.errstate(all="ignore"):
        again = model.simulate(drawn.parameters, seed, simulations)
    return None if np.allclose(again, drawn.y, rtol=1e-9, atol=0.0, equal_nan=True) else Untested.OTHER_NOISE


def _spread(observations: int) -> Integers:
    """The observations [T] that are looked at."""
    if observations <= OBSERVATIONS:
        return np.arange(observations)
    first = OBSERVATIONS // 2
    return np.concatenate([np.arange(first), np.linspace(first, observations - 1, first).astype(np.int64)])


def _standard_ranks(values: Floats) -> tuple[Floats, Integers]:
    """Ranks [2K, S] of the K rows of values that vary and are numbers, and which rows these are.

    The second K rows are ranks of the distance from the median. All are scaled, so that products are correlations.
    """
    if not values.size:
        return np.empty((0, 0)), np.empty(0, dtype=np.int64)
    kept = np.flatnonzero(np.isfinite(values).all(axis=1) & (values.min(axis=1) < values.max(axis=1)))
    ranks = stats.rankdata(values[kept], axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    far = stats.rankdata(np.abs(centred), axis=1)
    both = np.concatenate([centred, far - far.mean(axis=1, keepdims=True)])
    # Of two values the distances are all the same: their product with anything is nothing.
    return both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-12), kept


def _permuted(left: Floats, right: Floats, seen: float, level: float) -> float:
    """The p-value of the largest correlation `seen`, over orders of the simulations."""
    most = min(max(PERMUTATIONS, math.ceil(1.0 / level) - 1), MOST_PERMUTATIONS)
    order = np.random.Generator(np.random.PCG64([_PERMUTING.high, _PERMUTING.low]))
    exceeding = 0
    for number in range(1, most + 1):
        shuffled = left[:, order.permutation(left.shape[1])]
        exceeding += float(np.abs(shuffled @ right.T).max()) >= seen - 1e-12
        if exceeding == EXCEEDING:
            return exceeding / number
    return (exceeding + 1) / (most + 1)
