"""A client prior laid over an evidence curve: one set of quadrature nodes for every conflict figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from engine.arrays import Floats
from engine.conflict.curve import EvidenceCurve, cells, law_from_nodes
from engine.distributions.distribution import (
    Distribution,
    Gridded,
    LogNormal,
    Mixture,
    Normal,
    StudentT,
    parts_of,
    unconstrained_breaks,
)
from engine.distributions.support import Support
from engine.errors import InvalidInput

MAX_EXTRAPOLATED = 0.5
"""Share of a posterior beyond what the draws cover from which on it is no answer but an extrapolation."""
LEAST_KEPT = 1e-9
"""Of a client's mass that has to lie in the narrower support for it to be a law there; below, rounding decides."""
_GONE = 1e-12
"""A component of a posterior with less weight is left out."""
_PEAKS = 8
"""Of a law on a grid that are looked at, the highest first."""


def _peaks(law: Distribution, support: Support) -> list[tuple[float, float]]:
    """Places and widths of the peaks of a law's density on a support's unconstrained scale, normal case sd."""
    if isinstance(law, Gridded) and law.support == support:
        u, density = np.asarray(law.grid), np.asarray(law.log_density)
        tops = np.flatnonzero((density[1:-1] >= density[:-2]) & (density[1:-1] > density[2:])) + 1
        if tops.size > 1:
            tops = tops[np.argsort(-density[tops], kind="stable")][:_PEAKS]
            left = [u[:top][density[:top] < density[top] - 0.5] for top in tops]
            right = [u[top:][density[top:] < density[top] - 0.5] for top in tops]
            ends = [(a[-1] if a.size else u[0], b[0] if b.size else u[-1]) for a, b in zip(left, right, strict=True)]
            return [(float(u[top]), 0.5 * float(b - a)) for top, (a, b) in zip(tops, ends, strict=True)]
    tail = float(special.ndtr(-1.0))
    low, middle, high = (
        float(place) for place in support.to_unconstrained([law.ppf(tail), law.ppf(0.5), law.isf(tail)])
    )
    return [(middle, 0.5 * (high - low))]


@dataclass(frozen=True)
class NormalPair:
    """The conjugate case on the unconstrained scale: client N(mu, tau), likelihood N(estimate; u, s)."""

    mu: float
    tau: float
    estimate: float
    s: float

    @property
    def v(self) -> float:
        """Predictive standard deviation of the estimate, sqrt(tau² + s²)."""
        return math.hypot(self.tau, self.s)

    @property
    def z(self) -> float:
        """|estimate - mu| / v."""
        return abs(self.estimate - self.mu) / self.v


@dataclass(frozen=True, eq=False)
class Overlay:
    """Client prior and curve on one coordinate t, the unconstrained coordinate of the narrower of the two supports.

    The client is shifted and widened on the unconstrained scale of its own support: a Normal belief about a share
    moves along the share, a Beta belief along its logit. A client whose support is wider than the quantity's is
    truncated to the quantity's support and renormalised (methods/conflict.md §8). Rows of an array run over the
    curve, its heavy-tailed twin and the jackknife replicates.
    """

    prior: Distribution
    curve: EvidenceCurve
    frame: Support | None = None

    def __post_init__(self) -> None:
        if not (self.curve.support.holds(self.prior.support) or self.prior.support.holds(self.curve.support)):
            raise InvalidInput(
                "prior",
                f"lives on ({self.prior.support.lower}, {self.prior.support.upper}), which neither contains the range "
                f"of the quantity, ({self.curve.support.lower}, {self.curve.support.upper}), nor lies in it",
            )
        if self._kept_mass(0.0, 1.0) < 0.5:
            raise InvalidInput("prior", "has most of its mass outside the range of the quantity")

    @property
    def support(self) -> Support:
        """The support whose unconstrained coordinate is t: `frame`, by default the narrower of the two."""
        if self.frame is not None:
            return self.frame
        return self.prior.support if self.curve.support.holds(self.prior.support) else self.curve.support

    @cached_property
    def wide(self) -> Overlay:
        """The same overlay on the quantity's own coordinate, for figures that need all of the data side."""
        if self.support == self.curve.support:
            return self
        return Overlay(self.prior, self.curve, self.curve.support)

    @cached_property
    def normal_pair(self) -> NormalPair | None:
        """The conjugate case, when this is one."""
        if self.curve.gaussian is None or self.prior.support != self.curve.support:
            return None
        if not isinstance(self.prior, Normal | LogNormal):
            return None
        return NormalPair(*self.prior.unconstrained_moments(), *self.curve.gaussian)

    # -- coordinates -------------------------------------------------------------------------------------------

    def _convert(self, u: Floats, source: Support, target: Support) -> Floats:
        """Coordinates of points from one support on another's scale; points outside come out infinite or are NaN."""
        if source == target:
            return u
        with np.errstate(invalid="ignore"):
            x = source.from_unconstrained(u)
            return target.to_unconstrained(np.where((x >= target.lower) & (x <= target.upper), x, np.nan))

    def client_coordinate(self, t: Floats) -> Floats:
        """t → the client's own unconstrained coordinate v."""
        return self._convert(t, self.support, self.prior.support)

    def _log_dv_dt(self, t: Floats, v: Floats) -> Floats:
        if self.prior.support == self.support:
            return np.zeros_like(t)
        return self.support.log_jacobian(t) - self.prior.support.log_jacobian(v)

    @cached_property
    def client_scale(self) -> tuple[float, float, float]:
        """Mean, standard deviation and median of the client's unconstrained coordinate v."""
        mean, sd = self.prior.unconstrained_moments()
        return mean, sd, float(self.prior.support.to_unconstrained(self.prior.ppf(0.5)))

    @cached_property
    def client_peaks(self) -> tuple[tuple[float, float], ...]:
        """Where the client's density of v peaks, with the width there: of every component of a mixture."""
        return tuple(peak for part in parts_of(self.prior) for peak in _peaks(part, self.prior.support))

    @cached_property
    def curve_reach(self) -> tuple[tuple[float, float], float]:
        """The range of v where L is within e^-8 of its largest value, and where it is largest."""
        v = self.client_coordinate(self.nodes)
        finite = np.isfinite(v)
        v, row = v[finite], self.rows[0][finite]
        level = v[row >= row.max() - 8.0]
        return (float(level.min()), float(level.max())), float(v[row.argmax()])

    @cached_property
    def client_reach(self) -> float:
        """Width of what the nodes cover of v."""
        v = self.client_coordinate(self.nodes)
        return float(np.ptp(v[np.isfinite(v)]))

    @cached_property
    def _client_breaks(self) -> Floats:
        """Quantiles of the client in v."""
        return unconstrained_breaks(self.prior, self.prior.support)

    @property
    def _client_ends(self) -> Floats:
        return np.array([self.prior.support.lower, self.prior.support.upper])

    @cached_property
    def _curve_breaks(self) -> Floats:
        t = self._convert(self.curve.reference_breaks, self.curve.support, self.support)
        return np.unique(t[np.isfinite(t)])

    def _breaks(self, client: Floats) -> Floats:
        """Breaks in t that cover client quantiles (in v), curve and reference, with no gap wide against either."""
        own = self._convert(client, self.prior.support, self.support)
        own = own[np.isfinite(own)]
        grid = self._convert(self.curve.grid, self.curve.support, self.support)
        grid = grid[np.isfinite(grid)]
        # Few client quantiles are left of a client far wider than the range, no grid for a curve outside a narrow one.
        ends = self.support.to_unconstrained(np.clip(self._client_ends, self.support.lower, self.support.upper))
        both = np.concatenate([own, grid])
        spreads = [float(np.ptp(part)) / sds for part, sds in ((own, 14.0), (grid, 24.0)) if part.size > 2]
        count = int(np.clip(float(np.ptp(both)) / (0.5 * min(spreads)), 2, 4000))
        filler = np.linspace(both.min(), both.max(), count)
        return np.unique(np.concatenate([own, ends[np.isfinite(ends)], self._curve_breaks, filler]))

    # -- the shared nodes --------------------------------------------------------------------------------------

    @cached_property
    def _base(self) -> tuple[Floats, Floats]:
        return cells(self._breaks(self._client_breaks))

    @property
    def nodes(self) -> Floats:
        """Quadrature nodes t [m]."""
        return self._base[0]

    @property
    def log_weights(self) -> Floats:
        """Log quadrature weights [m]."""
        return self._base[1]

    @cached_property
    def x(self) -> Floats:
        """The nodes in the units of the quantity [m]."""
        return self.support.from_unconstrained(self.nodes)

    @cached_property
    def rows(self) -> Floats:
        """log L at the nodes [2 + R, m]."""
        return self._rows_at(self.nodes)

    @cached_property
    def log_peaks(self) -> Floats:
        """Largest log L of every row [2 + R], by a parabola through the highest node and its neighbours."""
        t, rows = self.nodes, self.rows
        peaks = rows.max(axis=1)
        for row, top in enumerate(rows.argmax(axis=1)):
            if 0 < top < t.size - 1:
                near = slice(top - 1, top + 2)
                a, b, c = np.polyfit(t[near] - t[top], rows[row, near] - peaks[row], 2)
                peaks[row] += max(c - 0.25 * b * b / a, 0.0) if a < 0.0 else 0.0
        return np.asarray(peaks)

    def _rows_at(self, t: Floats) -> Floats:
        return self.curve.rows_at(self._convert(t, self.support, self.curve.support))

    @cached_property
    def log_prior(self) -> Floats:
        """Client log density of t at the nodes [m], renormalised to the narrower support."""
        return self._log_client(self.nodes, 0.0, 1.0) - self.log_kept_mass

    @property
    def log_kept_mass(self) -> float:
        """Log of the client's mass on the narrower support; 0 unless the client had to be truncated."""
        return math.log(self._kept_mass(0.0, 1.0))

    def _log_client(self, t: Floats, shift: float, factor: float) -> Floats:
        """Log density in t of the client after v → median + factor (v - median) + shift."""
        v = self.client_coordinate(t)
        median = self.client_scale[2]
        # x(t) may round to an end of the support, where v is infinite and holds no mass.
        usable = np.isfinite(v)
        at = np.where(usable, v, median)
        log_density = self.prior.unconstrained_logpdf(median + (at - median - shift) / factor)
        return np.where(usable, log_density - math.log(factor) + self._log_dv_dt(t, at), -np.inf)

    def powered_client(self, t: Floats) -> tuple[Floats, Floats]:
        """(log p, log |dv/dt|) at t [m], p the client's density of v: p^b |dv/dt| is the client to the power b in t.

        The power is taken on the client's own unconstrained scale, so that no unit or link of the quantity matters.
        """
        v = self.client_coordinate(t)
        usable = np.isfinite(v)
        at = np.where(usable, v, self.client_scale[2])
        log_density = np.where(usable, self.prior.unconstrained_logpdf(at), -np.inf)
        return log_density, self._log_dv_dt(t, at)

    def log_likelihood_at(self, t: Floats) -> Floats:
        """log L at t [m]."""
        return self.curve.log_likelihood_at(self._convert(t, self.support, self.curve.support))

    def _kept_mass(self, shift: float, factor: float) -> float:
        prior, narrow = self.prior.support, self.support
        if narrow.holds(prior):
            return 1.0
        median = self.client_scale[2]
        ends = prior.to_unconstrained([narrow.lower, narrow.upper])
        x = prior.from_unconstrained(median + (ends - median - shift) / factor)
        return 1.0 - float(self.prior.cdf(x[0])) - float(self.prior.sf(x[1]))

    # -- marginal likelihoods relative to the reference ----------------------------------------------------------

    @cached_property
    def log_marginals(self) -> Floats:
        """log m_client / m_ref for every row [2 + R]."""
        return np.asarray(special.logsumexp(self.rows + self.log_prior + self.log_weights, axis=1))

    def _moved(self, shift: float, factor: float) -> tuple[Floats, Floats]:
        """Nodes t and log masses there of the client moved and widened."""
        median = self.client_scale[2]
        nodes, log_weights = cells(self._breaks(median + factor * (self._client_breaks - median) + shift))
        log_mass = self._log_client(nodes, shift, factor) - math.log(self._kept_mass(shift, factor)) + log_weights
        kept = log_mass > log_mass.max() - 700.0
        return nodes[kept], log_mass[kept]

    def log_marginals_of(self, shift: float, factor: float) -> Floats:
        """log m / m_ref [2 + R] of the client moved by `shift` and widened by `factor` on its unconstrained scale."""
        nodes, log_mass = self._moved(shift, factor)
        return np.asarray(special.logsumexp(self._rows_at(nodes) + log_mass, axis=1))

    def log_ratios(self, x: Floats, shift: float = 0.0, factor: float = 1.0) -> Floats:
        """ln g(x) / p_ref(x) at draws of psi, any shape; g the client moved and widened, 0 outside its support."""
        with np.errstate(invalid="ignore"):
            inside = self.support.contains(x)
            t = self.support.to_unconstrained(np.where(inside, x, np.nan))
        safe = np.where(inside, t, self._base[0][self._base[0].size // 2])
        log_client = self._log_client(safe, shift, factor) - math.log(self._kept_mass(shift, factor))
        log_reference = self.curve.reference.logpdf(x) + self.support.log_jacobian(safe)
        return np.where(inside, log_client - log_reference, -np.inf)

    def log_marginal_of(self, shift: float, factor: float) -> float:
        """The first of `log_marginals_of`, the curve itself, for searches.

        Minus infinity for a client that was moved out of the narrower support: it is no law there.
        """
        if self._kept_mass(shift, factor) < LEAST_KEPT:
            return -math.inf
        nodes, log_mass = self._moved(shift, factor)
        return float(special.logsumexp(self.log_likelihood_at(nodes) + log_mass))

    # -- the data side ----------------------------------------------------------------------------------------------

    @cached_property
    def client_cdf(self) -> Floats:
        """P(client ≤ x) at the nodes [m]; truncation of a wider client is ignored here."""
        return self.prior.cdf(self.x)

    @cached_property
    def client_sf(self) -> Floats:
        """P(client > x) at the nodes [m]."""
        return self.prior.sf(self.x)

    @cached_property
    def _log_reference(self) -> Floats:
        reference = self.curve.reference
        if reference.support == self.support:
            return reference.unconstrained_logpdf(self.nodes)
        return reference.logpdf(self.x) + self.support.log_jacobian(self.nodes)

    @cached_property
    def log_reference_posterior(self) -> Floats:
        """Log density of t under the reference posterior at the nodes [2 + R, m]."""
        return np.asarray(self.rows + self._log_reference)

    @cached_property
    def reference_posterior_mass(self) -> float:
        """Reference-posterior mass that the nodes see; below 1 where the client's support is too narrow for it."""
        return float(np.exp(special.logsumexp(self.log_reference_posterior[0] + self.log_weights)))

    @cached_property
    def log_data_side(self) -> Floats:
        """Log density of t, unnormalised, of the data side without the reference's influence [2 + R, m].

        L is flat against the unconstrained scale of the client, or of the quantity when the client's is narrower, and
        kept to `EvidenceCurve.data_side_range`; where it has no finite mass the reference stays in it to the power
        `EvidenceCurve.reference_kept`.
        """
        low, high = self.curve.data_side_range
        u = self._convert(self.nodes, self.support, self.curve.support)
        flat = np.zeros_like(self.nodes)
        if not self.support.holds(self.prior.support):
            flat = self._log_dv_dt(self.nodes, self.client_coordinate(self.nodes))
        kept = self.curve.reference_kept[:, None]
        with np.errstate(invalid="ignore"):
            base = np.where(kept > 0.0, kept * self._log_reference, 0.0) + (1.0 - kept) * flat
        return np.where((u >= low) & (u <= high), self.rows + base, -np.inf)

    @cached_property
    def data_side(self) -> Distribution:
        """What the data say without the reference, flat against the scale that `log_data_side` names."""
        if self.curve.support.holds(self.prior.support):
            return self.curve.data_side
        return law_from_nodes(self.support, self.nodes, self.log_data_side[0])

    # -- the client's posterior -----------------------------------------------------------------------------------

    @cached_property
    def client_posterior(self) -> Distribution:
        """The posterior of psi under the client's prior, p_client(psi) L(psi) / m_client."""
        return self.posterior(1.0)

    def posterior(self, power: float) -> Distribution:
        """The law proportional to p_client(psi) L(psi)^power, 0 < power ≤ 1: the likelihood counts in part."""
        pair = self.normal_pair
        if pair is not None:
            precision = pair.tau**-2 + power * pair.s**-2
            mean = (pair.mu * pair.tau**-2 + pair.estimate * power * pair.s**-2) / precision
            family = Normal if isinstance(self.prior, Normal) else LogNormal
            return family(mean, precision**-0.5)
        if isinstance(self.prior, Mixture) and self.prior.is_mixed and self.curve.support.holds(self.prior.support):
            # One law over all would have to jump where a component begins.
            parts = [Overlay(part, self.curve) for part in self.prior.components]
            terms = [power * part.rows[0] + part.log_prior + part.log_weights for part in parts]
            weights = special.softmax([special.logsumexp(term) for term in terms] + np.log(self.prior.weights))
            left = [(float(w), part) for w, part in zip(weights, parts, strict=True) if w > _GONE]
            total = math.fsum(w for w, _ in left)
            laws = tuple(part.posterior(power) for _, part in left)
            return laws[0] if len(laws) == 1 else Mixture(tuple(w / total for w, _ in left), laws)
        return law_from_nodes(self.support, self.nodes, power * self.rows[0] + self.log_prior)

    @cached_property
    def extrapolated_share(self) -> float:
        """Share of the client posterior outside the range that the draws cover; 0 when the curve is exact."""
        return self.extrapolated(self.rows[0] + self.log_prior)

    def extrapolated(self, log_density: Floats) -> float:
        """Share outside the range that the draws cover of a law with this log density at the nodes, unnormalised."""
        u = self._convert(self.nodes, self.support, self.curve.support)
        low, high = self.curve.supported
        outside = (u < low) | (u > high)
        if not np.any(outside):
            return 0.0
        log_mass = log_density + self.log_weights
        return float(np.exp(special.logsumexp(log_mass[outside]) - special.logsumexp(log_mass)))

    # -- the client with heavy tails ------------------------------------------------------------------------------

    @cached_property
    def heavy_tailed(self) -> Overlay:
        """The same overlay with Student's t, 4 df, of the client's location and scale on its unconstrained scale."""
        mean, sd, _ = self.client_scale
        if isinstance(self.prior, Normal):
            return Overlay(StudentT(4.0, mean, sd), self.curve)
        tail = StudentT(4.0, 0.0, 1.0)
        half = tail.isf(np.geomspace(1e-9, 0.499, 400))
        scores = np.concatenate([-half, half[::-1]])
        scores = scores[np.abs(sd * scores) < 300.0]  # farther out exp() overflows on a log scale
        grid = mean + sd * scores
        law = Gridded(self.prior.support.lower, self.prior.support.upper, tuple(grid), tuple(tail.logpdf(scores)))
        return Overlay(law, self.curve)
