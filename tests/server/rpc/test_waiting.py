"""What a caller is told who did not wait long enough, or whose work failed."""

from __future__ import annotations

import uuid

import pytest

from persistence.tables import Job
from server.rpc.waiting import job_error, still_running


@pytest.mark.parametrize("kind", ["ANALYZE_CONFLICT", "ANALYZE_ATTRIBUTION"])
def test_a_caller_whose_first_fit_takes_long_is_told_that_it_compiles(kind: str) -> None:
    message = still_running(Job(kind=kind, state="RUNNING"))
    assert message.startswith("the work goes on (the first fit of a model of a new shape compiles")
    assert message.endswith("call again with the same request_id")


def test_work_that_fits_nothing_does_not_mention_compilation() -> None:
    message = still_running(Job(kind="ADD_BELIEF", state="RUNNING"))
    assert message == "the work goes on; call again with the same request_id"


def test_work_that_nobody_has_begun_is_said_to_wait() -> None:
    message = still_running(Job(kind="ADD_BELIEF", state="QUEUED"))
    assert message == "no worker has begun the work yet; call again with the same request_id"


def test_the_error_of_a_job_carries_its_own_metadata_beside_the_jobs_id() -> None:
    failed = Job(
        pk=uuid.UUID(int=7),
        state="FAILED",
        error_reason="DATA_ALREADY_USED",
        error_message="seen",
        error_metadata={"overlap": "2021-01-01/2021-12-31"},
    )
    assert job_error(failed).metadata == {"overlap": "2021-01-01/2021-12-31", "job_id": str(uuid.UUID(int=7))}
