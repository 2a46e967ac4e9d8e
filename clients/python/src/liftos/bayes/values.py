"""Values of the contract from plain Python values: enums by short name, estimands, money, distributions, beliefs."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast

from google.protobuf.message import DecodeError, Message
from liftos.bayes.errors import InvalidArgument, invalid_argument
from liftos.bayes.rules import Violation
from liftos.bayes.v1 import common_pb2, elicitation_pb2

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper  # of the stubs only

M = TypeVar("M", bound=Message)
V = TypeVar("V", bound=int)
_UNFIT = (ValueError, TypeError, DecodeError)  # UnicodeEncodeError is a ValueError


@contextlib.contextmanager
def python_values() -> Iterator[None]:
    """Turn what protobuf raises for a value that its type cannot hold into InvalidArgument.

    An integer beyond 32 or 64 bits raises ValueError in the message's constructor, a lone surrogate
    UnicodeEncodeError, a value of another kind TypeError, a message nested 100 deep DecodeError; none names the field.
    """
    try:
        yield
    except _UNFIT as error:
        raise InvalidArgument(f"a value does not fit its field: {error}", reason="INVALID_FIELD") from error


def built(kind: Callable[..., M], path: str, **fields: Any) -> M:
    """The message with these fields; InvalidArgument names the one that cannot hold its value, below `path`."""
    with python_values():
        try:
            return kind(**fields)
        except _UNFIT:
            for name, value in fields.items():
                try:
                    kind(**{name: value})
                except _UNFIT as own:
                    field = f"{path}.{name}" if path else name
                    raise invalid_argument([Violation(field, f"cannot hold {value!r}: {own}")]) from own
            raise


def enum_value(enum: _EnumTypeWrapper[V], value: str | int | None, field: str) -> V:
    """The number of an enum value given by its number, full name or short name in any case; None means 0.

    `enum_value(UpdateStrategy, "evidence_weighted", "update_strategy")` is UPDATE_STRATEGY_EVIDENCE_WEIGHTED. Raises
    InvalidArgument naming `field` and the known names.
    """
    if value is None:
        return cast(V, 0)
    descriptor = enum.DESCRIPTOR
    if isinstance(value, int):
        return cast(V, value)  # the rules refuse numbers that the contract does not define
    # X_UNSPECIFIED is the one name that every enum has, so it tells the prefix.
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    wanted = value.strip().upper().replace("-", "_").replace(" ", "_")
    for name in (prefix + wanted, wanted):
        if (member := descriptor.values_by_name.get(name)) is not None and name.startswith(prefix):
            return cast(V, member.number)
    known = ", ".join(v.name.removeprefix(prefix).lower() for v in descriptor.values if v.number != 0)
    raise invalid_argument([Violation(field, f"{value!r} is not one of {known}")])


def estimand(quantity: str | int, channel: str = "") -> common_pb2.Estimand:
    """What a belief is about, with the quantity by number or short name, for example `"roi"`.

    Every quantity needs a channel but `"total_media_share_of_outcome"`, which must have none.
    """
    with python_values():
        return common_pb2.Estimand(quantity=_quantity(quantity), channel=channel)


def _quantity(value: str | int) -> common_pb2.Quantity.ValueType:
    return enum_value(common_pb2.Quantity, value, "estimand.quantity")


def roi(channel: str) -> common_pb2.Estimand:
    """Incremental outcome per unit of spend."""
    return estimand(common_pb2.QUANTITY_ROI, channel)


def marginal_roi(channel: str) -> common_pb2.Estimand:
    """Incremental outcome of the last per cent of spend, per unit of spend."""
    return estimand(common_pb2.QUANTITY_MARGINAL_ROI, channel)


def share_of_outcome(channel: str) -> common_pb2.Estimand:
    """Incremental outcome over the observed total outcome of the window, between 0 and 1."""
    return estimand(common_pb2.QUANTITY_SHARE_OF_OUTCOME, channel)


def share_of_media(channel: str) -> common_pb2.Estimand:
    """Incremental outcome over the incremental outcome of all channels, between 0 and 1."""
    return estimand(common_pb2.QUANTITY_SHARE_OF_MEDIA, channel)


def share_of_modelled(channel: str) -> common_pb2.Estimand:
    """Incremental outcome over the modelled total outcome of the window."""
    return estimand(common_pb2.QUANTITY_SHARE_OF_MODELLED, channel)


def incremental_outcome(channel: str) -> common_pb2.Estimand:
    """Incremental outcome of the window, in outcome units."""
    return estimand(common_pb2.QUANTITY_INCREMENTAL_OUTCOME, channel)


def half_life(channel: str) -> common_pb2.Estimand:
    """Half-life of the carry-over, in time steps of the data set."""
    return estimand(common_pb2.QUANTITY_HALF_LIFE, channel)


def half_saturation(channel: str) -> common_pb2.Estimand:
    """Exposure of half the saturated effect, in multiples of the channel's mean positive exposure."""
    return estimand(common_pb2.QUANTITY_HALF_SATURATION, channel)


def retention(channel: str) -> common_pb2.Estimand:
    """Share of the effect carried over from one time step to the next, between 0 and 1."""
    return estimand(common_pb2.QUANTITY_RETENTION, channel)


def coefficient(name: str) -> common_pb2.Estimand:
    """Of a channel: KPI per time step at full saturation; of a control: change of the KPI per unit of its column.

    Both in KPI units, and per head in a panel. A channel with linear media: per mean positive exposure.
    """
    return estimand(common_pb2.QUANTITY_COEFFICIENT, name)


def total_media_share_of_outcome() -> common_pb2.Estimand:
    """Incremental outcome of all channels together over the observed total outcome of the window, above 0."""
    return estimand(common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME)


def usd(amount: int | float | str | Decimal) -> common_pb2.Money:
    """An amount in US dollars, for example `usd(1_500_000)`; raises InvalidArgument for fractions of a cent."""
    try:
        cents = Decimal(str(amount)) * 100
    except InvalidOperation:
        cents = Decimal("NaN")
    problem = ""
    if not cents.is_finite():
        problem = f"{amount!r} is no amount: digits only, for example 1500000 or 99.50, in US dollars"
    elif cents != cents.to_integral_value():
        problem = f"{amount!r} is not a whole number of cents"
    if problem:
        raise invalid_argument([Violation("business_impact.minor_units", problem)])
    return money(int(cents), "USD")


def checked_money(value: Any, field: str) -> common_pb2.Money | None:
    """The amount, or None; InvalidArgument naming `field` for a bare number, whose currency nobody knows."""
    if value is None or isinstance(value, common_pb2.Money):
        return value
    raise invalid_argument([Violation(field, f"{value!r} has no currency: give usd({value!r}), or money(…)")])


def money(minor_units: int, currency: str) -> common_pb2.Money:
    """An amount in minor units of an ISO 4217 currency, for example `money(150_00, "EUR")` for 150 euros."""
    with python_values():
        return common_pb2.Money(minor_units=minor_units, currency=currency)


def experiment(
    experiment_id: str,
    about: common_pb2.Estimand,
    *,
    estimate: float,
    standard_error: float,
    first_date: str | datetime.date = "",
    last_date: str | datetime.date = "",
    scope: str = "",
) -> common_pb2.Experiment:
    """A randomised experiment about a quantity, with its estimate and standard error in the units of the quantity.

    `first_date` and `last_date`, ISO 8601, say when it ran, `scope` where or on whom.
    """
    window = built(common_pb2.DateRange, "window", first_date=str(first_date), last_date=str(last_date))
    return built(
        common_pb2.Experiment,
        "",
        experiment_id=experiment_id,
        estimand=about,
        estimate=estimate,
        standard_error=standard_error,
        window=window if first_date or last_date else None,
        scope=scope,
    )


def normal(mean: float, sd: float) -> common_pb2.Distribution:
    """Normal distribution, in the units of the quantity."""
    return common_pb2.Distribution(normal=common_pb2.Normal(mean=mean, sd=sd))


def log_normal(log_mean: float, log_sd: float) -> common_pb2.Distribution:
    """Log-normal distribution by mean and standard deviation of the natural logarithm."""
    return common_pb2.Distribution(log_normal=common_pb2.LogNormal(log_mean=log_mean, log_sd=log_sd))


def beta(alpha: float, beta: float) -> common_pb2.Distribution:
    """Beta distribution on [0, 1]."""
    return common_pb2.Distribution(beta=common_pb2.Beta(alpha=alpha, beta=beta))


def truncated_normal(location: float, scale: float, lower: float, upper: float) -> common_pb2.Distribution:
    """Normal distribution truncated to [lower, upper], which may be infinite."""
    return common_pb2.Distribution(
        truncated_normal=common_pb2.TruncatedNormal(location=location, scale=scale, lower=lower, upper=upper)
    )


def half_normal(scale: float) -> common_pb2.Distribution:
    """Half-normal distribution."""
    return common_pb2.Distribution(half_normal=common_pb2.HalfNormal(scale=scale))


def gamma(shape: float, rate: float) -> common_pb2.Distribution:
    """Gamma distribution by shape and rate."""
    return common_pb2.Distribution(gamma=common_pb2.Gamma(shape=shape, rate=rate))


def student_t(df: float, location: float, scale: float) -> common_pb2.Distribution:
    """Student's t distribution with location and scale."""
    return common_pb2.Distribution(student_t=common_pb2.StudentT(df=df, location=location, scale=scale))


def uniform(lower: float, upper: float) -> common_pb2.Distribution:
    """Uniform distribution on [lower, upper]."""
    return common_pb2.Distribution(uniform=common_pb2.Uniform(lower=lower, upper=upper))


def mixture(*components: tuple[float, common_pb2.Distribution]) -> common_pb2.Distribution:
    """Finite mixture of (weight, distribution) pairs; the weights sum to one."""
    return common_pb2.Distribution(
        mixture=common_pb2.Mixture(
            components=[common_pb2.MixtureComponent(weight=w, distribution=d) for w, d in components]
        )
    )


class Stated(TypedDict, total=False):
    """A belief in one of eight forms, and for the first five perhaps the family to fit.

    - `mean`, `plus_minus` and its `meaning`, `"sd"` or `"interval_half_width"` (then with `level`), which has no
      default: "± 10 %" alone says nothing.
    - `quantiles`, {probability: value}.
    - `range` (lower, upper) with the `probability` inside, perhaps with a `mean` or `mode` that the law must have.
    - `roulette`, (edges, chips): at least 5 bins and 10 chips.
    - `mode_and_bounds`, (lower, mode, upper), read as PERT does.
    - `distribution`, given outright.
    - `pooled`, (session_id, belief_id) or (session_id, belief_id, weight) of each expert, with `method` `"linear"`
      (default) or `"logarithmic"`.
    - `updated_prior`, (update_id, belief_id): what an accepted update left of a belief.
    """

    mean: float | None
    plus_minus: float | None
    meaning: str | int | None
    level: float | None
    quantiles: Mapping[float, float] | Sequence[tuple[float, float]] | None
    range: tuple[float, float] | None
    probability: float | None
    mode: float | None
    roulette: tuple[Sequence[float], Sequence[int]] | None
    mode_and_bounds: tuple[float, float, float] | None
    distribution: common_pb2.Distribution | None
    pooled: Sequence[tuple[str, str] | tuple[str, str, float]] | None
    method: str | int | None
    updated_prior: tuple[str, str] | None
    family: str | int | None


_FORMS: Mapping[str, frozenset[str]] = {
    "mean_plus_minus": frozenset({"mean", "plus_minus", "meaning", "level"}),
    "quantiles": frozenset({"quantiles"}),
    "range": frozenset({"range", "probability", "mean", "mode"}),
    "roulette": frozenset({"roulette"}),
    "mode_and_bounds": frozenset({"mode_and_bounds"}),
    "distribution": frozenset({"distribution"}),
    "pooled": frozenset({"pooled", "method"}),
    "updated_prior": frozenset({"updated_prior"}),
}


def statement(**stated: Unpack[Stated]) -> elicitation_pb2.BeliefStatement:
    """A belief as a message, from the parts that `Stated` describes.

    Raises InvalidArgument when not exactly one form is given, or a part of it is missing.
    """
    if unknown := sorted(stated.keys() - Stated.__annotations__.keys()):
        raise TypeError(f"no such part of a statement: {', '.join(unknown)}")
    given = {name: value for name, value in stated.items() if value is not None}
    family = given.pop("family", None)
    # A mean belongs to two forms; what is named like its form decides.
    named = [form for form in _FORMS if form in given] or [form for form in _FORMS if given.keys() & _FORMS[form]][:1]
    if len(named) != 1 or not given.keys() <= _FORMS[named[0]]:
        problem = (
            "give exactly one of mean with plus_minus and meaning, quantiles, range with probability, roulette, "
            "mode_and_bounds, distribution, pooled, or updated_prior"
        )
        raise invalid_argument([Violation("statement.form", problem)])
    with python_values():
        message = _FORM[named[0]](given)
        message.family = enum_value(common_pb2.PriorFamily, family, "statement.family")  # type: ignore[arg-type]
        return message


def _need(path: str, given: Mapping[str, Any], *names: str) -> None:
    if missing := [name for name in names if name not in given]:
        raise invalid_argument([Violation(f"{path}.{name}", "is required") for name in missing])


def mean_plus_minus(path: str, given: Mapping[str, Any]) -> elicitation_pb2.MeanPlusMinus:
    """The message of `mean`, `plus_minus`, `meaning` and perhaps `level`; InvalidArgument names fields below `path`."""
    _need(path, given, "mean", "plus_minus")
    if "meaning" not in given:
        problem = 'is required: "sd" for a standard deviation, or "interval_half_width" with the interval\'s `level`'
        raise invalid_argument([Violation(f"{path}.meaning", problem)])
    return built(
        elicitation_pb2.MeanPlusMinus,
        path,
        mean=given["mean"],
        plus_minus=given["plus_minus"],
        meaning=enum_value(elicitation_pb2.PlusMinusMeaning, given["meaning"], f"{path}.meaning"),
        level=given.get("level"),
    )


def _mean_form(given: Mapping[str, Any]) -> elicitation_pb2.BeliefStatement:
    return elicitation_pb2.BeliefStatement(mean_plus_minus=mean_plus_minus("statement.mean_plus_minus", given))


def _quantile_form(given: Mapping[str, Any]) -> elicitation_pb2.BeliefStatement:
    quantiles = given["quantiles"]
    pairs = sorted(quantiles.items() if isinstance(quantiles, Mapping) else quantiles)
    stated = built(
        elicitation_pb2.QuantileStatement,
        "statement.quantiles",
        probabilities=[probability for probability, _ in pairs],
        values=[value for _, value in pairs],
    )
    return elicitation_pb2.BeliefStatement(quantiles=stated)


def _range_form(given: Mapping[str, Any]) -> elicitation_pb2.BeliefStatement:
    _need("statement.range", given, "range", "probability")
    lower, upper = given["range"]
    stated = built(
        elicitation_pb2.RangeStatement,
        "statement.range",
        lower=lower,
        upper=upper,
        probability=given["probability"],
        mean=given.get("mean"),
        mode=given.get("mode"),
    )
    return elicitation_pb2.BeliefStatement(range=stated)


def _roulette_form(given: Mapping[str, Any]) -> elicitation_pb2.BeliefStatement:
    edges, chips = given["roulette"]
    stated = built(elicitation_pb2.RouletteStatement, "statement.roulette", edges=list(edges), chips=list(chips))
    return elicitation_pb2.BeliefStatement(roulette=stated)


def _mode_form(given: Mapping[str, Any]) -> elicitation_pb2.BeliefStatement:
    lower, mode, upper = given["mode_and_bounds"]
    stated = built(elicitation_pb2.ModeAndBounds, "statement.mode_and_bounds", mode=mode, lower=lower, upper=upper)
    return elicitation_pb2.BeliefStatement(mode_and_bounds=stated)


def _distribution_form(given: Mapping[str, Any]) -> elicitation_pb2.BeliefStatement:
    return elicitation_pb2.BeliefStatement(distribution=given["distribution"])


def _pooled_form(given: Mapping[str, Any]) -> elicitation_pb2.BeliefStatement:
    _need("statement.pooled", given, "pooled")
    method = enum_value(elicitation_pb2.PoolMethod, given.get("method"), "statement.pooled.method")
    members = [
        elicitation_pb2.PooledMember(session_id=session_id, belief_id=belief_id, weight=weight[0] if weight else None)
        for session_id, belief_id, *weight in given["pooled"]
    ]
    pooled = elicitation_pb2.PooledStatement(method=method, members=members)
    return elicitation_pb2.BeliefStatement(pooled=pooled)


def _updated_form(given: Mapping[str, Any]) -> elicitation_pb2.BeliefStatement:
    update_id, belief_id = given["updated_prior"]
    stated = elicitation_pb2.UpdatedPriorStatement(update_id=update_id, belief_id=belief_id)
    return elicitation_pb2.BeliefStatement(updated_prior=stated)


_FORM: Mapping[str, Callable[[Mapping[str, Any]], elicitation_pb2.BeliefStatement]] = {
    "mean_plus_minus": _mean_form,
    "quantiles": _quantile_form,
    "range": _range_form,
    "roulette": _roulette_form,
    "mode_and_bounds": _mode_form,
    "distribution": _distribution_form,
    "pooled": _pooled_form,
    "updated_prior": _updated_form,
}
