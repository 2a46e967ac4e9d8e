"""What conflict analysis, SBC and prior updating know of a model family, and nothing else.

`Model` is what every family has to offer. The other protocols are capabilities: a family has those whose members its
models have, and where one is missing the answer that rests on it is left out, or refused in words.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from engine.arrays import Flags, Floats, Integers
from engine.distributions.distribution import Distribution
from engine.distributions.support import Support
from engine.inference.fit import BatchFit, Seed
from engine.inference.target import Target
from engine.models.table import Table, Window, WindowReport
from engine.rules.cautions import Caution

if TYPE_CHECKING:
    from engine.inference.backend import Backend


@dataclass(frozen=True)
class PriorSample:
    """S draws from prior and likelihood; `quantities` holds every quantity at the truth."""

    parameters: Mapping[str, Floats]
    y: Floats
    quantities: Mapping[str, Floats]


class Model(Protocol):
    """A prepared model: data, frozen scalers and priors, ready to be simulated from and fitted."""

    @property
    def family(self) -> str:
        """Versioned id of the family, e.g. conversion_rates/1."""
        ...

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Top-level scalar unknowns; their number is what the SBC decision calls the number of parameters."""
        ...

    @property
    def estimand_names(self) -> tuple[str, ...]:
        """Business quantities; one that is sampled as a parameter appears here as well."""
        ...

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """Everything a fit returns, once each: parameters, other estimands, log_likelihood, log_prior."""
        ...

    @property
    def derived_names(self) -> tuple[str, ...]:
        """Quantities that beliefs may be about although a fit does not return them or `prior_of` has no law of them."""
        ...

    @property
    def priors(self) -> Mapping[str, Distribution]:
        """Marginal priors by parameter name; the parameters are independent a priori."""
        ...

    @property
    def observed(self) -> Floats:
        """The real outcome [T] in original units."""
        ...

    @property
    def n_observations(self) -> int:
        """T."""
        ...

    def multiple_of(self, quantity: str) -> tuple[str, float]:
        """(parameter, factor) with quantity = factor · parameter and factor > 0; UnsupportedQuantity otherwise."""
        ...

    def prior_of(self, quantity: str) -> Distribution:
        """Marginal prior of a parameter or of a monotone function of one; UnsupportedQuantity otherwise."""
        ...

    def with_priors(self, priors: Mapping[str, Distribution]) -> Model:
        """The same model with marginal priors replaced, by quantity name as in `prior_of`."""
        ...

    def sample_prior(self, seed: Seed, simulations: Integers) -> PriorSample:
        """Truths and data of the given simulation ids, in plain NumPy; scalers stay those of the real data."""
        ...

    def simulate(self, parameters: Mapping[str, Floats], seed: Seed, simulations: Integers) -> Floats:
        """Data [T, S] at parameters [S], by the same plain NumPy as `sample_prior` and from the same noise."""
        ...

    def evaluate(self, parameters: Mapping[str, Floats], y: Floats) -> dict[str, Floats]:
        """Every quantity [S] at parameters [S] and data y [T, S], in plain NumPy."""
        ...

    def derive(self, quantity: str, parameters: Mapping[str, Floats]) -> Floats:
        """A parameter, estimand or derived quantity [S] at parameters [S], in plain NumPy and little memory.

        UnsupportedQuantity for any other name.
        """
        ...

    def restricted(self, rows: Flags) -> Model:
        """The same model in which only the marked observations [T] enter the likelihood; y is given whole."""
        ...

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        """Posterior draws for y [T, S] in original units; simulation i depends on (y[:, i], seed, its id) only."""
        ...


@runtime_checkable
class Replicable(Protocol):
    """A model for which data can be replicated given everything but their noise.

    That is what posterior SBC needs: a second column of observations that shares the covariates, the carry-over and
    the time-varying latents of the first. Data concatenated in time would not do: the end of the one would carry over
    into the other. Models in which an outcome depends on earlier outcomes are not replicable like this.
    """

    def paired(self) -> Model:
        """The model of [y, y'] [2T, S]: two columns of observations, independent given the parameters."""
        ...


@runtime_checkable
class CarryOver(Protocol):
    """A model in which exposure acts with a delay."""

    def lagged(self, periods: int) -> Model:
        """The same model, mistaken about time: exposure acts `periods` later than it should."""
        ...


@runtime_checkable
class DensityModel(Protocol):
    """A model whose posterior is a Target, in JAX.

    Its evidence can be compared with that of changed models, and the conformance test compares the two sides, NumPy and
    JAX. Where the target is a SmoothTarget too, beliefs that no draw reaches are bridged to.
    """

    @property
    def target(self) -> Target:
        """The posterior in JAX."""
        ...

    def coordinates(self, parameters: Mapping[str, Floats]) -> Floats:
        """Target coordinates z [D, S] of parameters [S]."""
        ...

    def target_units(self, y: Floats) -> Floats:
        """y in the target's units."""
        ...


@runtime_checkable
class OwnInference(Protocol):
    """A model that draws its posterior itself; the inference that `fit` is given only says how many draws."""

    @property
    def inference(self) -> str:
        """What answers call it, e.g. exact."""
        ...


@runtime_checkable
class Summary(Protocol):
    """A model whose data are one estimate: the likelihood is normal in its only quantity.

    The evidence curve is then known without draws, and beliefs live on the real line, as the estimate does.
    """

    @property
    def estimate(self) -> float:
        """The estimate, in units of the quantity."""
        ...

    @property
    def standard_error(self) -> float:
        """Its standard error."""
        ...


@runtime_checkable
class HasWindow(Protocol):
    """A model of dated rows. Without it an answer tells no dates, and every observation stands for a month."""

    @property
    def window(self) -> WindowReport:
        """Dates and geos used."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A model that knows more of where a quantity lives than the quantity's kind tells."""

    def support_of(self, quantity: str) -> Support | None:
        """Where the quantity lives; None: where every quantity of its kind does."""
        ...


@runtime_checkable
class Cautions(Protocol):
    """A model that can tell what to mind about it before it has been fitted."""

    def cautions(self) -> list[Caution]:
        """What to mind; nothing is sampled here."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """A model whose data are outcomes that people can judge: its prior predictive is worth showing to them."""

    def outcome_of(self, y: Floats) -> Floats:
        """Outcome [S] of the whole window in data y [T, S]."""
        ...


@dataclass(frozen=True)
class GeoTotals:
    """The geos of a panel, with the observed `outcome` [G] and the `spend` [G, C] of each, NaN where it is unknown.

    Empty (G = 0) for national data.
    """

    names: tuple[str, ...]
    outcome: Floats
    spend: Floats


@runtime_checkable
class Attributes(Protocol):
    """A model that tells what each channel brought: `share_of_outcome[c]` is a quantity of its fits for every channel.

    Without it there is no attribution.
    """

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels [C]."""
        ...

    @property
    def total_outcome(self) -> float:
        """Observed outcome of the window, which the shares refer to."""
        ...

    @property
    def spend(self) -> Mapping[str, float]:
        """Spend of the window by channel, where it is known."""
        ...

    @property
    def geos(self) -> GeoTotals:
        """The geos; their channels are in the order of `channel_names`."""
        ...

    def incremental_by_geo(self, channel: str, parameters: Mapping[str, Floats]) -> Floats:
        """Incremental outcome [G, S] of a channel in each geo, at parameters [S]."""
        ...


@dataclass(frozen=True)
class Regression:
    """The outcome as a regression on what one channel acts by, next to everything else.

    own [T]: what the channel acts by. rest [T, K]: everything else that explains the outcome, an intercept among it.
    outcome [T]. controls: the columns of `rest` that are control variables, by name.
    """

    own: Floats
    rest: Floats
    outcome: Floats
    controls: Mapping[str, int]


@runtime_checkable
class Regresses(Protocol):
    """A model whose channels enter next to each other, so that one can stand for another."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels."""
        ...

    def regression(self, channel: str) -> Regression:
        """The rows that enter the likelihood; InvalidInput for a channel that the model does not have."""
        ...


@runtime_checkable
class Changeable(Model, Protocol):
    """A model of which there are others of the same data, which might explain a conflict as well as a wrong belief."""

    @property
    def rows_used(self) -> float:
        """Share of the rows that enter the likelihood."""
        ...

    def alternatives(self, table: Table, window: Window, columns: Sequence[str] = ()) -> list[Alternative]:
        """The changed models, from the table and window that the model was prepared from; nothing is sampled here.

        `columns` names the columns of the table that may be tried as controls.
        """
        ...


class CurvedModel(Model, DensityModel, Protocol):
    """A model under one of the curves of a family."""

    def log_densities(self, parameters: Mapping[str, Floats], y: Floats) -> Floats:
        """Log density [N, S] of each observation of y [N, S] in original units, at parameters [S]."""
        ...


@dataclass(frozen=True)
class CurveFamily:
    """One model under M curves of response, with the same data and priors.

    `names` [M]; `members` [M]: the model under each. `whole` has the parameters of all of them, and `target` is its
    posterior in `whole`'s coordinates for data in `whole`'s units that are followed by a row with the index of the
    curve, so that all are fitted in one batch. What a curve lacks of the parameters stays at its prior.
    """

    names: tuple[str, ...]
    members: tuple[CurvedModel, ...]
    whole: CurvedModel
    target: Target

    def data(self, y: Floats) -> Floats:
        """The data [T', M] of the target for one series y [N] in original units: a column a curve."""
        series = np.repeat(self.whole.target_units(y[:, None]), len(self.names), axis=1)
        return np.concatenate([series, np.arange(float(len(self.names)))[None]])

    def at(self, index: int) -> CurveInFamily:
        """The model under one curve, in the program of all."""
        return CurveInFamily(self, index)


@dataclass(frozen=True)
class CurveInFamily:
    """A model under one curve of a family as a DensityModel whose programs are those of the family."""

    of: CurveFamily
    index: int

    @property
    def observed(self) -> Floats:
        """The data [N] in original units."""
        return self.of.whole.observed

    @property
    def target(self) -> Target:
        """The target of the family."""
        return self.of.target

    def coordinates(self, parameters: Mapping[str, Floats]) -> Floats:
        """Coordinates [D, S] of the family's parameters [S]."""
        return self.of.whole.coordinates(parameters)

    def target_units(self, y: Floats) -> Floats:
        """y [N, S] in the target's units, with the index of the curve below."""
        series = self.of.whole.target_units(y)
        return np.concatenate([series, np.full((1, series.shape[1]), float(self.index))])


@runtime_checkable
class Curved(HasWindow, Model, Protocol):
    """A model of dated rows whose answers may hang on the form of its curves, which the data hardly tell."""

    def curves(self) -> CurveFamily:
        """The model under every curve that is compared."""
        ...

    def restricted(self, rows: Flags) -> Curved:
        """The same model in which only the marked rows [N] enter the likelihood."""
        ...


class CauseKind(enum.Enum):
    """What is changed about the model."""

    OUTLIERS = "outliers"
    ADSTOCK_WINDOW = "adstock_window"
    SATURATION = "saturation"
    CONTROL_DROPPED = "control_dropped"
    COLUMN_ADDED = "column_added"
    FIRST_YEAR_DROPPED = "first_year_dropped"
    LAST_YEAR_DROPPED = "last_year_dropped"


@dataclass(frozen=True)
class Alternative:
    """A changed model: what was changed, and of what (`subject`, empty where the kind says it all).

    `same_rows`: it explains the same rows, so that its evidence can be compared with the base model's.
    `log_evidence_gain`: that comparison where the model's own evidence is not it (Student-t errors). `dates` are those
    of the rows that count least, for OUTLIERS.
    """

    kind: CauseKind
    subject: str
    model: Changeable
    same_rows: bool = True
    log_evidence_gain: float | None = None
    dates: tuple[np.datetime64, ...] = ()
