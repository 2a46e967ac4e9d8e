"""What beliefs inherit, which rows are refused with them, and who has looked: on rows of the store, without any fit."""

from __future__ import annotations

import datetime
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import common_pb2, dataset_pb2, elicitation_pb2, prior_update_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from persistence import jobs
from persistence import uploads as datasets
from persistence.data_windows import add_seen, seen_by
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import ClientPrior, Conflict, DataWindow, ElicitedSession, RecommendedUpdate, RegisteredModel
from server.contract.errors import ServiceError
from server.contract.period import Period
from server.contract.wire import from_json, to_json
from server.records.lineage import (
    already_used,
    inherit,
    lineage_of,
    looks_at,
    overlaps_of,
    refuse_seen,
    refuse_used_experiments,
    window_behind,
    window_of,
)
from server.records.sessions import correlation_of, forget_correlation

CLIENT = "acme"
TV = share_of_outcome("tv")
WEEKS = np.datetime64("2021-01-04") + 7 * np.arange(104)
"""The last 52 begin on 3 January 2022, which is the cut of 12 months."""
FIRST = Period(240, hold_out=12)
LAST = Period(12)


@dataclass(frozen=True)
class Store:
    """Makes rows of a client."""

    session: AsyncSession

    async def model(self, name: str, kpi: npt.NDArray[np.float64], *, geos: tuple[str, ...] = ()) -> RegisteredModel:
        """A model of a weekly data set: `kpi` [104] for national data, [104 * G] with geos."""
        columns = [
            dataset_pb2.Column(
                name="date", role=dataset_pb2.COLUMN_ROLE_TIME, element_type=common_pb2.ELEMENT_TYPE_DATE32
            ),
            dataset_pb2.Column(
                name="x", role=dataset_pb2.COLUMN_ROLE_EXPOSURE, element_type=common_pb2.ELEMENT_TYPE_FLOAT64
            ),
            dataset_pb2.Column(
                name="y", role=dataset_pb2.COLUMN_ROLE_KPI, element_type=common_pb2.ELEMENT_TYPE_FLOAT64
            ),
        ]
        times = max(len(geos), 1)
        content = np.tile(WEEKS.astype("<i4"), times).tobytes() + np.ones(104 * times).tobytes() + kpi.tobytes()
        if geos:
            columns.append(
                dataset_pb2.Column(
                    name="geo",
                    role=dataset_pb2.COLUMN_ROLE_GEO,
                    element_type=common_pb2.ELEMENT_TYPE_INT32,
                    categories=geos,
                )
            )
            content += np.repeat(np.arange(times, dtype="<i4"), 104).tobytes()
        dataset = await datasets.begin_upload(
            self.session,
            CLIENT,
            f"data-{name}",
            columns=[to_json(column) for column in columns],
            row_count=104 * times,
            total_bytes=len(content),
            fingerprint=name,
        )
        for start in range(0, len(content), 1000):
            piece = content[start : start + 1000]
            await datasets.append_chunk(self.session, dataset, start, piece, zlib.crc32(piece))
        first, last = (day.astype("datetime64[D]").item() for day in (WEEKS[0], WEEKS[-1]))
        await datasets.seal(
            self.session, dataset, sha256=str(zlib.crc32(content)), first_date=first, last_date=last, grain="WEEKLY"
        )
        model = RegisteredModel(
            client_id=CLIENT,
            model_id=name,
            family="additive_mmm/1",
            spec={},
            dataset_pk=dataset.pk,
            parameter_count=6,
            model_hash=f"hash of {name}",
        )
        self.session.add(model)
        await self.session.flush()
        return model

    async def belief(
        self, session_id: str, model: RegisteredModel, statement: elicitation_pb2.BeliefStatement | None = None
    ) -> ClientPrior:
        """A belief about the share of tv as the only one of a session."""
        elicited = ElicitedSession(client_id=CLIENT, session_id=session_id, model_pk=model.pk, state="DRAFT")
        self.session.add(elicited)
        await self.session.flush()
        message = elicitation_pb2.Belief(belief_id="tv", estimand=TV, statement=statement)
        prior = ClientPrior(
            session_pk=elicited.pk,
            belief_id="tv",
            ordinal=0,
            quantity="SHARE_OF_OUTCOME",
            channel="tv",
            belief=to_json(message),
        )
        self.session.add(prior)
        await self.session.flush()
        await inherit(self.session, CLIENT, prior)
        return prior

    async def analysed(
        self, prior: ClientPrior, model: RegisteredModel, period: Period, *, old: bool = False, state: str = "SUCCEEDED"
    ) -> Conflict:
        """An analysis of a belief's session; `old`: by the version that did not note the rows."""
        job = await jobs.create(self.session, CLIENT, "ANALYZE_CONFLICT", b"")
        conflict = Conflict(
            client_id=CLIENT,
            session_pk=prior.session_pk,
            model_pk=model.pk,
            job_pk=job.pk,
            data_period_months=period.months,
            hold_out_months=period.hold_out,
            window_pk=None if old else (await window_of(self.session, model, period)).pk,
        )
        self.session.add(conflict)
        await jobs.set_state(self.session, job.pk, state)
        return conflict

    async def accepted(
        self, conflict: Conflict, *, changed: bool = True, experiments: tuple[str, ...] = ()
    ) -> elicitation_pb2.BeliefStatement:
        """An accepted update from an analysis, as a statement."""
        result = prior_update_pb2.PriorUpdate(
            beliefs=[
                prior_update_pb2.BeliefUpdate(
                    belief_id="tv", estimand=TV, changed=changed, log_bayes_factor=2.0 if changed else 0.5
                )
            ],
            experiments=[
                common_pb2.Experiment(experiment_id=name, estimand=TV, estimate=0.3, standard_error=0.1)
                for name in experiments
            ],
        )
        update = RecommendedUpdate(
            client_id=CLIENT,
            session_pk=conflict.session_pk,
            conflict_pk=conflict.pk,
            update_strategy="FULL_BAYESIAN",
            min_evidence_strength=10.0,
            state="ACCEPTED",
            decide_time=datetime.datetime.now(datetime.UTC),
            result=to_json(result),
        )
        self.session.add(update)
        await self.session.flush()
        stated = elicitation_pb2.UpdatedPriorStatement(update_id=str(update.pk), belief_id="tv")
        return elicitation_pb2.BeliefStatement(updated_prior=stated)

    async def updated(
        self, session_id: str, prior: ClientPrior, model: RegisteredModel, period: Period, **options: Any
    ) -> ClientPrior:
        """The belief of a new session that is what an accepted update left of `prior`."""
        statement = await self.accepted(await self.analysed(prior, model, period), **options)
        return await self.belief(session_id, model, statement)


def pooled(*session_ids: str) -> elicitation_pb2.BeliefStatement:
    members = [elicitation_pb2.PooledMember(session_id=name, belief_id="tv") for name in session_ids]
    return elicitation_pb2.BeliefStatement(pooled=elicitation_pb2.PooledStatement(members=members))


def update_of(prior: ClientPrior) -> str:
    return from_json(prior.belief, elicitation_pb2.Belief()).statement.updated_prior.update_id


@pytest.fixture
async def store(database: Database) -> Any:
    async with database.session() as session:
        await ensure_client(session, CLIENT)
        yield Store(session)


KPI = np.linspace(100.0, 203.0, 104)


async def test_a_belief_is_refused_with_restated_values_of_the_rows_behind_it(store: Store) -> None:
    model = await store.model("mmm", KPI)
    prior = await store.updated("s2", await store.belief("s1", model), model, FIRST)
    restated = KPI.copy()
    restated[9] += 5.0  # the week of 8 March 2021
    corrected = await store.model("corrected", restated)
    (overlap,) = await overlaps_of(store.session, await window_of(store.session, corrected, FIRST), [prior])
    assert list(overlap.restated_months) == ["2021-03"]
    assert (overlap.window.first_date, overlap.window.last_date) == ("2021-01-04", "2022-01-02")
    assert overlap.rows == 52
    error = already_used([overlap], exploratory=True)
    assert error.reason == "DATA_ALREADY_USED"
    assert "restated since in 2021-03" in error.message
    assert update_of(prior) in error.message
    assert error.metadata == {"overlap": "2021-01-04/2022-01-02"}
    with pytest.raises(ServiceError) as caught:
        await refuse_seen(store.session, corrected, Period(240), [prior])
    assert caught.value.reason == "DATA_ALREADY_USED"
    await refuse_seen(store.session, corrected, LAST, [prior])


async def test_the_same_rows_are_one_window_whoever_asks_for_them(store: Store) -> None:
    model = await store.model("mmm", KPI)
    assert await window_of(store.session, model, Period(240)) is await window_of(store.session, model, Period(36))
    assert await window_of(store.session, model, LAST) is not await window_of(store.session, model, FIRST)


async def test_national_data_are_refused_to_a_prior_that_has_seen_a_geo(store: Store) -> None:
    geos = ("east", "north")
    panel = await store.model("panel", np.concatenate([KPI, KPI + 1.0]), geos=geos)
    seen = await window_of(store.session, panel, FIRST)
    assert set(seen.digests) == set(geos)
    prior = await store.updated("s2", await store.belief("s1", panel), panel, FIRST)
    national = await store.model("national", KPI)
    (overlap,) = await overlaps_of(store.session, await window_of(store.session, national, FIRST), [prior])
    assert (overlap.rows, list(overlap.geos)) == (52, [])
    assert not await overlaps_of(store.session, await window_of(store.session, national, LAST), [prior])


async def test_a_grandparents_rows_are_inherited_and_an_update_without_change_adds_none(store: Store) -> None:
    model = await store.model("mmm", KPI)
    first = await store.updated("s2", await store.belief("s1", model), model, FIRST)
    second = await store.updated("s3", first, model, LAST)
    idle = await store.updated("s4", first, model, LAST, changed=False)
    found = {p.pk: await seen_by(store.session, [p.pk]) for p in (first, second, idle)}
    assert [(window.first_date.isoformat(), lineage.inherited) for lineage, window, _ in found[second.pk]] == [
        ("2022-01-03", False),
        ("2021-01-04", True),
    ]
    assert [(lineage.inherited, str(update.pk)) for lineage, _, update in found[idle.pk]] == [(True, update_of(first))]
    belief = from_json(second.belief, elicitation_pb2.Belief())
    assert [(seen.update_id, seen.inherited) for seen in belief.seen] == [
        (update_of(second), False),
        (update_of(first), True),
    ]
    (overlap,) = await overlaps_of(store.session, await window_of(store.session, model, FIRST), [second])
    assert overlap.update_id == update_of(first)


async def test_a_pool_has_seen_what_any_of_its_members_has(store: Store) -> None:
    model = await store.model("mmm", KPI)
    early = await store.updated("early", await store.belief("s1", model), model, FIRST)
    late = await store.updated("late", await store.belief("s2", model), model, LAST)
    await store.belief("own", model)
    pool = await store.belief("pool", model, pooled("own", "early", "late"))
    lineage = await seen_by(store.session, [pool.pk])
    assert {(str(update.pk), row.inherited) for row, _, update in lineage} == {
        (update_of(early), True),
        (update_of(late), True),
    }
    for period, behind in ((FIRST, early), (LAST, late)):
        (overlap,) = await overlaps_of(store.session, await window_of(store.session, model, period), [pool])
        assert (overlap.belief_id, overlap.update_id) == ("tv", update_of(behind))
    assert not await seen_by(store.session, [(await store.belief("none", model, pooled("own", "s1"))).pk])
    # A pool of pools, one member of which is also in the other.
    again = await store.belief("again", model, pooled("pool", "early"))
    assert len(await seen_by(store.session, [again.pk])) == 2


async def test_the_chain_of_an_update_names_parents_nearest_first_and_replaced_beliefs_oldest_first(
    store: Store,
) -> None:
    model = await store.model("mmm", KPI)
    first = await store.updated("s2", await store.belief("s1", model), model, FIRST, experiments=("lift-1",))
    idle = await store.updated("s3", first, model, LAST, changed=False)
    pool = await store.belief("s4", model, pooled("s3", "s1"))
    conflict = await store.analysed(pool, model, LAST)
    change = prior_update_pb2.BeliefUpdate(belief_id="tv", estimand=TV, changed=True, log_bayes_factor=3.0)
    second_lift = common_pb2.Experiment(experiment_id="lift-2", estimand=TV)
    lineage = await lineage_of(store.session, conflict, [change], [second_lift])
    assert list(lineage.parent_update_ids) == [update_of(idle), update_of(first)]
    assert [(r.update_id, r.log_bayes_factor) for r in lineage.replaced] == [(update_of(first), 2.0), ("", 3.0)]
    assert list(lineage.experiment_ids) == ["lift-1", "lift-2"]
    assert [(seen.window.first_date, seen.update_id, seen.inherited) for seen in lineage.seen] == [
        ("2022-01-03", "", False),
        ("2021-01-04", update_of(first), True),
    ]
    assert lineage.model_hash == "hash of mmm"
    assert lineage.analysis_id == str(conflict.pk)


async def test_an_experiment_counts_once_along_a_chain(store: Store) -> None:
    model = await store.model("mmm", KPI)
    first = await store.updated("s2", await store.belief("s1", model), model, FIRST, experiments=("lift-1",))
    later = await store.updated("s3", first, model, LAST, experiments=("lift-2",))
    assert list(from_json(later.belief, elicitation_pb2.Belief()).experiment_ids) == ["lift-2", "lift-1"]
    refuse_used_experiments([first], [common_pb2.Experiment(experiment_id="lift-2")])
    for name in ("lift-1", "lift-2"):
        with pytest.raises(ServiceError) as caught:
            refuse_used_experiments([later], [common_pb2.Experiment(experiment_id=name)])
        assert caught.value.reason == "DATA_ALREADY_USED"
        assert caught.value.metadata == {"experiment_id": name}


async def test_an_analysis_of_the_previous_version_gets_its_rows_from_the_model(store: Store) -> None:
    model = await store.model("mmm", KPI)
    conflict = await store.analysed(await store.belief("s1", model), model, FIRST, old=True)
    assert await window_behind(store.session, conflict) is await window_of(store.session, model, FIRST)
    prior = await store.belief("s2", model, await store.accepted(conflict))
    assert len(await overlaps_of(store.session, await window_of(store.session, model, FIRST), [prior])) == 1


async def test_looks_count_successful_analyses_of_the_quantity_under_rows_in_common(store: Store) -> None:
    model = await store.model("mmm", KPI)
    prior = await store.belief("s1", model)
    await store.analysed(prior, model, FIRST)
    await store.analysed(await store.belief("s2", model), model, Period(240))
    await store.analysed(prior, model, FIRST, state="RUNNING")
    await store.analysed(prior, model, FIRST, state="CANCELLED")
    first, last = [await window_of(store.session, model, period) for period in (FIRST, LAST)]
    assert await looks_at(store.session, first, [prior]) == 3
    assert await looks_at(store.session, last, [prior]) == 2
    assert await looks_at(store.session, first, [ClientPrior(quantity="ROI", channel="tv")]) == 1


async def test_a_refusal_stays_small_however_much_overlaps(store: Store) -> None:
    many = [
        common_pb2.DataOverlap(
            belief_id=f"belief-{number}",
            update_id="01a22046-9ce3-753d-8ff2-abc7a72117c0",
            window=common_pb2.DateRange(first_date=f"20{number:02d}-01-01", last_date=f"20{number:02d}-12-31"),
            rows=52,
            geos=[f"geo-{geo}" for geo in range(200)],
            restated_months=[f"20{number:02d}-{month:02d}" for month in range(1, 13)],
        )
        for number in range(50)
    ]
    error = already_used(many, exploratory=False)
    assert "45 more such overlaps" in error.message
    assert "and 195 more" in error.message
    assert len(error.message) + len(error.metadata["overlap"]) < 3000  # trailers hold 8 KiB, the message twice


async def test_what_a_prior_has_seen_twice_is_noted_once_by_its_first_mention(store: Store) -> None:
    model = await store.model("mmm", KPI)
    prior = await store.updated("s2", await store.belief("s1", model), model, FIRST)
    ((_, window, update),) = await seen_by(store.session, [prior.pk])
    other = await store.belief("s3", model)
    await add_seen(store.session, other.pk, [(window.pk, update.pk, False), (window.pk, update.pk, True)])
    ((row, _, _),) = await seen_by(store.session, [other.pk])
    assert not row.inherited
    assert isinstance(window, DataWindow)


def test_a_removed_belief_leaves_the_correlation_of_the_others_as_it_was() -> None:
    row = ElicitedSession(
        correlation={"belief_ids": ["a", "b", "c"], "matrix": [[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]]}
    )
    # In the order of the session, with a belief between that was added beside the adopted ones.
    np.testing.assert_array_equal(
        correlation_of(row, ["c", "new", "a"]), [[1.0, 0.0, 0.2], [0.0, 1.0, 0.0], [0.2, 0.0, 1.0]]
    )
    forget_correlation(row, "new")
    forget_correlation(row, "b")
    assert row.correlation == {"belief_ids": ["a", "c"], "matrix": [[1, 0.2], [0.2, 1]]}
    forget_correlation(row, "a")
    assert row.correlation is None
    assert correlation_of(row, ["c"]) is None
