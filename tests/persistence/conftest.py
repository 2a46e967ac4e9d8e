"""Rows that the tests of persistence build upon."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from persistence import jobs
from persistence import sbc_runs as sbc
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import (
    ClientPrior,
    Conflict,
    Dataset,
    ElicitedSession,
    Fit,
    Job,
    RegisteredModel,
    SbcShard,
    SbcValidation,
)

CLIENT = "acme"


@dataclass(frozen=True)
class World:
    """One row of each kind that others refer to, all of client `acme`."""

    dataset: Dataset
    model: RegisteredModel
    session: ElicitedSession
    prior: ClientPrior
    job: Job
    fit: Fit
    conflict: Conflict
    validation: SbcValidation
    shards: list[SbcShard]


@pytest.fixture
async def world(database: Database) -> World:
    """A client with a model, a session, a conflict analysis, and an SBC run of 10 simulations in shards of 4."""
    async with database.session() as session:
        await ensure_client(session, CLIENT)
        dataset = Dataset(
            client_id=CLIENT,
            dataset_id="sales",
            columns=[{"name": "week"}],
            row_count=1,
            total_bytes=8,
            fingerprint="f",
        )
        session.add(dataset)
        await session.flush()
        model = RegisteredModel(
            client_id=CLIENT,
            model_id="mmm",
            family="additive_mmm",
            spec={},
            dataset_pk=dataset.pk,
            parameter_count=5,
            model_hash="h",
        )
        session.add(model)
        await session.flush()
        elicitation = ElicitedSession(client_id=CLIENT, session_id="s1", model_pk=model.pk)
        fit = Fit(client_id=CLIENT, model_pk=model.pk, fit_key="k", diagnostics={}, provenance={})
        session.add_all([elicitation, fit])
        await session.flush()
        prior = ClientPrior(
            session_pk=elicitation.pk, belief_id="b1", ordinal=0, quantity="ROI", channel="tv", belief={"mean": 1.5}
        )
        session.add(prior)
        job = await jobs.create(session, CLIENT, "conflict", b"request", total=10)
        run = await jobs.create(session, CLIENT, "sbc", b"run", total=10)
        conflict = Conflict(
            client_id=CLIENT,
            session_pk=elicitation.pk,
            model_pk=model.pk,
            job_pk=job.pk,
            data_period_months=24,
        )
        validation = SbcValidation(
            client_id=CLIENT,
            model_pk=model.pk,
            session_pk=elicitation.pk,
            job_pk=run.pk,
            validation_type="STANDARD",
            num_simulations=10,
            data_period_months=24,
            seed=1,
            alpha=0.05,
            shard_size=4,
            parts=[{"part": "PRIOR", "planned": [10], "quantities": ["sigma", "roi[tv]"], "reported": 0}],
            certificate_key="c",
        )
        session.add_all([conflict, validation])
        await session.flush()
        shards = await sbc.plan_shards(session, validation.pk, "PRIOR", 0, 10, 4)
    return World(dataset, model, elicitation, prior, job, fit, conflict, validation, shards)
