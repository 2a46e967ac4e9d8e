"""Statements of the contract compiled to distributions, with how well these say them and what else they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

from liftos.bayes.rules import Violation
from liftos.bayes.v1 import common_pb2, elicitation_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.distributions.distribution import Distribution, Normal, TruncatedNormal
from engine.distributions.families import RULES, Family, admissible, chosen, describe, family_of
from engine.distributions.support import UNIT_INTERVAL, Support
from engine.elicitation.mass import fit_range
from engine.elicitation.moments import Meaning, fit_mean_plus_minus, fit_mode_and_bounds, standard_deviation
from engine.elicitation.pool import disagreement, linear_pool, log_pool
from engine.elicitation.quantiles import fit_quantiles
from engine.elicitation.roulette import fit_roulette
from engine.elicitation.statement import Fit, Fitted, band
from engine.errors import InvalidInput
from persistence.tables import ClientPrior, ElicitedSession
from server.contract.errors import Reason, ServiceError, invalid_field, not_found
from server.contract.wire import label, value_of
from server.records.lookups import owned
from server.records.sessions import belief_message
from server.texts.formats import shown
from server.worker.conversion import to_law

MAX_OUTSIDE = 0.01
"""Largest probability outside the support with which a normal is truncated rather than refused."""
POOLS = {
    elicitation_pb2.POOL_METHOD_UNSPECIFIED: linear_pool,
    elicitation_pb2.POOL_METHOD_LINEAR: linear_pool,
    elicitation_pb2.POOL_METHOD_LOGARITHMIC: log_pool,
}

UNTOLD = (0.05, 1.0 / 3.0, 2.0 / 3.0, 0.95)
"""Quantiles that nobody is asked for and everybody is told (methods/conflict.md §13)."""


@dataclass(frozen=True)
class Place:
    """What a statement is about: in words, and where it lives.

    `natural` is where the quantity lives by its nature, `beliefs` where beliefs about it do by default; they differ for
    a summary, whose beliefs are normal unless another family is asked for.
    """

    quantity: int
    about: str
    natural: Support
    beliefs: Support


@dataclass(frozen=True)
class Member:
    """A belief in a pool, as `session/belief`."""

    name: str
    law: Distribution
    weight: float


@dataclass(frozen=True)
class Compiled:
    """A compiled statement."""

    distribution: Distribution
    notes: list[str]
    fit: elicitation_pb2.StatementFit
    disagreement: list[elicitation_pb2.Disagreement] = field(default_factory=list)


def check_range(statement: elicitation_pb2.BeliefStatement, natural: Support) -> None:
    """Refuse values that a quantity which lives there cannot have, above all a share given in per cent."""
    form = str(statement.WhichOneof("form"))
    stated = getattr(statement, form)
    hint = "; a share of 50 % is 0.5" if natural == UNIT_INTERVAL else ""
    inner: dict[str, float] = {}
    ends: dict[str, float] = {}
    match form:
        case "mean_plus_minus":
            inner["mean"] = stated.mean
        case "quantiles":
            inner |= {f"values[{index}]": value for index, value in enumerate(stated.values)}
        case "range":
            ends |= {"lower": stated.lower, "upper": stated.upper}
            inner |= {name: getattr(stated, name) for name in ("mean", "mode") if stated.HasField(name)}
        case "mode_and_bounds":
            ends |= {name: getattr(stated, name) for name in ("lower", "mode", "upper")}
        case "roulette":
            for index, chips in enumerate(stated.chips):
                if chips > 0 and not natural.lower <= stated.edges[index] < stated.edges[index + 1] <= natural.upper:
                    message = f"lie on a bin outside ({natural.lower:g}, {natural.upper:g}){hint}"
                    raise InvalidInput(f"statement.roulette.chips[{index}]", message)
        case "distribution" | "pooled" | "updated_prior":
            pass  # a law as a whole, which is judged when it is compiled
        case _:
            raise AssertionError(f"the range of a statement in the form {form} is not checked")
    for name, value in inner.items():
        if not natural.lower < value < natural.upper:
            message = f"{value:g} is outside ({natural.lower:g}, {natural.upper:g}){hint}"
            raise InvalidInput(f"statement.{form}.{name}", message)
    for name, value in ends.items():
        if not natural.lower <= value <= natural.upper:
            message = f"{value:g} is outside [{natural.lower:g}, {natural.upper:g}]{hint}"
            raise InvalidInput(f"statement.{form}.{name}", message)


def compile_statement(
    statement: elicitation_pb2.BeliefStatement, place: Place, members: Sequence[Member] = ()
) -> Compiled:
    """The distribution of a statement; InvalidInput with the path of the field to blame.

    `members` are those of a pooled statement, in its order.
    """
    form = str(statement.WhichOneof("form"))
    path = f"statement.{form}"
    if form == "distribution":
        return compile_given(statement.distribution, place, path=path)
    if form == "pooled":
        return _pooled(statement.pooled, place, members)
    family, support = _family(statement, place)
    fit = _fitter(statement, support)
    try:
        fitted = fit(family)
    except InvalidInput as error:
        where = "statement.family" if error.field == "family" else f"{path}.{error.field}"
        raise InvalidInput(where, error.message) from None
    _check_finite(fitted.distribution, path)
    return Compiled(fitted.distribution, list(fitted.notes), fit_message(fitted.distribution, place, fitted, fit))


def compile_given(given: common_pb2.Distribution, place: Place, *notes: str, path: str = "statement") -> Compiled:
    """A distribution that is what it is, with notes that go before its own."""
    law, own = _on_support(to_law(given, path), place, path)
    _check_finite(law, path)
    return Compiled(law, [*notes, *own], fit_message(law, place))


def _check_finite(law: Distribution, path: str) -> None:
    """Refuse a law with parameters so extreme that its quantiles are no numbers any more."""
    if not all(math.isfinite(float(law.ppf(p))) for p in (*UNTOLD, 0.5)):
        raise InvalidInput(path, f"has quantiles beyond what can be computed: {describe(law)}")


def refuse_narrower(law: Distribution, place: Place) -> None:
    """Refuse a belief that rules out values which its quantity can have.

    Cromwell's rule (Lindley 1985): no data could move such a belief there. A recentred one cannot follow the data
    either, so the Bayes factor would understate the evidence and an update would pile up at the end of the range.
    """
    if law.support in (place.natural, place.beliefs):
        return
    raise InvalidInput(
        "statement.family",
        f"a belief that lives on ({law.support.lower:g}, {law.support.upper:g}) alone rules out other values of a "
        f"quantity that lives on ({place.natural.lower:g}, {place.natural.upper:g}), whatever the data say; take "
        f"another family",
    )


def _family(statement: elicitation_pb2.BeliefStatement, place: Place) -> tuple[Family, Support]:
    """The family to fit by, and the support on which it does."""
    if not statement.family:
        return chosen(None, place.beliefs), place.beliefs
    family = Family[label(common_pb2.PriorFamily, statement.family)]
    # A uniform law could be had on the whole line, but not where the quantity cannot be.
    order = (place.natural, place.beliefs) if family is Family.UNIFORM else (place.beliefs, place.natural)
    for support in order:
        if support in RULES[family].supports:
            return family, support
    names = ", ".join(
        dict.fromkeys(label(common_pb2.PriorFamily, family_number(f)) for s in order for f in admissible(s))
    )
    raise InvalidInput(
        "statement.family",
        f"{label(common_pb2.PriorFamily, statement.family)} does not live on "
        f"({place.natural.lower:g}, {place.natural.upper:g}), where the quantity does; take one of {names}",
    )


def family_number(family: Family | None) -> common_pb2.PriorFamily.ValueType:
    """The contract's family; UNSPECIFIED for none."""
    number: common_pb2.PriorFamily.ValueType = value_of(common_pb2.PriorFamily, family.name if family else None)
    return number


def _fitter(statement: elicitation_pb2.BeliefStatement, support: Support) -> Fit:
    """Fits the statement by a family that it is given."""

    def fit(family: Family) -> Fitted:
        match statement.WhichOneof("form"):
            case "mean_plus_minus":
                mean = statement.mean_plus_minus
                return fit_mean_plus_minus(mean.mean, mean.plus_minus, *_meaning(mean), support, family)
            case "quantiles":
                asked = statement.quantiles
                return fit_quantiles(list(asked.probabilities), list(asked.values), support, family)
            case "range":
                held = statement.range
                beside = {name: getattr(held, name) for name in ("mean", "mode") if held.HasField(name)}
                return fit_range(held.lower, held.upper, held.probability, support, family, **beside)
            case "roulette":
                return fit_roulette(list(statement.roulette.edges), list(statement.roulette.chips), support, family)
            case "mode_and_bounds":
                pert = statement.mode_and_bounds
                return fit_mode_and_bounds(pert.mode, pert.lower, pert.upper, support, family)
            case form:
                raise AssertionError(f"a statement in the form {form} is not fitted")

    return fit


def _meaning(stated: elicitation_pb2.MeanPlusMinus) -> tuple[Meaning, float | None]:
    meaning = Meaning[label(elicitation_pb2.PlusMinusMeaning, stated.meaning)]
    return meaning, stated.level if stated.HasField("level") else None


def stated_sd(stated: elicitation_pb2.MeanPlusMinus, path: str) -> float:
    """The standard deviation that "mean ± x" states; InvalidInput below `path`."""
    try:
        return standard_deviation(stated.plus_minus, *_meaning(stated))[0]
    except InvalidInput as error:
        raise InvalidInput(f"{path}.{error.field}", error.message) from None


def _on_support(given: Distribution, place: Place, path: str) -> tuple[Distribution, list[str]]:
    """The given distribution, which must live where the quantity does; a normal is truncated to the support."""
    support = place.beliefs
    if given.support in (support, place.natural):
        return given, []
    outside = float(given.cdf(support.lower) + given.sf(support.upper))
    where = f"({support.lower:g}, {support.upper:g})"
    if outside > MAX_OUTSIDE:
        raise InvalidInput(path, f"{outside:.1%} of the probability lies outside {where}, where the quantity lives")
    if isinstance(given, Normal):
        note = f"Truncated to {where}: {outside:.2%} of its probability lay outside."
        return TruncatedNormal(given.mean, given.sd, support.lower, support.upper), [note]
    raise InvalidInput(path, f"must live on {where}, like the quantity; or state mean and plus-or-minus")


# -- how well, and what else ---------------------------------------------------------------------------------------


def fit_message(
    law: Distribution, place: Place, fitted: Fitted | None = None, fit: Fit | None = None
) -> elicitation_pb2.StatementFit:
    """How well a law says its statement, and what it says beside; without a fit only the latter."""
    family = family_of(law)
    message = elicitation_pb2.StatementFit(
        family=family_number(family),
        untold=[elicitation_pb2.Quantile(probability=p, value=float(law.ppf(p))) for p in UNTOLD],
        odds=odds(law, place),
    )
    if fitted is None or family is None:
        return message
    for value, stated, achieved in zip(fitted.values, fitted.asked, fitted.fitted, strict=True):
        message.probabilities.add(value=value, stated=stated, fitted=achieved)
    message.max_error = fitted.max_error
    message.interpolated = fitted.interpolated(family)
    if fit is not None:
        for family_fit in band(fit, law.support if law.support in (place.natural, place.beliefs) else place.natural):
            message.families.add(
                family=family_number(family_fit.family),
                max_error=family_fit.max_error,
                quantile_01=family_fit.quantile_01,
                quantile_99=family_fit.quantile_99,
            )
    return message


def odds(law: Distribution, place: Place) -> list[str]:
    """What a law says in odds: people judge "1 in 20" better than a standard deviation."""
    show = partial(shown, quantity=place.quantity)
    return [
        f"1 in 20 that {place.about} is below {show(float(law.ppf(0.05)))}.",
        f"Even odds that it is above {show(float(law.ppf(0.5)))}.",
        f"1 in 20 that it is above {show(float(law.isf(0.05)))}.",
        f"1 in 100 that it is above {show(float(law.isf(0.01)))}.",
    ]


# -- pools -----------------------------------------------------------------------------------------------------------


async def pool_members(
    session: AsyncSession,
    client_id: str,
    statement: elicitation_pb2.BeliefStatement,
    quantity: int,
    channel: str | None,
) -> list[Member]:
    """The members of a pooled statement, none for another: beliefs of CONFIRMED sessions about the same quantity.

    Without a channel the first member's is taken. Raises ServiceError with the path of the member to blame.
    """
    members: list[Member] = []
    for index, stated in enumerate(statement.pooled.members):
        path = f"statement.pooled.members[{index}]"
        row = await owned(session, ElicitedSession, client_id, stated.session_id, field=f"{path}.session_id")
        if row.state != "CONFIRMED":
            message = f"session {stated.session_id!r} is {row.state}; only confirmed beliefs are pooled"
            raise ServiceError(Reason.INVALID_STATE, message, violations=[Violation(f"{path}.session_id", message)])
        stored = await session.scalar(
            select(ClientPrior).where(ClientPrior.session_pk == row.pk, ClientPrior.belief_id == stated.belief_id)
        )
        if stored is None:
            raise not_found("belief", stated.belief_id, f"{path}.belief_id")
        belief = belief_message(stored)
        channel = belief.estimand.channel if channel is None else channel
        if belief.estimand.quantity != quantity or belief.estimand.channel != channel:
            held = f"{label(common_pb2.Quantity, belief.estimand.quantity).lower()} {belief.estimand.channel}".strip()
            raise invalid_field(f"{path}.belief_id", f"is about another quantity, {held}")
        if belief.role == elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR:
            raise invalid_field(f"{path}.belief_id", "is a factor beside a reference prior: pool whole priors")
        name = f"{stated.session_id}/{stated.belief_id}"
        if name in {member.name for member in members}:
            raise invalid_field(f"{path}.belief_id", f"{name} is named twice; give it a weight instead")
        weight = stated.weight if stated.HasField("weight") else 1.0
        members.append(Member(name, to_law(belief.compiled, path), weight))
    return members


def _pooled(statement: elicitation_pb2.PooledStatement, place: Place, members: Sequence[Member]) -> Compiled:
    pool = POOLS[statement.method]
    logarithmic = pool is log_pool
    try:
        law = pool([member.law for member in members], [member.weight for member in members])
    except InvalidInput as error:
        raise InvalidInput(f"statement.pooled.{error.field}", error.message) from None
    if law.support not in (place.beliefs, place.natural):
        raise InvalidInput("statement.pooled.members", "live where the quantity of this model does not")
    apart = []
    for member, other in combinations(members, 2):
        distances = disagreement(member.law, other.law)
        apart.append(
            elicitation_pb2.Disagreement(
                first=member.name,
                second=other.name,
                wasserstein_scaled=distances.wasserstein_scaled,
                jensen_shannon_nats=distances.jensen_shannon,
            )
        )
    total = math.fsum(member.weight for member in members)
    parts = ", ".join(f"{member.name} ({100 * member.weight / total:.3g} %)" for member in members)
    notes = [f"{'Logarithmic' if logarithmic else 'Linear'} pool of {parts}."]
    if logarithmic:
        notes.append("A logarithmic pool is overconfident where the experts share what they know.")
    notes.append("A pool can hide an expert who is wrong: analyse the members' own sessions too.")
    return Compiled(law, notes, fit_message(law, place), apart)
