"""What a caller sees of a computation that ended without a result."""

from __future__ import annotations

import pytest
from liftos.bayes.rules import Violation
from sqlalchemy.exc import IntegrityError

from engine.errors import InvalidInput, UnsupportedQuantity
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import Model, Session
from server.contract.errors import ServiceError
from server.worker.short_jobs import explained


@pytest.mark.parametrize(
    ("error", "reason", "field"),
    [
        (
            InvalidInput("statement.range.upper", "must be above the lower end"),
            "INVALID_FIELD",
            "statement.range.upper",
        ),
        (UnsupportedQuantity("roi[x]", "is not a prior"), "UNIMPLEMENTED", None),
        (ServiceError("DATA_ALREADY_USED", "seen", violations=[Violation("f", "seen")]), "DATA_ALREADY_USED", "f"),
        (RuntimeError("a detail that must not leave the service"), "INTERNAL", None),
    ],
)
def test_an_error_is_explained_by_its_reason_and_field(error: Exception, reason: str, field: str | None) -> None:
    found = explained(error)
    assert (found[0], found[2]) == (reason, field)
    assert "detail" not in found[1]


async def test_the_second_of_two_calls_at_once_is_told_that_the_first_was_faster(database: Database) -> None:
    async with database.session() as session:
        await ensure_client(session, "acme")
        model = Model(client_id="acme", model_id="m", family="f", spec={}, parameter_count=1, model_hash="h")
        session.add(model)
        await session.flush()
        session.add(Session(client_id="acme", session_id="next", model_pk=model.pk))
    async with database.session() as session:
        session.add(Session(client_id="acme", session_id="next", model_pk=model.pk))
        with pytest.raises(IntegrityError) as caught:
            await session.flush()
        await session.rollback()
    assert explained(caught.value)[0] == "ALREADY_EXISTS"
