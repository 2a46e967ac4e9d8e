"""Kinds of jobs and who works on them."""

from __future__ import annotations

from server.contract.job_kinds import JOB_KINDS
from server.worker.__main__ import HANDLERS


def test_every_kind_of_job_has_a_handler() -> None:
    assert set(HANDLERS) == set(JOB_KINDS.values())


def test_a_kind_is_stored_by_the_name_that_it_has_in_the_code() -> None:
    assert {name: kind.name for name, kind in JOB_KINDS.items()} == {name: name for name in JOB_KINDS}
