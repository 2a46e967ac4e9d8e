"""Which data a prior has seen, and the refusal to use them with it again (methods/conflict.md §12, double use of data).

A prior comes to see data through an accepted update. What it has seen is written down, flattened, when the belief is
made: the rows behind the update itself and all that the beliefs before it had seen, through updates and pools alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from liftos.bayes.rules import Violation
from liftos.bayes.v1 import common_pb2, dataset_pb2, elicitation_pb2, prior_update_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence import uploads as datasets
from persistence.data_windows import add_seen, analysed_windows, find_window, seen_by, store_window, updated_windows
from persistence.tables import (
    ClientPrior,
    Conflict,
    Dataset,
    DataWindow,
    ElicitedSession,
    RecommendedUpdate,
    RegisteredModel,
)
from server.contract.errors import Reason, ServiceError, not_found
from server.contract.families.registry import registered
from server.contract.period import Period
from server.contract.wire import date_range, dtype_of, from_json, to_json
from server.records.content import Geos, stored_columns
from server.records.lookups import by_pk, dataset_of, owned
from server.records.rows import dataset_window, month_digests, overlap, shares_rows, summary_window
from server.records.sessions import beliefs_of, spec_of
from server.texts.overlaps import explain_overlaps, overlapping_days


async def window_of(session: AsyncSession, model: RegisteredModel, period: Period) -> DataWindow:
    """The rows that a model's answer over a period uses, stored with the digests of their values."""
    dataset = await dataset_of(session, model)
    if dataset is None:
        stated = registered(model.family).stated_data(spec_of(model))
        assert stated is not None
        return await store_window(session, summary_window(model.client_id, stated))
    window = dataset_window(dataset, period)
    stored = await find_window(session, window.client_id, window.window_key)
    if stored is not None:
        return stored
    window.digests = await _digests(session, dataset, window)
    return await store_window(session, window)


async def window_behind(session: AsyncSession, conflict: Conflict) -> DataWindow:
    """The rows that an analysis has used; those of analyses that did not write them down yet come from the model."""
    if conflict.window_pk is not None:
        return await session.get_one(DataWindow, conflict.window_pk)
    return await window_of(session, await by_pk(session, RegisteredModel, conflict.model_pk), Period.of(conflict))


async def _digests(session: AsyncSession, dataset: Dataset, window: DataWindow) -> dict[str, dict[str, str]]:
    """Digests of the values in a window; the content is stored column by column, so that only three are read."""
    geos = Geos(np.zeros(dataset.row_count, np.int32))
    values: dict[dataset_pb2.ColumnRole.ValueType, npt.NDArray[Any]] = {}
    offset = 0
    for column in stored_columns(dataset):
        dtype = dtype_of(column.element_type)
        end = offset + dtype.itemsize * dataset.row_count
        if column.role in (dataset_pb2.COLUMN_ROLE_TIME, dataset_pb2.COLUMN_ROLE_GEO, dataset_pb2.COLUMN_ROLE_KPI):
            values[column.role] = np.frombuffer(await datasets.read_range(session, dataset, offset, end), dtype)
            if column.role == dataset_pb2.COLUMN_ROLE_GEO:
                geos = Geos(values[column.role], tuple(column.categories))
        offset = end
    dates = values[dataset_pb2.COLUMN_ROLE_TIME].astype("datetime64[D]")
    return await asyncio.to_thread(month_digests, dates, values[dataset_pb2.COLUMN_ROLE_KPI], geos, window)


async def overlaps_of(
    session: AsyncSession, window: DataWindow, beliefs: Sequence[ClientPrior], session_id: str = ""
) -> list[common_pb2.DataOverlap]:
    """The rows of a window that priors have seen already, by belief.

    `session_id` goes before the names of beliefs that are not of the session that is analysed.
    """
    names = {prior.pk: f"{session_id}/{prior.belief_id}" if session_id else prior.belief_id for prior in beliefs}
    overlaps = []
    for seen, behind, update in await seen_by(session, names):
        if (common := overlap(window, behind)) is not None:
            common.belief_id, common.update_id = names[seen.prior_pk], str(update.pk)
            overlaps.append(common)
    return overlaps


def already_used(
    overlaps: Sequence[common_pb2.DataOverlap], *, exploratory: bool, summary: bool = False
) -> ServiceError:
    """The refusal to use data with a prior that has seen them; `exploratory`: whether the request could insist.

    `summary`: the data are those of a summary, which has no rows to choose.
    """
    return ServiceError(
        Reason.DATA_ALREADY_USED,
        explain_overlaps(overlaps, exploratory=exploratory, summary=summary),
        metadata={"overlap": overlapping_days(overlaps)},
    )


async def refuse_seen(
    session: AsyncSession, model: RegisteredModel, period: Period, beliefs: Sequence[ClientPrior]
) -> None:
    """Refuse to use a model's data with beliefs that have seen them, where there is no exploratory use."""
    if not await seen_by(session, [prior.pk for prior in beliefs]):
        return
    if overlaps := await overlaps_of(session, await window_of(session, model, period), beliefs):
        raise already_used(overlaps, exploratory=False, summary=model.dataset_pk is None)


@dataclass(frozen=True)
class Origin:
    """Where a belief comes from: a belief before it, and the update that stands between the two, if one does."""

    prior: ClientPrior
    update: RecommendedUpdate | None = None
    change: prior_update_pb2.BeliefUpdate | None = None


async def accepted_update(
    session: AsyncSession, client_id: str, update_id: str, field: str = "update_id"
) -> RecommendedUpdate:
    """The client's update with this id; only what was accepted can be used."""
    update = await owned(session, RecommendedUpdate, client_id, update_id, field=field)
    if update.state != "ACCEPTED":
        raise ServiceError(
            Reason.INVALID_STATE,
            f"update {update_id} is {update.state}; only an accepted one can be used",
            metadata={"state": update.state},
        )
    return update


def change_of(update: RecommendedUpdate, belief_id: str, field: str = "belief_id") -> prior_update_pb2.BeliefUpdate:
    """What an update made of a belief; ServiceError NOT_FOUND when it is not about it."""
    result = from_json(update.result or {}, prior_update_pb2.PriorUpdate())
    for belief in result.beliefs:
        if belief.belief_id == belief_id:
            return belief
    raise not_found("belief of the update", belief_id, field)


async def origins(session: AsyncSession, client_id: str, statement: elicitation_pb2.BeliefStatement) -> list[Origin]:
    """The beliefs that a statement was made of; none for a statement of the client's own."""
    if statement.HasField("updated_prior"):
        stated = statement.updated_prior
        update = await owned(session, RecommendedUpdate, client_id, stated.update_id)
        change = change_of(update, stated.belief_id)
        before = await _belief_of(session, update.session_pk, stated.belief_id)
        return [Origin(before, update, change)]
    pooled = []
    for member in statement.pooled.members:
        expert = await owned(session, ElicitedSession, client_id, member.session_id)
        pooled.append(Origin(await _belief_of(session, expert.pk, member.belief_id)))
    return pooled


async def _belief_of(session: AsyncSession, session_pk: object, belief_id: str) -> ClientPrior:
    statement = select(ClientPrior).where(ClientPrior.session_pk == session_pk, ClientPrior.belief_id == belief_id)
    return (await session.scalars(statement)).one()


async def inherit(session: AsyncSession, client_id: str, prior: ClientPrior) -> None:
    """Write down what a new belief has seen; call it once its row is flushed.

    An update that changed the belief adds the rows of its analysis and its experiments; one that left it as it was
    passes on only what the belief had seen before.
    """
    belief = from_json(prior.belief, elicitation_pb2.Belief())
    seen, experiments = [], []
    for origin in await origins(session, client_id, belief.statement):
        if origin.update is not None and origin.change is not None and origin.change.changed:
            conflict = await by_pk(session, Conflict, origin.update.conflict_pk)
            seen.append(((await window_behind(session, conflict)).pk, origin.update.pk, False))
            result = from_json(origin.update.result or {}, prior_update_pb2.PriorUpdate())
            experiments += [e.experiment_id for e in result.experiments if e.estimand == origin.change.estimand]
        seen += [(window.pk, update.pk, True) for _, window, update in await seen_by(session, [origin.prior.pk])]
        experiments += from_json(origin.prior.belief, elicitation_pb2.Belief()).experiment_ids
    if not seen and not experiments:
        return
    await add_seen(session, prior.pk, seen)
    # What a belief has seen never changes, so that the message can carry a copy.
    belief.seen.extend(
        seen_message(window, str(update.pk), inherited=lineage.inherited)
        for lineage, window, update in await seen_by(session, [prior.pk])
    )
    belief.experiment_ids.extend(dict.fromkeys(experiments))
    prior.belief = to_json(belief)
    await session.flush()


def seen_message(window: DataWindow, update_id: str = "", *, inherited: bool = False) -> common_pb2.SeenData:
    """A stored window as a message."""
    return common_pb2.SeenData(
        dataset_id=window.dataset_id,
        dataset_sha256=window.dataset_sha256,
        kpi=window.kpi,
        window=date_range(window.first_date, window.last_date),
        rows=window.row_count,
        update_id=update_id,
        inherited=inherited,
    )


async def lineage_of(
    session: AsyncSession,
    conflict: Conflict,
    updates: Sequence[prior_update_pb2.BeliefUpdate],
    experiments: Iterable[common_pb2.Experiment] = (),
) -> prior_update_pb2.Lineage:
    """What an update of the beliefs of an analysis is derived from.

    The beliefs that the update itself replaces come last in `replaced`, with an empty `update_id`: it has none yet.
    """
    window = await window_behind(session, conflict)
    model = await by_pk(session, RegisteredModel, conflict.model_pk)
    priors = await beliefs_of(session, conflict.session_pk)
    before = {
        (w.pk, u.pk): seen_message(w, str(u.pk), inherited=True)
        for _, w, u in await seen_by(session, [p.pk for p in priors])
    }
    ancestors = await _ancestors(session, conflict.client_id, priors)
    used = [name for p in priors for name in from_json(p.belief, elicitation_pb2.Belief()).experiment_ids]
    return prior_update_pb2.Lineage(
        analysis_id=str(conflict.pk),
        window=date_range(window.first_date, window.last_date),
        dataset_id=window.dataset_id,
        dataset_sha256=window.dataset_sha256,
        seen=[seen_message(window), *before.values()],
        parent_update_ids=dict.fromkeys(str(update.pk) for update, _ in ancestors),
        experiment_ids=dict.fromkeys([*used, *(experiment.experiment_id for experiment in experiments)]),
        replaced=[
            prior_update_pb2.ReplacedBelief(
                update_id=update_id,
                belief_id=change.belief_id,
                before=change.before_summary,
                log_bayes_factor=change.log_bayes_factor,
            )
            for update_id, change in [
                *((str(update.pk), change) for update, change in reversed(ancestors)),
                *(("", change) for change in updates),
            ]
            if change.changed
        ],
        model_hash=model.model_hash,
    )


async def _ancestors(
    session: AsyncSession, client_id: str, priors: Sequence[ClientPrior]
) -> list[tuple[RecommendedUpdate, prior_update_pb2.BeliefUpdate]]:
    """The updates that beliefs came from, through all generations, nearest first, with what each did to the belief."""
    ancestors: dict[tuple[object, str], tuple[RecommendedUpdate, prior_update_pb2.BeliefUpdate]] = {}
    generation = list(priors)
    while generation:
        before: list[ClientPrior] = []
        for prior in generation:
            statement = from_json(prior.belief, elicitation_pb2.Belief()).statement
            for origin in await origins(session, client_id, statement):
                before.append(origin.prior)
                if origin.update is not None and origin.change is not None:
                    ancestors.setdefault((origin.update.pk, origin.change.belief_id), (origin.update, origin.change))
        generation = before
    return list(ancestors.values())


def refuse_used_experiments(priors: Sequence[ClientPrior], experiments: Sequence[common_pb2.Experiment]) -> None:
    """Refuse experiments that have gone into one of the beliefs already."""
    for prior in priors:
        used = set(from_json(prior.belief, elicitation_pb2.Belief()).experiment_ids)
        for index, experiment in enumerate(experiments):
            if experiment.experiment_id in used:
                message = f"experiment {experiment.experiment_id!r} has gone into belief {prior.belief_id!r} already"
                raise ServiceError(
                    Reason.DATA_ALREADY_USED,
                    message,
                    violations=[Violation(f"experiments[{index}].experiment_id", message)],
                    metadata={"experiment_id": experiment.experiment_id},
                )


async def looks_at(session: AsyncSession, window: DataWindow, priors: Sequence[ClientPrior]) -> int:
    """How often the client has analysed these unknowns under rows of the window, with an analysis that ends now."""
    earlier = await analysed_windows(session, window.client_id, _unknowns(priors))
    return 1 + sum(shares_rows(window, other) for other in earlier)


async def updates_from(session: AsyncSession, conflict: Conflict) -> int:
    """How often updates of these unknowns were recommended under rows of an analysis, with one that is made now."""
    window = await window_behind(session, conflict)
    about = _unknowns(await beliefs_of(session, conflict.session_pk))
    earlier = await updated_windows(session, conflict.client_id, about)
    return 1 + sum(shares_rows(window, other) for other in earlier)


def _unknowns(priors: Sequence[ClientPrior]) -> set[tuple[str, str]]:
    return {(prior.quantity, prior.channel) for prior in priors}
