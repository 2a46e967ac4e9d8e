"""What a caller is told who did not wait long enough."""

from __future__ import annotations

import pytest

from persistence.tables import Job
from server.calls import still_running


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
