"""What a caller sees of an exception, in either process."""

from __future__ import annotations

import pytest
from liftos.bayes.rules import Violation
from sqlalchemy.exc import IntegrityError

from engine.errors import InvalidInput, UnsupportedQuantity
from persistence.database import Database, StorageUnavailable
from persistence.idempotency import RequestIdReused
from persistence.lookup import ensure_client
from persistence.tables import ElicitedSession, RegisteredModel
from server.contract.errors import Reason, ServiceError
from server.records.failures import explained


@pytest.mark.parametrize(
    ("error", "reason", "field"),
    [
        (
            InvalidInput("statement.range.upper", "must be above the lower end"),
            Reason.INVALID_FIELD,
            "statement.range.upper",
        ),
        (UnsupportedQuantity("roi[x]", "is not a prior"), Reason.UNIMPLEMENTED, None),
        (
            ServiceError(Reason.DATA_ALREADY_USED, "seen", violations=[Violation("f", "seen")]),
            Reason.DATA_ALREADY_USED,
            "f",
        ),
        (RequestIdReused("r"), Reason.REQUEST_ID_REUSED, None),
        (StorageUnavailable("db.internal: a detail"), Reason.STORAGE_UNAVAILABLE, None),
        (RuntimeError("a detail that must not leave the service"), Reason.INTERNAL, None),
    ],
)
def test_an_error_is_explained_by_its_reason_and_field(error: Exception, reason: Reason, field: str | None) -> None:
    told = explained(error)
    message, blamed = told.at_rest()
    assert (told.reason, blamed) == (reason, field)
    assert "detail" not in message


async def test_the_second_of_two_calls_at_once_is_told_that_the_first_was_faster(database: Database) -> None:
    async with database.session() as session:
        await ensure_client(session, "acme")
        model = RegisteredModel(client_id="acme", model_id="m", family="f", spec={}, parameter_count=1, model_hash="h")
        session.add(model)
        await session.flush()
        session.add(ElicitedSession(client_id="acme", session_id="next", model_pk=model.pk))
    async with database.session() as session:
        session.add(ElicitedSession(client_id="acme", session_id="next", model_pk=model.pk))
        with pytest.raises(IntegrityError) as caught:
            await session.flush()
        await session.rollback()
    assert explained(caught.value).reason == Reason.ALREADY_EXISTS
