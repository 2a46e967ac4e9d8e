"""The evidence curve: the integrated likelihood of one quantity, from which every conflict figure follows."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.interpolate import CubicSpline

from engine.arrays import Floats
from engine.conflict.density import LogDensity, fit_log_densities
from engine.conflict.induced import InducedPrior
from engine.distributions.distribution import Distribution, Gridded, LogNormal, Normal, unconstrained_breaks
from engine.distributions.mesh import mass_points, mesh
from engine.distributions.support import POSITIVE, REAL_LINE, Support
from engine.errors import InvalidInput
from engine.inference.diagnostics import ess_bulk, rank_r_hat
from engine.rules.limits import SILENT_CONTRACTION

POINTS = 801
JACKKNIFE_GROUPS = 16
UNDERSMOOTHING = 3.0
"""Halves the bias of factors from skewed draws, which the error band does not show, at no visible cost in variance."""
_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(3)


class CurveKind(enum.Enum):
    """EXACT: the likelihood is known in closed form; DRAWS: it was estimated from posterior draws."""

    EXACT = "exact"
    DRAWS = "draws"


def cells(breaks: Floats) -> tuple[Floats, Floats]:
    """Nodes and log weights of 3-point Gauss–Legendre quadrature on every cell between sorted `breaks`."""
    # Breaks a rounding error apart would give a cell whose nodes coincide.
    apart = np.diff(breaks) > 1e-12 * float(np.max(np.abs(breaks)))
    breaks = breaks[np.concatenate([[True], apart])]
    half = 0.5 * np.diff(breaks)
    nodes = breaks[:-1, None] + half[:, None] * (1.0 + _GAUSS_NODES)
    return nodes.ravel(), np.log((half[:, None] * _GAUSS_WEIGHTS).ravel())


def law_from_nodes(support: Support, nodes: Floats, log_density: Floats) -> Gridded:
    """A law from its log density of the unconstrained coordinate at nodes, over the part within e^-60 of the peak.

    The grid is dense where the nodes are, which follow belief and data, and where the law has its mass.
    """
    inside = log_density > log_density.max() - 60.0
    nodes, log_density = nodes[inside], log_density[inside]
    grid = mesh(2 * POINTS, [nodes, mass_points(nodes, log_density)])
    values = CubicSpline(nodes, log_density)(grid)
    return Gridded(support.lower, support.upper, tuple(grid), tuple(values))


@dataclass(frozen=True, eq=False)
class EvidenceCurve:
    """log L(u), L(psi) = p_ref(psi | y) / p_ref(psi): ∫ p_ref L = 1 and m_g / m_ref = ∫ g L (methods/conflict.md §4.1).

    u is the unconstrained coordinate of psi under `support`. A curve rebuilt from its fields is the same curve, bit
    for bit: nothing is estimated after construction.

    Fields:
        quantity: name of psi. support: range of psi. reference: the reference prior of psi in the fit.
        grid [n]: increasing u. log_likelihood [n]: log L on the grid.
        heavy_tail_log_likelihood [n]: the same with exponential instead of Gaussian tails beyond `supported`.
        replicates [R, n]: delete-one-group jackknife versions of log_likelihood; R = 0 when exact.
        supported: (low, high) in u; the draws' 0.5 % and 99.5 % quantiles, outside of which L is extrapolated.
        gaussian: (estimate, standard error) in u when the likelihood is exactly normal there, else None.
        n_effective, r_hat: of the draws; inf and 1 when exact. months: months of data behind the curve.
    """

    quantity: str
    support: Support
    reference: Distribution
    grid: Floats
    log_likelihood: Floats
    heavy_tail_log_likelihood: Floats
    replicates: Floats
    supported: tuple[float, float]
    gaussian: tuple[float, float] | None
    kind: CurveKind
    n_effective: float
    r_hat: float
    months: float

    def __post_init__(self) -> None:
        n = self.grid.size
        if self.grid.ndim != 1 or n < 4 or not (np.all(np.isfinite(self.grid)) and np.all(np.diff(self.grid) > 0.0)):
            raise InvalidInput("grid", "must be at least 4 finite, strictly increasing numbers")
        for name, shape in (
            ("log_likelihood", (n,)),
            ("heavy_tail_log_likelihood", (n,)),
            ("replicates", (self.replicates.shape[0], n)),
        ):
            value = getattr(self, name)
            if value.shape != shape or not np.all(np.isfinite(value)):
                raise InvalidInput(name, f"must be finite with shape {shape}")
        if not (math.isfinite(self.months) and self.months > 0.0):
            raise InvalidInput("months", "must be finite and above 0")

    # -- constructors ------------------------------------------------------------------------------------------

    @classmethod
    def normal(
        cls,
        estimate: float,
        standard_error: float,
        reference: Distribution,
        months: float,
        *,
        quantity: str = "",
        support: Support | None = None,
    ) -> EvidenceCurve:
        """Exact curve of a normal likelihood N(estimate; u, standard_error) on the unconstrained scale of `support`.

        `support` is the reference's unless given; with the real line, a Uniform(0, 1) reference and a Normal belief
        all figures live on the plain scale.
        """
        if not math.isfinite(estimate):
            raise InvalidInput("estimate", "must be finite")
        if not (math.isfinite(standard_error) and standard_error > 0.0):
            raise InvalidInput("standard_error", "must be finite and above 0")
        support = support or reference.support
        grid = estimate + standard_error * np.linspace(-12.0, 12.0, POINTS)
        log_likelihood = -0.5 * ((grid - estimate) / standard_error) ** 2 - math.log(
            standard_error * math.sqrt(2.0 * math.pi)
        )
        return cls._exact(
            quantity, support, reference, grid, log_likelihood, months, (float(estimate), float(standard_error))
        )

    @classmethod
    def exact(
        cls, grid: ArrayLike, log_likelihood: ArrayLike, reference: Distribution, months: float, *, quantity: str = ""
    ) -> EvidenceCurve:
        """Exact curve from a known log likelihood on a grid of the reference's unconstrained coordinate.

        The log likelihood may lack any constant. Make the grid reach far beyond the reference's and the beliefs' mass.
        """
        u, values = np.array(grid, dtype=np.float64), np.array(log_likelihood, dtype=np.float64)
        return cls._exact(quantity, reference.support, reference, u, values, months, None)

    @classmethod
    def _exact(
        cls,
        quantity: str,
        support: Support,
        reference: Distribution,
        grid: Floats,
        log_likelihood: Floats,
        months: float,
        gaussian: tuple[float, float] | None,
    ) -> EvidenceCurve:
        def build(values: Floats) -> EvidenceCurve:
            none = np.empty((0, grid.size))
            supported = (-math.inf, math.inf)
            return cls(
                quantity,
                support,
                reference,
                grid,
                values,
                values,
                none,
                supported,
                gaussian,
                CurveKind.EXACT,
                math.inf,
                1.0,
                float(months),
            )

        if gaussian is not None and _normal_on(reference, support):
            centre, spread = reference.unconstrained_moments()
            total = math.hypot(spread, gaussian[1])
            constant = -0.5 * ((gaussian[0] - centre) / total) ** 2 - math.log(total * math.sqrt(2.0 * math.pi))
            return build(log_likelihood - constant)
        curve = build(log_likelihood)
        return build(log_likelihood - float(curve.log_reference_marginals()[0]))

    @classmethod
    def from_draws(
        cls,
        draws: ArrayLike,
        reference: Distribution | InducedPrior,
        months: float,
        *,
        quantity: str = "",
        n_effective: float | None = None,
        r_hat: float | None = None,
        with_error: bool = True,
    ) -> EvidenceCurve:
        """Curve from reference-posterior draws of psi, [chains, draws], and the reference prior of psi.

        Inside the draws' 0.5–99.5 % range: penalised-likelihood log density (`density.py`) minus the log reference
        density. Outside: log L continues as a quadratic whose slope and curvature are fitted to the outer tenth of
        the draws; L never rises outwards there. The error band is a delete-one-group jackknife over 16 or more groups
        made of whole chains or of consecutive blocks of one chain.

        A reference that was itself estimated from prior draws must have as many replicates as there are groups: each
        group of the posterior is then left out together with one of the prior, and the band's variance is the sum of
        the two. Without `with_error` there is no band, which takes most of the time.
        """
        values = np.array(draws, dtype=np.float64)
        if values.ndim != 2 or values.size < 200 or values.shape[1] < 8:
            raise InvalidInput("draws", "must be [chains, draws] with at least 200 draws, 8 or more a chain")
        law = reference.law if isinstance(reference, InducedPrior) else reference
        support = law.support
        if not (np.all(np.isfinite(values)) and np.all(support.contains(values))):
            raise InvalidInput("draws", f"must be finite and strictly inside ({support.lower}, {support.upper})")
        u = support.to_unconstrained(values)
        if not np.all(np.isfinite(u)) or float(u.std()) <= 1e-12 * max(1.0, float(np.max(np.abs(u)))):
            raise InvalidInput("draws", "must vary and be distinguishable from the ends of the support")
        effective = float(ess_bulk(u)) if n_effective is None else float(n_effective)
        mixing = float(rank_r_hat(u)) if r_hat is None else float(r_hat)
        groups = jackknife_groups(u) if with_error else [u.ravel()]
        fits = fit_log_densities(groups, min(effective / u.size, 1.0), undersmoothing=UNDERSMOOTHING)
        laws: list[Distribution] = [law] * len(fits)
        if isinstance(reference, InducedPrior) and with_error:
            laws = [law, *reference.replicates]
            if len(laws) != len(fits):
                raise InvalidInput("reference", f"must have {len(fits) - 1} replicates, one per group of the draws")

        low, high = (float(q) for q in np.quantile(u, [0.005, 0.995]))
        outer_low, outer_high = (float(q) for q in np.quantile(u, [0.1, 0.9]))
        sd = float(u.std())
        grid = np.linspace(low - 8.0 * sd, high + 8.0 * sd, POINTS)
        windows = ((low, outer_low), (high, outer_high))
        rows = [_with_tails(fit, prior, grid, windows, linear=False) for fit, prior in zip(fits, laws, strict=True)]
        heavy = _with_tails(fits[0], law, grid, windows, linear=True)

        def build(main: Floats, tail: Floats, replicates: Floats) -> EvidenceCurve:
            return cls(
                quantity,
                support,
                law,
                grid,
                main,
                tail,
                replicates,
                (low, high),
                None,
                CurveKind.DRAWS,
                effective,
                mixing,
                float(months),
            )

        replicates = np.stack(rows)[1:]
        raw = build(rows[0], heavy, replicates)
        constants = raw.log_reference_marginals([law, *laws] if isinstance(reference, InducedPrior) else None)
        return build(rows[0] - constants[0], heavy - constants[1], replicates - constants[2:, None])

    @classmethod
    def mixed(cls, curves: Sequence[EvidenceCurve], weights: Floats, draws: ArrayLike) -> EvidenceCurve:
        """The curve of Σ w_m p_m(psi | y), a mixture of posteriors under one reference prior: L = Σ w_m L_m.

        `weights` [M] sum to one; `draws` of the mixture, any shape, say between which values it is supported. Replicate
        r of the mixture has replicate r of every curve: the parts are independent, so their variances add up.
        """
        first = curves[0]
        if any(curve.reference != first.reference or curve.support != first.support for curve in curves):
            raise InvalidInput("curves", "must be of one reference prior")
        grid = np.linspace(min(curve.grid[0] for curve in curves), max(curve.grid[-1] for curve in curves), POINTS)
        rows = np.stack([curve.rows_at(grid) for curve in curves])
        mixture = special.logsumexp(rows + np.log(weights)[:, None, None], axis=0)
        low, high = (float(q) for q in np.quantile(first.support.to_unconstrained(draws), [0.005, 0.995]))
        effective = 1.0 / float(np.sum(weights**2 / np.array([curve.n_effective for curve in curves])))
        return replace(
            first,
            grid=grid,
            log_likelihood=mixture[0],
            heavy_tail_log_likelihood=mixture[1],
            replicates=mixture[2:],
            supported=(low, high),
            n_effective=effective,
            r_hat=max(curve.r_hat for curve in curves),
        )

    # -- evaluation --------------------------------------------------------------------------------------------

    @cached_property
    def _rows(self) -> Floats:
        """[2 + R, n]: the curve, its heavy-tailed twin, the replicates."""
        return np.concatenate([self.log_likelihood[None], self.heavy_tail_log_likelihood[None], self.replicates])

    @cached_property
    def _spline(self) -> CubicSpline:
        return CubicSpline(self.grid, self._rows, axis=-1)

    @cached_property
    def _main_spline(self) -> CubicSpline:
        return CubicSpline(self.grid, self.log_likelihood[None], axis=-1)

    def rows_at(self, u: ArrayLike) -> Floats:
        """log L at u [m] → [2 + R, m]: the curve, its heavy-tailed twin, then the replicates.

        Beyond the grid it goes on with the slope and curvature of its end, never upwards. An exactly normal curve is
        evaluated by its formula.
        """
        at = np.asarray(u, dtype=np.float64)
        if self.gaussian is not None:
            row = self._gaussian_row(at, self.gaussian)
            return np.broadcast_to(row, (2, *at.shape))
        return self._continued(self._spline, at)

    def _gaussian_row(self, u: Floats, gaussian: tuple[float, float]) -> Floats:
        return float(self.log_likelihood[self.grid.size // 2]) - 0.5 * ((u - gaussian[0]) / gaussian[1]) ** 2

    def _continued(self, spline: CubicSpline, at: Floats) -> Floats:
        """Rows of a spline at u [m], continued beyond the grid."""
        first, last = self.grid[0], self.grid[-1]
        out = np.asarray(spline(np.clip(at, first, last)))
        for end, sign, beyond in ((first, -1.0, first - at), (last, 1.0, at - last)):
            distance = np.maximum(beyond, 0.0)
            if np.any(distance > 0.0):
                slope = np.minimum(sign * spline(end, 1), 0.0)[:, None]
                curvature = np.minimum(spline(end, 2), 0.0)[:, None]
                with np.errstate(invalid="ignore", over="ignore"):
                    change = distance * (slope + 0.5 * curvature * distance)
                out = out + np.where(np.isnan(change), -np.inf, change)
        return out

    def log_likelihood_at(self, u: ArrayLike) -> Floats:
        """log L at unconstrained u, any shape."""
        at = np.asarray(u, dtype=np.float64)
        if self.gaussian is not None:
            return self._gaussian_row(at, self.gaussian)
        return np.asarray(self._continued(self._main_spline, at.ravel())[0].reshape(at.shape))

    @cached_property
    def standard_error(self) -> Floats:
        """Pointwise Monte Carlo standard error of log L on the grid [n]; zero when exact."""
        return jackknife_error(self.replicates)

    @cached_property
    def reference_breaks(self) -> Floats:
        """Integration breaks in u that cover the curve's grid and the reference prior."""
        return np.unique(np.concatenate([self.grid, unconstrained_breaks(self.reference, self.support)]))

    @cached_property
    def _reference_nodes(self) -> tuple[Floats, Floats, Floats]:
        """Nodes u, log weights, and log reference density of u there, restricted to the reference's support."""
        nodes, log_weights = cells(self.reference_breaks)
        return nodes, log_weights, self.log_reference_at(nodes)

    def log_reference_at(self, u: Floats) -> Floats:
        """Log density of the reference prior on the unconstrained scale at u, any shape."""
        if self.reference.support == self.support:
            return self.reference.unconstrained_logpdf(u)
        return self.reference.logpdf(self.support.from_unconstrained(u)) + self.support.log_jacobian(u)

    def log_reference_marginals(self, laws: Sequence[Distribution] | None = None) -> Floats:
        """log ∫ p_ref L for every row; `laws`, one per row, are what each row was divided by when it is not p_ref.

        Against p_ref itself an error of the prior's density that all of the posterior shares would cancel.
        """
        nodes, log_weights, log_reference = self._reference_nodes
        if laws is not None:
            log_reference = np.stack([law.unconstrained_logpdf(nodes) for law in laws])
        return np.asarray(special.logsumexp(self.rows_at(nodes) + log_weights + log_reference, axis=1))

    # -- what the data say -------------------------------------------------------------------------------------

    @cached_property
    def reference_posterior(self) -> Distribution:
        """The posterior of psi under the reference prior, data side of KL and Wasserstein (methods/conflict.md §5)."""
        if self.gaussian is not None and _normal_on(self.reference, self.support):
            estimate, error = self.gaussian
            centre, spread = self.reference.unconstrained_moments()
            precision = error**-2 + spread**-2
            mean = (estimate * error**-2 + centre * spread**-2) / precision
            return normal_law(mean, precision**-0.5, self.support)
        nodes, _, log_reference = self._reference_nodes
        return law_from_nodes(self.support, nodes, self.rows_at(nodes)[0] + log_reference)

    @cached_property
    def reference_kept(self) -> Floats:
        """The power of the reference prior that stays in the data side, one per row [2 + R]; 0 where L stands alone.

        L alone is a proper law on the unconstrained scale only if it dies out on both sides. The power is 0 when L has
        fallen below 1e-4 of its maximum at the reference's 0.1 % and 99.9 % points, 1 when it is above 1e-1 at one of
        them, and linear in log L between, so that no figure jumps.
        """
        if self.gaussian is not None:
            return np.zeros(2)
        ends = np.array([float(self.reference.ppf(0.001)), float(self.reference.isf(0.001))])
        rows = self.rows_at(self.support.to_unconstrained(ends))
        fall = rows.max(axis=1) - self._rows.max(axis=1)
        power = (fall - math.log(1e-4)) / (math.log(1e-1) - math.log(1e-4))
        return np.asarray(np.clip(power, 0.0, 1.0), dtype=np.float64)

    @cached_property
    def data_side_range(self) -> tuple[float, float]:
        """The u range kept when L is normalised on its own: the reference's 1e-6 points (all of R when normal)."""
        if self.gaussian is not None:
            return -math.inf, math.inf
        ends = self.support.to_unconstrained([float(self.reference.ppf(1e-6)), float(self.reference.isf(1e-6))])
        return float(ends[0]), float(ends[1])

    @cached_property
    def data_side(self) -> Distribution:
        """What the data say without the reference prior: L normalised over u (methods/conflict.md §7, weights 1/p_ref).

        Where the data do not bound psi, the reference stays in it to the power `reference_kept`.
        """
        if self.gaussian is not None:
            return normal_law(*self.gaussian, self.support)
        low, high = self.data_side_range
        nodes, _, log_reference = self._reference_nodes
        kept = (nodes > low) & (nodes < high)
        nodes, power = nodes[kept], float(self.reference_kept[0])
        base = power * log_reference[kept] if power > 0.0 else 0.0
        return law_from_nodes(self.support, nodes, self.rows_at(nodes)[0] + base)

    @property
    def induced(self) -> bool:
        """Whether the reference prior was itself estimated from draws, as that of a derived quantity is."""
        return isinstance(self.reference, Gridded)

    @property
    def contraction(self) -> float:
        """1 - var(reference posterior)/var(reference) on the unconstrained scale of the reference."""
        return self._movement[0]

    @cached_property
    def _movement(self) -> tuple[float, float]:
        """(contraction, distance of the means in reference sds) from reference to reference posterior."""
        nodes, log_weights, log_reference = self._reference_nodes
        moments = []
        u = nodes
        if self.reference.support != self.support:
            x = self.support.from_unconstrained(nodes)
            inside = self.reference.support.contains(x)
            u = np.where(inside, self.reference.support.to_unconstrained(np.where(inside, x, self.reference.mean)), 0.0)
        for log_density in (log_reference, log_reference + self.rows_at(nodes)[0]):
            mass = np.exp(log_density + log_weights)
            mass = mass / mass.sum()
            mean = float(mass @ u)
            moments.append((mean, float(mass @ (u - mean) ** 2)))
        (before, wide), (after, narrow) = moments
        return 1.0 - narrow / wide, abs(after - before) / math.sqrt(wide)

    @property
    def is_silent(self) -> bool:
        """Whether the data left the reference prior where it was: contraction below 0.2 and mean within half an sd.

        The second condition is for data that push a quantity towards the end of its range: there a law on the log
        scale need not get narrower to have said a lot.
        """
        contraction, moved = self._movement
        return contraction < SILENT_CONTRACTION and moved < 0.5

    @cached_property
    def rises_at_edge(self) -> bool:
        """Whether L still rises outwards, by more than half a log unit per posterior sd, where the draws end.

        Then the reference prior itself holds the posterior back and must be widened before anybody is judged by it.
        """
        if self.kind is CurveKind.EXACT:
            return False
        low, high = self.supported
        sd = (high - low) / 5.15
        step = 0.3 * sd
        at = self.log_likelihood_at(np.array([low, low + step, high - step, high]))
        return bool(max(at[0] - at[1], at[3] - at[2]) / step * sd > 0.5)


def jackknife_groups(u: Floats) -> list[Floats]:
    """Cut draws [chains, n] into 16 or more groups: whole chains, or consecutive blocks when chains are few."""
    chains, n = u.shape
    if chains >= JACKKNIFE_GROUPS:
        return [np.concatenate(list(part)) for part in np.array_split(u, JACKKNIFE_GROUPS)]
    blocks = min(-(-JACKKNIFE_GROUPS // chains), n)
    return [block for chain in u for block in np.array_split(chain, blocks)]


def jackknife_error(replicates: ArrayLike) -> Floats:
    """Standard error from delete-one-group figures on axis 0: sqrt((R - 1)/R Σ (x_r - mean)²); 0 when R = 0."""
    values = np.asarray(replicates, dtype=np.float64)
    if values.shape[0] == 0:
        return np.zeros(values.shape[1:])
    return np.asarray(np.sqrt((values.shape[0] - 1.0) * values.var(axis=0)))


def _normal_on(law: Distribution, support: Support) -> bool:
    return isinstance(law, Normal | LogNormal) and law.support == support


def normal_law(mean: float, sd: float, support: Support) -> Distribution:
    """The law on a support whose unconstrained coordinate is N(mean, sd)."""
    if support == REAL_LINE:
        return Normal(mean, sd)
    if support == POSITIVE:
        return LogNormal(mean, sd)
    grid = mean + sd * np.linspace(-9.0, 9.0, POINTS)
    return Gridded(support.lower, support.upper, tuple(grid), tuple(-0.5 * ((grid - mean) / sd) ** 2))


def _with_tails(
    fit: LogDensity,
    reference: Distribution,
    grid: Floats,
    windows: tuple[tuple[float, float], tuple[float, float]],
    *,
    linear: bool,
) -> Floats:
    """log L on the grid: the fit minus the reference inside the draws' range, continued outside of it."""

    def log_likelihood(u: Floats) -> Floats:
        return fit(u) - reference.unconstrained_logpdf(u)

    (low, _), (high, _) = windows
    out = log_likelihood(np.clip(grid, low, high))
    for edge, inner in windows:
        window = np.linspace(edge, inner, 25)
        outward = -1.0 if inner > edge else 1.0
        distance = outward * (window - edge)
        curvature, slope, _ = np.polyfit(distance, log_likelihood(window), 2)
        beyond = np.maximum(outward * (grid - edge), 0.0)
        out = out + beyond * (min(slope, 0.0) + (0.0 if linear else min(curvature, 0.0)) * beyond)
    return out
