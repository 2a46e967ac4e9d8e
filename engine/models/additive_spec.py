"""What a caller says about an additive marketing-mix model: channels, controls, seasonality and priors."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from engine.distributions.distribution import Beta, Distribution, HalfNormal, LogNormal, Normal
from engine.errors import InvalidInput
from engine.models.saturation import FORMS, Saturation
from engine.rules.additive_defaults import HALF_SATURATION, SLOPE, carry_over


class Parameterisation(enum.Enum):
    """The business quantity that is sampled, so that its prior is exactly what the client said."""

    SHARE_OF_OUTCOME = "share_of_outcome"
    ROI = "roi"


@dataclass(frozen=True)
class Channel:
    """One media channel.

    `prior` is that of the parametrising quantity in original units: incremental outcome over the observed total
    outcome of the window, or over the window's spend. `half_saturation_prior` is in units of the mean positive
    exposure; None means the default, and for a linear channel, which has no such parameter, nothing else may be
    given. `slope_prior` is that of the Hill curve's slope, in the same way for the form that has one. `n_weights`
    counts the adstock weights, the current period included.

    What hangs on the data is left open until a table is there: without a `prior` the channel has its part of what all
    media bring a priori, and without `retention_prior` and `n_weights` (0) the carry-over is that of the table's grain
    (engine.rules.additive_defaults).
    """

    name: str
    exposure: str
    prior: Distribution | None = None
    spend: str | None = None
    parameterise_by: Parameterisation = Parameterisation.SHARE_OF_OUTCOME
    retention_prior: Distribution | None = None
    half_saturation_prior: Distribution | None = None
    slope_prior: Distribution | None = None
    n_weights: int = 0
    saturation: Saturation = Saturation.HILL

    def __post_init__(self) -> None:
        path = f"channels[{self.name}]"
        if not self.name:
            raise InvalidInput("channels.name", "must not be empty")
        if self.parameterise_by is Parameterisation.ROI and self.spend is None:
            raise InvalidInput(f"{path}.spend", "is needed to parametrise by ROI")
        if self.n_weights < 0:
            raise InvalidInput(f"{path}.n_weights", "must be at least 1, or 0 for the default of the grain")
        if self.retention_prior is not None:
            retention = self.retention_prior.support
            if retention.lower < 0.0 or retention.upper > 1.0:
                raise InvalidInput(f"{path}.retention_prior", "must live inside [0, 1]")
        form = FORMS[self.saturation]
        self._complete("half_saturation_prior", form.has_half_saturation, HALF_SATURATION)
        self._complete("slope_prior", form.has_slope, SLOPE)

    def _complete(self, field: str, has: bool, default: tuple[float, float]) -> None:
        """Fill in the log-normal default of a prior that the form of saturation has, and refuse one that it has not."""
        prior, path = getattr(self, field), f"channels[{self.name}].{field}"
        if not has and prior is not None:
            what = field.removesuffix("_prior").replace("_", "-")
            raise InvalidInput(path, f"a {self.saturation.value} channel has no {what}")
        if has and prior is None:
            object.__setattr__(self, field, LogNormal(*default))
        elif has and prior.support.lower < 0.0:
            raise InvalidInput(path, "must live on positive numbers")


@dataclass(frozen=True)
class Control:
    """A linear control column; `prior` is that of its coefficient, in KPI sds per sd of the column."""

    name: str
    column: str
    prior: Normal = field(default_factory=lambda: Normal(0.0, 1.0))


@dataclass(frozen=True)
class BaselinePriors:
    """Priors of everything that is not media, in scaled units (per-capita KPI centred, unit standard deviation).

    The intercept is the KPI's mean level with media at their mean effect, not the level without media: a share of
    30 % of a KPI with mean/sd = 5 would otherwise need an intercept of -1.5 and a N(0, 1) prior would pull every
    share towards zero, harder the steadier the KPI. The trend's coefficient is half its change over the window.
    `geo` is the prior of each geo's departure from the common intercept; it is fixed: nothing is learned about it.
    """

    intercept: Normal = field(default_factory=lambda: Normal(0.0, 1.0))
    trend: Normal = field(default_factory=lambda: Normal(0.0, 1.0))
    seasonality: Normal = field(default_factory=lambda: Normal(0.0, 0.5))
    geo: Normal = field(default_factory=lambda: Normal(0.0, 1.0))
    sigma: Distribution = field(default_factory=lambda: HalfNormal(1.0))

    def __post_init__(self) -> None:
        if self.sigma.support.lower < 0.0:
            raise InvalidInput("priors.sigma", "must live on positive numbers")


@dataclass(frozen=True)
class AdditiveMmmSpec:
    """Additive MMM, national or of a geo panel, with geometric adstock, saturating or linear media and normal errors.

    There are 3C + K + 2F + 3 parameters for C channels, K controls and F Fourier pairs (one fewer without a trend and
    for every linear channel, one more for every channel whose slope is free), and an intercept per geo where there are
    several. `revenue_per_kpi` names a column that turns KPI units into outcome units; without it they are the same.
    `population` names a column with each geo's population, the same on all dates; without it a geo's mean KPI stands
    in, and national data need none. Exposures are totals of the geo (impressions, spend), not rates (rating points):
    they are divided by population.
    """

    kpi: str
    channels: tuple[Channel, ...]
    controls: tuple[Control, ...] = ()
    fourier_pairs: int = 2
    season_days: float = 365.25
    trend: bool = True
    revenue_per_kpi: str | None = None
    population: str | None = None
    baseline: BaselinePriors = field(default_factory=BaselinePriors)

    def __post_init__(self) -> None:
        if not self.channels:
            raise InvalidInput("channels", "must hold at least one channel")
        for what, names in (
            ("channels", [c.name for c in self.channels]),
            ("controls", [c.name for c in self.controls]),
        ):
            if len(set(names)) != len(names):
                raise InvalidInput(what, "names must differ")
        if self.fourier_pairs < 0:
            raise InvalidInput("fourier_pairs", "must not be negative")
        if not self.season_days > 0.0:
            raise InvalidInput("season_days", "must be above 0")

    def of_grain(self, spacing: int) -> AdditiveMmmSpec:
        """The specification with the carry-over of every channel filled in for rows `spacing` days apart."""
        default = carry_over(spacing)

        def filled(channel: Channel) -> Channel:
            retention = channel.retention_prior or Beta(*default.retention)
            return replace(channel, n_weights=channel.n_weights or default.weights, retention_prior=retention)

        return replace(self, channels=tuple(filled(channel) for channel in self.channels))
