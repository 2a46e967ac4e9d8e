"""The additive marketing-mix family: national or panel, adstock and saturation, media sampled as share or ROI."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import assert_never

import jax.numpy as jnp
import numpy as np

from engine.arrays import Flags, Floats, Integers
from engine.distributions.distribution import Distribution, LogNormal, Normal
from engine.distributions.half_life import half_life, half_life_law, retention_law
from engine.distributions.support import POSITIVE, Support
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.backend import Backend
from engine.inference.fit import BatchFit, Purpose, Seed
from engine.inference.log_evidence import log_evidence
from engine.inference.prior_map import coordinate, tabulate
from engine.inference.target import Labels
from engine.models.additive_cautions import control_cautions, exposure_cautions
from engine.models.additive_changes import Change, changed_specifications, longer_windows, outlying_dates, years
from engine.models.additive_design import Design, build_design, paid_for
from engine.models.additive_outliers import student_errors
from engine.models.additive_response import response, response_by_geo, response_rise
from engine.models.additive_simulator import adstock, expected_kpi, log_densities
from engine.models.additive_spec import AdditiveMmmSpec, BaselinePriors, Channel, Control, Parameterisation
from engine.models.additive_target import TIME_BUCKET, AdditiveTarget, LinearBlock, bucket
from engine.models.protocol import (
    Alternative,
    CauseKind,
    CurveFamily,
    GeoTotals,
    PriorSample,
    Regression,
)
from engine.models.saturation import FORMS, Saturation
from engine.models.table import Table, Window, WindowReport
from engine.rules.additive_defaults import channel_share, log_normal
from engine.rules.additive_names import estimand_rows, parameter_names
from engine.rules.cautions import Caution
from engine.rules.quantity_names import LOG_LIKELIHOOD, LOG_PRIOR, TOTAL_MEDIA_SHARE, split_name

__all__ = [
    "FAMILY",
    "AdditiveMmm",
    "AdditiveMmmSpec",
    "BaselinePriors",
    "Channel",
    "Control",
    "Parameterisation",
    "Saturation",
    "Table",
    "Window",
    "prepare",
]

FAMILY = "additive_mmm/1"


CURVES = (Saturation.HILL, Saturation.HILL_SLOPE, Saturation.LOGISTIC, Saturation.LINEAR)
"""The curves that are compared where it is asked how far an answer hangs on the curve."""
_SHAPE = ("half_saturation", "slope")  # of a saturation curve
_RISES = math.log(3.0)
_LAST_PART = 0.01  # of spend, whose return is the marginal ROI (methods/mmm.md §3.3)


def prepare(table: Table, spec: AdditiveMmmSpec, window: Window | None = None) -> AdditiveMmm:
    """The model of a table's window, with scalers, denominators and defaults frozen from it.

    The first rows whose media history the table does not hold do not enter the likelihood (`Design.window`). Raises
    InvalidInput for missing columns, a KPI or channel that does not vary, a total outcome that is not positive, a
    population that is not positive or changes within a geo.
    """
    filled, unpaid = paid_for(table, spec.of_grain(table.spacing), window or Window())
    design = build_design(table, filled, window or Window())
    design = replace(design, window=replace(design.window, unpaid=unpaid))
    weights = None
    if skipped := design.window.skipped_rows:
        weights = np.tile(np.arange(design.window.periods) >= skipped, design.window.geos).astype(np.float64)
    return AdditiveMmm(filled, design, MappingProxyType(_priors(filled, design)), weights, table.spacing)


def _priors(spec: AdditiveMmmSpec, design: Design) -> dict[str, Distribution]:
    """Priors by parameter name: media quantity, retention, half-saturation by channel; linear part; sigma."""
    channels, baseline = spec.channels, spec.baseline
    named: dict[str, Distribution] = {
        f"{c.parameterise_by.value}[{c.name}]": c.prior or _default_prior(spec, design, index)
        for index, c in enumerate(channels)
    }
    named |= {f"retention[{c.name}]": c.retention_prior for c in channels if c.retention_prior is not None}
    halves = {c.name: c.half_saturation_prior for c in channels}
    named |= {f"half_saturation[{name}]": prior for name, prior in halves.items() if prior is not None}
    named |= {f"slope[{c.name}]": c.slope_prior for c in channels if c.slope_prior is not None}
    named |= {"intercept": baseline.intercept, "trend": baseline.trend, "sigma": baseline.sigma}
    named |= {f"control[{control.name}]": control.prior for control in spec.controls}
    named |= {name: baseline.geo for name in design.block_names if name.startswith("geo[")}
    media = ((c.name, c.parameterise_by.value, halves[c.name] is not None, c.slope_prior is not None) for c in channels)
    return {name: named.get(name, baseline.seasonality) for name in parameter_names(media, design.block_names)}


def _default_prior(spec: AdditiveMmmSpec, design: Design, index: int) -> Distribution:
    """The channel's part of what all media bring a priori, in the units of its sampled quantity.

    A log-normal law stays one when its units change, so that both parametrisations say the same.
    """
    share = LogNormal(*log_normal(*channel_share(len(spec.channels))))
    match sampled := spec.channels[index].parameterise_by:
        case Parameterisation.SHARE_OF_OUTCOME:
            return share
        case Parameterisation.ROI:
            return share.scaled(design.total_outcome / float(design.spend[index]))
        case _:
            assert_never(sampled)


@dataclass(frozen=True)
class AdditiveMmm:
    """A prepared additive MMM (methods/mmm.md §4); build it with `prepare`."""

    spec: AdditiveMmmSpec
    design: Design
    priors: Mapping[str, Distribution]
    row_weights: Floats | None = None
    """Row t [N] has error variance σ²/w_t and does not enter the likelihood where w_t is 0; None is all ones."""
    spacing: int = 7
    """Days from one period to the next."""

    @property
    def family(self) -> str:
        """additive_mmm/1."""
        return FAMILY

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """2C + H + G media parameters, the linear part (with an intercept per geo of a panel), sigma.

        H of the C channels saturate and have a half-saturation, and the curve of G of them a slope of its own.
        """
        return tuple(self.priors)

    @property
    def estimand_names(self) -> tuple[str, ...]:
        """Share of outcome, incremental outcome and (with spend) ROI by channel; with several channels media shares."""
        return tuple(name for name in self._estimand_rows if name)

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """Parameters, the estimands that are no parameters, log_likelihood and log_prior."""
        return tuple(dict.fromkeys((*self.parameter_names, *self.estimand_names, LOG_LIKELIHOOD, LOG_PRIOR)))

    @property
    def _estimand_rows(self) -> tuple[str, ...]:
        """The estimands in the order that the target computes them; empty for the ROI of a channel without spend."""
        return estimand_rows((channel.name, channel.spend is not None) for channel in self.spec.channels)

    @property
    def derived_names(self) -> tuple[str, ...]:
        """Half-lives and coefficients, and by channel with spend the marginal ROI; with several channels media shares.

        A quantity that can be negative where everybody takes it for positive is left out: that is what depends on a
        media quantity whose prior reaches below 0.
        """
        channels = self.spec.channels
        names = [f"half_life[{channel.name}]" for channel in channels]
        names += [f"coefficient[{control.name}]" for control in self.spec.controls]
        positive = [self.priors[parameter].support.lower >= 0.0 for parameter in self._media_parameters()]
        for channel, sure in zip(channels, positive, strict=True):
            if sure:
                names.append(f"coefficient[{channel.name}]")
                names += [f"marginal_roi[{channel.name}]"] if channel.spend is not None else []
        if len(channels) > 1 and all(positive):
            names += [f"share_of_media[{channel.name}]" for channel in channels] + [TOTAL_MEDIA_SHARE]
        return tuple(dict.fromkeys(names))

    @property
    def observed(self) -> Floats:
        """KPI [N] of the window in original units; a panel's rows are sorted by (geo, date)."""
        return self.design.kpi

    @property
    def n_observations(self) -> int:
        """N, rows of the window: geos times dates."""
        return int(self.design.kpi.size)

    @property
    def scalers(self) -> Mapping[str, float]:
        """Every number taken from the real data: means, scales, total outcome, spends, populations."""
        return self.design.scalers

    @property
    def rows_used(self) -> float:
        """Share of the rows that enter the likelihood."""
        return 1.0 if self.row_weights is None else float(np.mean(self.row_weights > 0.0))

    @property
    def window(self) -> WindowReport:
        """Dates and geos used, lead-in and edge-affected rows of each geo."""
        return self.design.window

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels [C]."""
        return tuple(channel.name for channel in self.spec.channels)

    @property
    def total_outcome(self) -> float:
        """Observed outcome of the window, all geos together."""
        return self.design.total_outcome

    @property
    def spend(self) -> Mapping[str, float]:
        """Spend of the window by channel, of those with a spend column."""
        pairs = zip(self.channel_names, self.design.spend, strict=True)
        return {name: float(spend) for name, spend in pairs if np.isfinite(spend)}

    @property
    def geos(self) -> GeoTotals:
        """Outcome and spend by geo of a panel; empty for national data."""
        count = len(self.design.geo_names)
        return GeoTotals(self.design.geo_names, self.design.geo_outcome[:count], self.design.geo_spend[:count])

    def support_of(self, quantity: str) -> Support | None:
        """The coefficient of a channel is positive; that of a control can be anything."""
        kind, owner = split_name(quantity)
        return POSITIVE if kind == "coefficient" and owner in self._channel_index else None

    def outcome_of(self, y: Floats) -> Floats:
        """Outcome [S] of the window of KPI series y [N, S] in original units."""
        return np.asarray((self.design.weights / self.design.population) @ y)

    @cached_property
    def _to_incremental(self) -> Floats:
        """Incremental outcome per unit of each channel's sampled quantity [C]."""
        return np.asarray([self._units_of(channel, index) for index, channel in enumerate(self.spec.channels)])

    def _units_of(self, channel: Channel, index: int) -> float:
        """What the channel's sampled quantity is multiplied by to be its incremental outcome."""
        match channel.parameterise_by:
            case Parameterisation.ROI:
                return float(self.design.spend[index])
            case Parameterisation.SHARE_OF_OUTCOME:
                return self.design.total_outcome
            case _:
                assert_never(channel.parameterise_by)

    def _media_parameters(self) -> tuple[str, ...]:
        return self.parameter_names[: len(self.spec.channels)]

    def multiple_of(self, quantity: str) -> tuple[str, float]:
        """(parameter, factor) with quantity = factor · parameter, factor > 0.

        A share, ROI or incremental outcome is one of the sampled media quantity, the coefficient of a control one of
        its scaled coefficient (methods/mmm.md §3.5).
        """
        if quantity in self.priors:
            return quantity, 1.0
        for index, channel in enumerate(self.spec.channels):
            incremental = float(self._to_incremental[index])
            factors = {
                f"share_of_outcome[{channel.name}]": incremental / self.design.total_outcome,
                f"incremental_outcome[{channel.name}]": incremental,
            }
            if channel.spend is not None:
                factors[f"roi[{channel.name}]"] = incremental / float(self.design.spend[index])
                if channel.saturation is Saturation.LINEAR:
                    factors[f"marginal_roi[{channel.name}]"] = factors[f"roi[{channel.name}]"]
            if quantity in factors:
                return self._media_parameters()[index], factors[quantity]
        if quantity in {f"half_saturation[{channel.name}]" for channel in self.spec.channels}:
            raise UnsupportedQuantity(quantity, "the channel acts linearly, so it has no half-saturation")
        if quantity in {f"slope[{channel.name}]" for channel in self.spec.channels}:
            raise UnsupportedQuantity(quantity, "the slope of the channel's curve is not free")
        kind, owner = split_name(quantity)
        controls = {control.name for control in self.spec.controls} - set(self._channel_index)
        if kind == "coefficient" and owner in controls:
            return f"control[{owner}]", self.design.kpi_sd / self.design.scalers[f"control_sd[{owner}]"]
        known = dict.fromkeys((*self.quantity_names, *self.derived_names))
        if quantity in known:
            raise UnsupportedQuantity(quantity, "its prior has no closed form: it depends on several parameters")
        raise UnsupportedQuantity(quantity, f"this model has no such quantity; it has {', '.join(known)}")

    def prior_of(self, quantity: str) -> Distribution:
        """Prior of a parameter, of what is linked to it by a fixed factor, or of the half-life of a carry-over."""
        if (retention := self._retention_of(quantity)) is not None:
            return half_life_law(self.priors[retention])
        parameter, factor = self.multiple_of(quantity)
        prior = self.priors[parameter]
        return prior if factor == 1.0 else prior.scaled(factor)

    def with_priors(self, priors: Mapping[str, Distribution]) -> AdditiveMmm:
        """The same data and scalers under other marginal priors, by any name that `prior_of` knows."""
        changed = dict(self.priors)
        named: set[str] = set()
        for quantity, prior in priors.items():
            if (retention := self._retention_of(quantity)) is not None:
                parameter, law = retention, _retention_law(quantity, prior)
            else:
                parameter, factor = self.multiple_of(quantity)
                law = prior if factor == 1.0 else prior.scaled(1.0 / factor)
            if parameter in named:
                raise InvalidInput(f"priors[{quantity}]", f"{parameter} is given a prior twice")
            named.add(parameter)
            if quantity.startswith("coefficient[") and not isinstance(prior, Normal):
                raise UnsupportedQuantity(
                    quantity, "as the prior of a fit the coefficient of a control has to be Normal"
                )
            if parameter in self.design.block_names and not isinstance(prior, Normal):
                raise InvalidInput(f"priors[{quantity}]", "must be Normal: the linear part is integrated out exactly")
            _check_support(parameter, law)
            changed[parameter] = law
        return replace(self, priors=MappingProxyType(changed))

    @cached_property
    def _channel_index(self) -> Mapping[str, int]:
        return {channel.name: index for index, channel in enumerate(self.spec.channels)}

    def _retention_of(self, quantity: str) -> str | None:
        """The retention behind a half-life, which is a monotone function of it."""
        kind, owner = split_name(quantity)
        return f"retention[{owner}]" if kind == "half_life" and owner in self._channel_index else None

    def derive(self, quantity: str, parameters: Mapping[str, Floats]) -> Floats:
        """A quantity [S] at parameters [S]: any that a belief may be about, returned by a fit or not.

        Definitions: methods/mmm.md §3.3. A channel's coefficient is the incremental KPI per head and time step at
        full saturation, a control's the change of the KPI per head and unit of its column; the half-life counts time
        steps; the marginal ROI is that of the last per cent of spend, all lags scaled alike.
        """
        if quantity in parameters:
            return np.asarray(parameters[quantity], dtype=np.float64)
        kind, owner = split_name(quantity)
        if (retention := self._retention_of(quantity)) is not None:
            return half_life(parameters[retention])
        if quantity == TOTAL_MEDIA_SHARE:
            return np.asarray(sum(self._incremental(parameters)) / self.design.total_outcome)
        index = self._channel_index.get(owner)
        if index is not None and kind == "share_of_media":
            incremental = self._incremental(parameters)
            return np.asarray(incremental[index] / sum(incremental))
        if index is not None and kind == "coefficient":
            return self._incremental(parameters)[index] / response(
                self.design, index, *self._curve_of(owner, parameters)
            )
        if index is not None and kind == "marginal_roi" and self.spec.channels[index].spend is not None:
            whole, gained = response_rise(self.design, index, *self._curve_of(owner, parameters), 1.0 + _LAST_PART)
            last = self._incremental(parameters)[index] * (gained / whole)
            return np.asarray(last / (_LAST_PART * self.design.spend[index]))
        parameter, factor = self.multiple_of(quantity)
        return np.asarray(factor * parameters[parameter])

    def incremental_by_geo(self, channel: str, parameters: Mapping[str, Floats]) -> Floats:
        """Incremental outcome [G, S] of a channel in each geo of `design.geo_names`, at parameters [S].

        The response per head is common to all geos, so the total of the channel is divided in proportion to
        Σ_t u_gt p_g H_gt (methods/mmm.md §3.3, §3.4): over the geos it sums to the incremental outcome. Raises
        UnsupportedQuantity for a channel that the model does not have.
        """
        index = self._channel_index.get(channel)
        if index is None:
            raise UnsupportedQuantity(f"incremental_outcome[{channel}]", "this model has no such channel")
        by_geo = response_by_geo(self.design, index, *self._curve_of(channel, parameters))
        return np.asarray(self._incremental(parameters)[index] * (by_geo / by_geo.sum(axis=0)))

    def _curve_of(self, channel: str, parameters: Mapping[str, Floats]) -> tuple[Floats, Floats, Floats]:
        """Retention, half-saturation and slope [S] of a channel."""
        retained = np.asarray(parameters[f"retention[{channel}]"], dtype=np.float64)
        # What a channel's curve does not have its response does not look at.
        half, slope = (parameters.get(f"{kind}[{channel}]", np.ones_like(retained)) for kind in _SHAPE)
        return retained, np.asarray(half, dtype=np.float64), np.asarray(slope, dtype=np.float64)

    def _incremental(self, parameters: Mapping[str, Floats]) -> list[Floats]:
        """Incremental outcome [S] of each channel at parameters [S]."""
        pairs = zip(self._media_parameters(), self._to_incremental, strict=True)
        return [np.asarray(parameters[name] * factor) for name, factor in pairs]

    def sample_prior(self, seed: Seed, simulations: Integers) -> PriorSample:
        """Truths and KPI series [N, S] in original units, in plain NumPy with the real data's scalers."""
        ids = [int(simulation) for simulation in np.asarray(simulations)]
        truths = np.empty((len(self.priors), len(ids)))
        for column, simulation in enumerate(ids):
            rng = seed.generator(simulation, Purpose.PRIOR)
            truths[:, column] = [prior.sample(rng, 1)[0] for prior in self.priors.values()]
        parameters = dict(zip(self.parameter_names, truths, strict=True))
        y = self.simulate(parameters, seed, simulations)
        return PriorSample(parameters, y, self.evaluate(parameters, y))

    def simulate(self, parameters: Mapping[str, Floats], seed: Seed, simulations: Integers) -> Floats:
        """KPI series [N, S] in original units at parameters [S], in plain NumPy."""
        ids = np.asarray(simulations)
        noise = np.empty((self.n_observations, ids.size))
        for column, simulation in enumerate(ids):
            noise[:, column] = seed.generator(int(simulation), Purpose.DATA).standard_normal(self.n_observations)
        return self.expected(parameters) + self._noise_sd(parameters) * noise

    def restricted(self, rows: Flags) -> AdditiveMmm:
        """The same model in which only the marked rows [N] enter the likelihood.

        Media are centred and normalised over the whole window as before: shares and ROI keep their meaning.
        """
        return self.weighted(np.asarray(rows, dtype=bool).astype(np.float64))

    def weighted(self, weights: Floats) -> AdditiveMmm:
        """The same model in which the error variance of row t [N] is its own divided by weights[t].

        A row of weight 0 does not enter the likelihood. It runs in the programs of the unweighted model. Raises
        InvalidInput for weights that are negative, not finite or not one per row.
        """
        given = np.asarray(weights, dtype=np.float64)
        if given.shape != (self.n_observations,):
            raise InvalidInput("weights", f"must hold {self.n_observations} numbers, one per row")
        if not (np.all(np.isfinite(given)) and np.all(given >= 0.0)):
            raise InvalidInput("weights", "must be finite and not negative")
        return replace(self, row_weights=given * self._row_weights)

    def with_curve(self, form: Saturation) -> AdditiveMmm:
        """The same data and priors with a response of this form in every channel; what it adds has default priors."""
        row = FORMS[form]

        def bent(channel: Channel) -> Channel:
            return replace(
                channel,
                saturation=form,
                half_saturation_prior=channel.half_saturation_prior if row.has_half_saturation else None,
                slope_prior=channel.slope_prior if row.has_slope else None,
            )

        spec = replace(self.spec, channels=tuple(bent(channel) for channel in self.spec.channels))
        design = replace(self.design, saturation=(form,) * len(spec.channels))
        # Priors may have been changed since the specification.
        priors = {name: self.priors.get(name, law) for name, law in _priors(spec, design).items()}
        return replace(self, spec=spec, design=design, priors=MappingProxyType(priors))

    def curves(self) -> CurveFamily:
        """The model under every saturation curve: a Hill curve with slope 1 and with free slope, logistic, linear."""
        whole = self.with_curve(Saturation.HILL_SLOPE)
        return CurveFamily(
            tuple(form.value for form in CURVES),
            tuple(self.with_curve(form) for form in CURVES),
            whole,
            replace(whole.target, family=CURVES),
        )

    def paired(self) -> AdditiveMmm:
        """The model of [y, y'] [2N, S]: a second KPI series with the same media, carry-over, trend and seasonality."""
        weights = None if self.row_weights is None else np.concatenate([self.row_weights, self.row_weights])
        return replace(self, design=self.design.paired(), row_weights=weights)

    def lagged(self, periods: int) -> AdditiveMmm:
        """The same model, mistaken about time: exposure acts `periods` dates later than it should."""
        return replace(self, design=self.design.lagged(periods))

    def regression(self, channel: str) -> Regression:
        """Adstocked exposure of a channel beside the linear part and the other channels' exposure.

        Retentions are at their prior medians; the linear part holds intercept, trend, seasonality, controls and the
        intercepts of geos; the outcome is the KPI per head. InvalidInput for a channel that the model does not have.
        """
        names, media = list(self.channel_names), self._adstocked
        if channel not in names:
            raise InvalidInput("channel", f"the model has no channel {channel!r}; it has {', '.join(names)}")
        index = names.index(channel)
        used = self._row_weights > 0.0
        controls = (f"control[{control.name}]" for control in self.spec.controls)
        return Regression(
            media[used, index],
            np.column_stack([self.design.block, np.delete(media, index, axis=1)])[used],
            (self.design.kpi / self.design.population)[used],
            {split_name(name)[1]: self.design.block_names.index(name) for name in controls},
        )

    @cached_property
    def _adstocked(self) -> Floats:
        """Adstocked exposure [N, C] with every retention at its prior median."""
        design, retentions = self.design, (self.priors[f"retention[{name}]"] for name in self.channel_names)
        columns = [
            adstock(design.exposure[:, index, : design.n_weights[index]], float(retention.ppf(0.5)))
            for index, retention in enumerate(retentions)
        ]
        return np.stack(columns, axis=1)

    def cautions(self) -> list[Caution]:
        """What to mind about channels and controls, from the covariates and, for controls, the KPI."""
        media = self._adstocked
        about_channels = exposure_cautions(self.spec, self.design, media, self.spacing)
        # As it is and carried over: which of the two acts on the KPI is not known before a fit.
        both = np.column_stack([media, self.design.exposure[:, :, 0]])
        return about_channels + control_cautions(self.spec, self.design, both)

    def alternatives(
        self, table: Table, window: Window | None = None, columns: Sequence[str] = ()
    ) -> list[Alternative]:
        """The changed models of the same data: errors with heavy tails, other specifications, a year less.

        Their errors take a few searches of the mode; which specifications, says `changed_specifications`.
        """
        window = window or Window()
        dates = table.periods[window.first_row(table.periods) :]
        robust = student_errors(self)
        outlying = outlying_dates(robust.weights, dates, self.window.geos)
        gain = robust.log_evidence_gain
        alternatives = [Alternative(CauseKind.OUTLIERS, "", robust.model, log_evidence_gain=gain, dates=outlying)]
        changes = changed_specifications(self.spec, self.design, table, window, columns)
        for change in [*filter(None, [self._longer_window(table, window)]), *changes]:
            alternatives.append(Alternative(change.kind, change.subject, self._changed(change, table, window)))
        for kind, subject, left in years(dates):
            rows = np.tile(left, self.window.geos)
            alternatives.append(Alternative(kind, subject, self.restricted(rows), same_rows=False))
        return alternatives

    def _changed(self, change: Change, table: Table, window: Window) -> AdditiveMmm:
        """The model of a changed specification; its likelihood has the same rows, or the evidence would not compare."""
        model = prepare(table, change.spec, window)._of_shape(self)
        return replace(model, row_weights=self.row_weights)

    def _longer_window(self, table: Table, window: Window) -> Change | None:
        """A carry-over twice as long; where that raises the evidence threefold, the longest that goes on doing so."""
        best, evidence = None, self._log_evidence
        for change in longer_windows(self.spec, table):
            raised = self._changed(change, table, window)._log_evidence
            if best is not None and raised < evidence + _RISES:
                break
            best = change
            if raised < evidence + _RISES:
                break
            evidence = raised
        return best

    @property
    def _log_evidence(self) -> float:
        """ln m(y) by Laplace's approximation, comparable between models of the same rows."""
        return float(log_evidence(self.target, self.target_units(self.observed[:, None]))[0])

    def _of_shape(self, other: AdditiveMmm) -> AdditiveMmm:
        """The model filled up with lags that no channel has, to those of another: it then runs in the same program."""
        exposure = self.design.exposure
        if (shorter := other.design.exposure.shape[2] - exposure.shape[2]) <= 0:
            return self
        padded = np.pad(exposure, ((0, 0), (0, 0), (0, shorter)))
        return replace(self, design=replace(self.design, exposure=padded))

    def _noise_sd(self, parameters: Mapping[str, Floats]) -> Floats:
        """Standard deviation [N, S] of the errors in original units.

        `sigma` is per head, common to all geos; rows that do not enter the likelihood have the error of weight 1.
        """
        weights = np.where(self._row_weights > 0.0, self._row_weights, 1.0)
        sd = self.design.kpi_sd * parameters["sigma"] * self.design.population[:, None]
        return np.asarray(sd / np.sqrt(weights)[:, None])

    def expected(self, parameters: Mapping[str, Floats]) -> Floats:
        """Expected KPI [N, S] in original units at parameters [S], by the NumPy simulator."""
        channels = self.spec.channels
        incremental = np.stack([parameters[name] for name in self._media_parameters()]) * self._to_incremental[:, None]
        none = np.ones_like(parameters["sigma"])  # in the place of what a channel's curve does not have
        half_saturation, slope = (
            np.stack([parameters.get(f"{kind}[{channel.name}]", none) for channel in channels]) for kind in _SHAPE
        )
        return expected_kpi(
            self.design,
            incremental,
            np.stack([parameters[f"retention[{channel.name}]"] for channel in channels]),
            half_saturation,
            slope,
            np.stack([parameters[name] for name in self.design.block_names]),
        )

    def evaluate(self, parameters: Mapping[str, Floats], y: Floats) -> dict[str, Floats]:
        """Every quantity [S] at parameters [S] and KPI series y [N, S] in original units, in plain NumPy.

        The log likelihood is that of the per-capita KPI, as in `target`; for national data that is the KPI itself.
        """
        values = dict(parameters)
        total = np.zeros(())
        for index, channel in enumerate(self.spec.channels):
            incremental = parameters[self._media_parameters()[index]] * self._to_incremental[index]
            values.setdefault(f"share_of_outcome[{channel.name}]", incremental / self.design.total_outcome)
            values[f"incremental_outcome[{channel.name}]"] = incremental
            if channel.spend is not None:
                values.setdefault(f"roi[{channel.name}]", incremental / self.design.spend[index])
            total = total + incremental
        if len(self.spec.channels) > 1:
            for channel in self.spec.channels:
                name = channel.name
                values[f"share_of_media[{name}]"] = values[f"incremental_outcome[{name}]"] / total
            values[TOTAL_MEDIA_SHARE] = total / self.design.total_outcome
        values[LOG_LIKELIHOOD] = self.log_densities(parameters, y)[self._row_weights > 0.0].sum(axis=0)
        values[LOG_PRIOR] = np.sum([prior.logpdf(parameters[name]) for name, prior in self.priors.items()], axis=0)
        return {name: np.asarray(values[name]) for name in self.quantity_names}

    def log_densities(self, parameters: Mapping[str, Floats], y: Floats) -> Floats:
        """Log density [N, S] of the per-capita KPI of every row, for y [N, S] in original units at parameters [S]."""
        population = self.design.population[:, None]
        expected, sd = self.expected(parameters), self._noise_sd(parameters)
        return log_densities(y / population, expected / population, sd / population)

    @cached_property
    def target(self) -> AdditiveTarget:
        """The posterior in JAX, over standard normal coordinates."""
        design = self.design
        block = [self.priors[name] for name in design.block_names]
        active = np.arange(design.exposure.shape[2])[:, None] < design.n_weights
        scale = np.sqrt(self._row_weights)
        used = self._row_weights[self._row_weights > 0.0]
        linear = LinearBlock.of(
            self._filled(design.block * scale[:, None]),
            np.asarray([law.mean for law in block]),
            np.asarray([law.sd for law in block]),
        )
        return AdditiveTarget(
            prior_map=tabulate([self.priors[name] for name in self._sampled_names]),
            block=linear,
            exposure=jnp.asarray(np.transpose(self._filled(design.exposure), (1, 0, 2))),
            active=jnp.asarray(active.astype(np.float64)),
            weights=jnp.asarray(self._filled(design.weights)),
            real_rows=jnp.asarray(self._filled(scale)),
            observations=jnp.asarray(float(used.size)),
            log_scale=jnp.asarray(0.5 * float(np.log(used).sum())),
            rows=jnp.asarray(float(self.n_observations)),
            to_incremental=jnp.asarray(self._to_incremental),
            to_share=jnp.asarray(self._to_incremental / design.total_outcome),
            to_roi=jnp.asarray(np.nan_to_num(self._to_incremental / design.spend)),
            kpi_sd=jnp.asarray(design.kpi_sd),
            labels=Labels(self._row_names(linear.sd.size)),
            saturation=design.saturation,
        )

    @property
    def _row_weights(self) -> Floats:
        """The weights of the rows [N], 1 unless others were given."""
        return np.ones(self.n_observations) if self.row_weights is None else self.row_weights

    def _row_names(self, linear: int) -> tuple[str, ...]:
        """Names of the rows that the target computes, whose linear part is filled up to so many columns.

        A row is unnamed where a column only fills up, a channel has no spend, or the estimand is a parameter.
        """
        *names, sigma = self.parameter_names
        unnamed = ("",) * (len(self._sampled_names) - 1 + linear - len(names))
        estimands = ("" if name in self.priors else name for name in self._estimand_rows)
        return (*names, *unnamed, sigma, *estimands, LOG_LIKELIHOOD, LOG_PRIOR)

    def _filled(self, rows: Floats) -> Floats:
        """Rows [N, ...] followed by zeros up to the bucket that the target is compiled for."""
        missing = bucket(rows.shape[0], TIME_BUCKET) - rows.shape[0]
        return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]))])

    @property
    def _sampled_names(self) -> tuple[str, ...]:
        count = len(self.parameter_names) - len(self.design.block_names) - 1
        return (*self.parameter_names[:count], "sigma")

    def coordinates(self, parameters: Mapping[str, Floats]) -> Floats:
        """Sampled coordinates z [D, S] of parameters [S]."""
        return np.stack([coordinate(self.priors[name], parameters[name]) for name in self._sampled_names])

    def target_units(self, y: Floats) -> Floats:
        """y [N, S] in the units of `target`: per head, centred, over the real data's sd, weighted, filled up with 0."""
        per_head = (y / self.design.population[:, None] - self.design.kpi_mean) / self.design.kpi_sd
        return self._filled(per_head * np.sqrt(self._row_weights)[:, None])

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        """Posterior draws of every quantity for KPI series y [N, S] in original units."""
        series = np.asarray(y, dtype=np.float64)
        if series.ndim != 2 or series.shape[0] != self.n_observations:
            raise InvalidInput("y", f"must be [{self.n_observations}, S]")
        return inference.fit(self.target, self.target_units(series), seed, simulations)


def _retention_law(quantity: str, half_life: Distribution) -> Distribution:
    if half_life.support.lower < 0.0:
        raise InvalidInput(f"priors[{quantity}]", "must live on positive numbers")
    return retention_law(half_life)


def _check_support(parameter: str, prior: Distribution) -> None:
    support = prior.support
    if parameter.startswith("retention[") and (support.lower < 0.0 or support.upper > 1.0):
        raise InvalidInput(f"priors[{parameter}]", "must live inside [0, 1]")
    if (parameter.startswith(tuple(f"{kind}[" for kind in _SHAPE)) or parameter == "sigma") and support.lower < 0.0:
        raise InvalidInput(f"priors[{parameter}]", "must live on positive numbers")
