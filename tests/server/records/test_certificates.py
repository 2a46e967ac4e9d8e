"""Which run decides whether a model is calibrated."""

from __future__ import annotations

import datetime
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from liftos.bayes.v1 import dataset_pb2

from persistence import jobs
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import Dataset, RegisteredModel, SbcValidation
from server.contract.period import Period
from server.contract.wire import to_json
from server.records.certificates import Standing, certificate, deciding, failed_elsewhere, reference_key, standing

KEY = "k"


async def decided(database: Database, runs: list[tuple[str, int]]) -> tuple[str, int] | None:
    """Verdict and size of the run that decides after the given ones, oldest first."""
    async with database.session() as session:
        await ensure_client(session, "acme")
        model = RegisteredModel(
            client_id="acme",
            model_id=uuid.uuid4().hex,
            family="f",
            spec={},
            parameter_count=1,
            model_hash="h",
            warnings=[],
        )
        session.add(model)
        await session.flush()
        for kind, simulations in runs:
            job = await jobs.create(session, "acme", "SBC_RUN", b"", total=simulations)
            session.add(
                SbcValidation(
                    client_id="acme",
                    model_pk=model.pk,
                    job_pk=job.pk,
                    validation_type="STANDARD",
                    num_simulations=simulations,
                    data_period_months=24,
                    seed=1,
                    alpha=0.05,
                    shard_size=64,
                    certificate_key=KEY,
                    verdict_kind=kind,
                )
            )
            await session.flush()
        found = await certificate(session, "acme", model.pk, KEY)
        assert await certificate(session, "acme", model.pk, "another key") is None
        assert await certificate(session, "somebody else", model.pk, KEY) is None
        return None if found is None else (str(found.verdict_kind), found.num_simulations)


def test_shared_random_numbers_are_undone_by_a_larger_run_of_the_same_part_alone() -> None:
    test = {"part": "SBC_PART_POSTERIOR", "pValue": 0.001, "level": 0.001, "quantity": "roi[tv]"}

    def run(kind: str, simulations: int, part: str, **verdict: Any) -> SbcValidation:
        parts = [{"part": part, "planned": [simulations], "quantities": ["roi[tv]"], "reported": 0}]
        return SbcValidation(verdict_kind=kind, num_simulations=simulations, parts=parts, verdict=verdict)

    failed = run("FAIL", 100, "POSTERIOR", sharedNumbers=[test])
    prior, posterior = run("PASS", 500, "PRIOR"), run("PASS", 500, "POSTERIOR")
    assert deciding([failed, prior]) is failed
    assert deciding([failed, posterior]) is posterior


@pytest.mark.parametrize(
    ("runs", "decides"),
    [
        ([], None),
        ([("CANCELLED", 500)], None),
        ([("PASS", 500)], ("PASS", 500)),
        ([("FAIL", 500), ("PASS", 500)], ("FAIL", 500)),  # another seed does not undo a FAIL
        ([("FAIL", 500), ("PASS", 1000)], ("PASS", 1000)),  # more simulations do
        ([("PASS", 1000), ("FAIL", 500)], ("PASS", 1000)),
        ([("PASS", 500), ("INCONCLUSIVE", 1000)], ("PASS", 500)),
        ([("INCONCLUSIVE", 100)], ("INCONCLUSIVE", 100)),
    ],
)
async def test_the_largest_run_decides_and_of_equals_a_failed_one(
    database: Database, runs: list[tuple[str, int]], decides: tuple[str, int] | None
) -> None:
    assert await decided(database, runs) == decides


def run(kind: str, simulations: int, failing: str = "", ranked: str = "PRIOR:sigma PRIOR:log_likelihood") -> Any:
    names: dict[str, list[str]] = {}
    for part, _, name in (entry.partition(":") for entry in ranked.split()):
        names.setdefault(part, []).append(name)
    quantities = [
        {"part": f"SBC_PART_{part}", "quantity": name, "failing": True}
        for part, _, name in (entry.partition(":") for entry in failing.split())
    ]
    return SimpleNamespace(
        verdict_kind=kind,
        num_simulations=simulations,
        verdict={"quantities": quantities},
        parts=[{"part": part, "quantities": ranked_names} for part, ranked_names in names.items()],
    )


def test_a_fail_is_undone_only_by_a_larger_run_that_ranked_what_failed() -> None:
    failed = run("FAIL", 500, failing="PRIOR:sigma")
    elsewhere = run("PASS", 1000, ranked="POSTERIOR:sigma POSTERIOR:log_likelihood")
    same = run("PASS", 600)
    assert deciding([failed, elsewhere]) is failed
    assert deciding([failed, elsewhere, same]) is elsewhere
    both = run("FAIL", 1000, failing="POSTERIOR:sigma", ranked="PRIOR:sigma POSTERIOR:sigma")
    assert deciding([both, run("PASS", 1001)]) is both
    asked_more = run("FAIL", 500, failing="PRIOR:log_likelihood PRIOR:a/b")
    assert deciding([asked_more, same]) is asked_more


async def stands(
    database: Database,
    same_model: bool = True,
    same_data: bool = True,
    family: str = "f",
    method: str = "PRODUCTION",
    kind: str = "PASS",
    key: str | None = None,
) -> Standing:
    """What calibration says of a model, when a run with these features is all there is."""
    async with database.session() as session:
        await ensure_client(session, "acme")
        data = [
            Dataset(
                client_id="acme",
                dataset_id=uuid.uuid4().hex,
                columns=[],
                row_count=1,
                total_bytes=1,
                fingerprint="f",
            )
            for _ in range(2)
        ]
        session.add_all(data)
        await session.flush()
        models = [
            RegisteredModel(
                client_id="acme",
                model_id=uuid.uuid4().hex,
                family=of,
                dataset_pk=dataset.pk,
                spec={},
                parameter_count=1,
                model_hash=hashed,
            )
            for of, dataset, hashed in (("f", data[0], "h"), (family, data[0 if same_data else 1], "other"))
        ]
        session.add_all(models)
        await session.flush()
        job = await jobs.create(session, "acme", "SBC_RUN", b"", total=500)
        session.add(
            SbcValidation(
                client_id="acme",
                model_pk=models[0 if same_model else 1].pk,
                job_pk=job.pk,
                validation_type="POSTERIOR",
                num_simulations=500,
                data_period_months=24,
                seed=1,
                alpha=0.05,
                shard_size=64,
                certificate_key=key or await reference_key(session, models[0], Period()),
                inference_method=method,
                parts=[{"part": "POSTERIOR", "planned": [500], "quantities": None, "reported": 0}],
                verdict_kind=kind,
            )
        )
        await session.flush()
        return await standing(session, models[0], Period())


async def test_a_pass_holds_for_its_own_key_and_is_stale_for_every_other(database: Database) -> None:
    exact = await stands(database)
    assert (exact.passed, exact.posterior, exact.elsewhere) == (True, True, None)
    # other priors, another window or version: another key
    stale = await stands(database, key="other")
    assert (stale.run, stale.passed, stale.posterior) == (None, False, False)
    assert stale.elsewhere is not None
    # a changed model is another model on the same data
    assert (await stands(database, same_model=False, key="other")).elsewhere is not None
    for unrelated in (
        {"same_model": False, "same_data": False},
        {"same_model": False, "family": "g"},
        {"method": "LAPLACE"},
        {"kind": "FAIL"},
        {"kind": "INCONCLUSIVE"},
    ):
        found: Any = unrelated
        assert (await stands(database, key="other", **found)) == Standing(None, False, None)


@pytest.mark.parametrize(
    ("failed", "asked", "blocks"),
    [
        (Period(24), Period(23), True),  # a week more or less makes no other model
        (Period(12), Period(24), True),
        (Period(12, 12), Period(24), True),
        (Period(12, 12), Period(12), False),  # no row in common
        (Period(24), Period(24), False),  # the fit's own run decides, whatever else there is
    ],
)
async def test_a_fail_stands_against_fits_to_rows_in_common_whatever_the_window_is_called(
    database: Database, failed: Period, asked: Period, blocks: bool
) -> None:
    async with database.session() as session:
        await ensure_client(session, "acme")
        kpi = to_json(dataset_pb2.Column(name="y", role=dataset_pb2.COLUMN_ROLE_KPI))
        dataset = Dataset(
            client_id="acme",
            dataset_id="weekly",
            columns=[kpi],
            row_count=120,
            total_bytes=8,
            committed_bytes=8,
            state="SEALED",
            fingerprint="f",
            sha256="s",
            first_date=datetime.date(2022, 1, 3),
            last_date=datetime.date(2024, 4, 15),
            grain="WEEKLY",
            seal_time=datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
        )
        session.add(dataset)
        await session.flush()
        model = RegisteredModel(
            client_id="acme",
            model_id="mmm",
            family="additive_mmm/1",
            spec={},
            dataset_pk=dataset.pk,
            parameter_count=5,
            model_hash="h",
        )
        session.add(model)
        await session.flush()
        job = await jobs.create(session, "acme", "SBC_RUN", b"", total=500)
        run = SbcValidation(
            client_id="acme",
            model_pk=model.pk,
            job_pk=job.pk,
            validation_type="STANDARD",
            num_simulations=500,
            data_period_months=failed.months,
            hold_out_months=failed.hold_out,
            seed=1,
            alpha=0.05,
            shard_size=64,
            certificate_key=await reference_key(session, model, failed),
            verdict_kind="FAIL",
        )
        session.add(run)
        await session.flush()
        found = await failed_elsewhere(session, model, asked)
        assert (found is not None and found.pk == run.pk) == blocks
