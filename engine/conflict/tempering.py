"""The tempered bridge: the client's marginal likelihood over a ladder of laws from the reference to the client."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special
from scipy.interpolate import PchipInterpolator

from engine.arrays import Floats
from engine.conflict.bridge_sampling import bridge
from engine.conflict.curve import jackknife_error, jackknife_groups
from engine.conflict.importance import pareto_khat
from engine.conflict.overlay import Overlay
from engine.distributions.support import Support
from engine.errors import InvalidInput
from engine.inference.batch import BatchedHmc, fit_batch
from engine.inference.fit import FitDiagnostics, Seed
from engine.inference.tilted import COORDINATE, LOG_RATIO, TiltedTarget, laddered

CHUNK = 8
"""Rungs that run together. A part of a chunk costs as much as all of it, so that ladders fill whole chunks."""

MAX_CHUNKS = 3
MAX_STEP_KHAT = 0.5
"""A step whose weights have a heavier tail is not used (methods/conflict.md §4.2, 4)."""

_THIRD_MOMENT = 3.0
"""Largest log of E[w³]/E[w]³ of a step's weights w either way: 3 for log-normal weights of log variance 1. A tail with
k-hat above a third has no third moment, so that the limit also keeps the steps clear of `MAX_STEP_KHAT`."""

_UNSEEN = 1e-8  # mass in either tail that no draw will show; the moments are judged without it
_NEGLIGIBLE = 60.0  # log density below the peak that no step sees
_GRID = 4001
_SLACK = 1.6  # more steps than the limit asks for by this factor: k-hat is itself an estimate, off by 0.1 either way


@dataclass(frozen=True)
class TemperedBridge:
    """log m_client / m_ref by the tempered bridge.

    Fields:
        log_marginal: natural log of m_client / m_ref. mcse: its Monte Carlo standard error.
        khat: largest Pareto shape of a step's weights, in either direction.
        ladder [K + 1]: the powers lambda, from 0 to 1.
        reasons: why the figure may not be used; none when it may.
        client_draws, reference_draws [chains, n]: psi under the client's and the reference's posterior.
    """

    log_marginal: float
    mcse: float
    khat: float
    ladder: Floats
    reasons: tuple[str, ...]
    client_draws: Floats
    reference_draws: Floats

    @property
    def admissible(self) -> bool:
        """Whether every rung converged and every step has k-hat below 0.5."""
        return not self.reasons


def ladder_settings(settings: BatchedHmc | None = None) -> BatchedHmc:
    """Settings of one fit (`BatchedHmc.single` by default) for a ladder: 8 rungs a chunk, no NUTS at the end.

    A rung that no schedule brings to converge makes the estimate inadmissible; a serial fit of it would take longer
    than the refit that is next in line.
    """
    single = settings or BatchedHmc.single()
    return replace(single, schedules=tuple(replace(s, chunk=CHUNK) for s in single.schedules), last=None)


def ladder(overlay: Overlay) -> Floats:
    """Powers 0 = l_0 < … < l_K = 1 from the evidence curve alone, by quadrature over psi.

    The laws are p_l ∝ p_ref(psi | y) exp(l r), r = log p_client / p_ref. A step is the longest whose weights
    exp((l' - l) r), and their inverses, keep their third moment within a limit, which is relaxed where the rungs would
    be more than `MAX_CHUNKS` chunks; what then is left of the last chunk makes all steps shorter.
    """
    wide = overlay.wide
    log_posterior = wide.log_reference_posterior[0]
    ratio = wide.log_prior - (log_posterior - wide.rows[0])
    usable = np.isfinite(ratio) & np.isfinite(log_posterior)
    nodes, log_posterior, ratio = wide.nodes[usable], log_posterior[usable], ratio[usable]
    ends = [density > density.max() - _NEGLIGIBLE for density in (log_posterior, log_posterior + ratio)]
    held = nodes[ends[0] | ends[1]]
    grid = np.linspace(held[0], held[-1], _GRID)
    laws = _Tempered(np.interp(grid, nodes, log_posterior), np.interp(grid, nodes, ratio))
    limit, most = _THIRD_MOMENT, MAX_CHUNKS * CHUNK - 1
    while (powers := _climb(laws, limit, most)) is None:
        limit *= 1.5
    needed = powers.size - 1
    chunks = min(math.ceil((_SLACK * needed + 1.0) / CHUNK), MAX_CHUNKS)
    refined = PchipInterpolator(np.arange(powers.size), powers)(np.linspace(0.0, needed, chunks * CHUNK))
    return np.concatenate([[0.0], refined[1:-1], [1.0]])


class _Tempered:
    """The laws p_l on a uniform grid: log mass at l = 0, up to a constant, and log ratio r, both [m]."""

    def __init__(self, log_mass: Floats, ratio: Floats) -> None:
        self.log_mass, self.ratio = log_mass, ratio

    def roughness(self, at: float, to: float) -> float:
        """log E[w³]/E[w]³ of w = exp((to - at) r) under the law at `at`, without the tails that no draw will show."""
        log_mass = self.log_mass + at * self.ratio
        mass = np.exp(log_mass - special.logsumexp(log_mass))
        below = np.cumsum(mass)
        seen = (below > _UNSEEN) & (below[-1] - below > _UNSEEN)
        weights = (to - at) * self.ratio[seen]
        whole, first, third = (special.logsumexp(log_mass[seen] + power * weights) for power in (0.0, 1.0, 3.0))
        return float(third - whole - 3.0 * (first - whole))

    def reachable(self, at: float, to: float, limit: float) -> bool:
        """Whether one step may lead from one power to the other."""
        return max(self.roughness(at, to), self.roughness(to, at)) <= limit


def _climb(laws: _Tempered, limit: float, most: int) -> Floats | None:
    """The powers of the longest steps within the limit; None where they are more than `most`."""
    powers = [0.0]
    while powers[-1] < 1.0 and len(powers) <= most:
        at, low, high = powers[-1], powers[-1], 1.0
        if laws.reachable(at, 1.0, limit):
            powers.append(1.0)
            break
        for _ in range(20):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if laws.reachable(at, middle, limit) else (low, middle)
        if not low > at:
            return None
        powers.append(low)
    return np.array(powers) if powers[-1] == 1.0 else None


def tempered_bridge(
    target: TiltedTarget,
    y: Floats,
    support: Support,
    powers: Floats,
    seed: Seed,
    settings: BatchedHmc | None = None,
) -> TemperedBridge:
    """log m_client / m_ref for one data set y [T] in the target's units, over the powers [K + 1] of `ladder`.

    `support` is psi's. All rungs run as one batch; neighbours are bridged by Bennett's acceptance ratio, which is
    Meng & Wong's with the tempered laws' own densities. The error is a jackknife over groups of chains, rung by rung,
    since a rung's draws enter both of its steps and other rungs' chains are independent of them.
    """
    steps = np.asarray(powers, dtype=np.float64)
    if steps.ndim != 1 or steps.size < 2 or steps[0] != 0.0 or steps[-1] != 1.0 or np.any(np.diff(steps) <= 0.0):
        raise InvalidInput("powers", "must increase from 0 to 1")
    fit = fit_batch(target, laddered(y, steps), seed, np.arange(steps.size), settings or ladder_settings())
    ratios, u = fit.draws[LOG_RATIO], fit.draws[COORDINATE]
    log_marginal, mcse, settled = bridged(ratios, steps)
    khats = [
        max(pareto_khat(step * ratios[k]), pareto_khat(-step * ratios[k + 1])) for k, step in enumerate(np.diff(steps))
    ]
    reasons = [*_unconverged(fit.diagnostics, steps)]
    if not settled:
        reasons.append("the bridge between two rungs did not converge")
    if max(khats) >= MAX_STEP_KHAT:
        worst = int(np.argmax(khats))
        reasons.append(f"k-hat {khats[worst]:.2f} between lambda {steps[worst]:.3g} and {steps[worst + 1]:.3g}")
    return TemperedBridge(
        log_marginal,
        mcse,
        max(khats),
        steps,
        tuple(reasons),
        support.from_unconstrained(u[-1]),
        support.from_unconstrained(u[0]),
    )


def _unconverged(diagnostics: FitDiagnostics, powers: Floats) -> list[str]:
    return [
        f"the fit at lambda {powers[rung]:.3g} did not converge: R-hat {diagnostics.r_hat[rung]:.3f}, "
        f"ESS {min(diagnostics.ess_bulk[rung], diagnostics.ess_tail[rung]):.0f}, "
        f"{diagnostics.divergences[rung]} divergences"
        for rung in np.flatnonzero(~diagnostics.ok)
    ]


def bridged(ratios: Floats, powers: Floats) -> tuple[float, float, bool]:
    """log Z(1)/Z(0), its standard error and whether every step settled, from r [K + 1, chains, n] at the powers.

    A step's figure is log mean of its numerators (of the lower rung) - log mean of its denominators (of the upper);
    at the solution it does not depend, to first order, on the ratio that they were computed with (Meng & Wong 1996),
    so that leaving chains out needs no new solution.
    """
    total, settled = 0.0, True
    # What a rung's groups of draws do to the total: log means [G] without each group, added over its two steps.
    effects: list[list[Floats]] = [[] for _ in powers]
    for k, step in enumerate(np.diff(powers)):
        estimate = bridge((step * ratios[k + 1]).ravel(), (step * ratios[k]).ravel())
        total += estimate.log_ratio
        settled &= estimate.converged
        effects[k].append(_left_out(estimate.numerator.reshape(ratios[k].shape)))
        effects[k + 1].append(-_left_out(estimate.denominator.reshape(ratios[k + 1].shape)))
    errors = [float(jackknife_error(np.sum(parts, axis=0))) for parts in effects]
    return total, math.hypot(*errors), settled


def _left_out(logs: Floats) -> Floats:
    """log mean of exp(logs) [chains, n] without each jackknife group [G]."""
    peak = float(logs.max())
    groups = jackknife_groups(np.exp(logs - peak))
    sums, counts = np.array([group.sum() for group in groups]), np.array([group.size for group in groups])
    return np.asarray(peak + np.log((sums.sum() - sums) / (counts.sum() - counts)))
