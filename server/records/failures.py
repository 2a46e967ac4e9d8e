"""What a caller is told of an exception, whichever process it ended in."""

from __future__ import annotations

import logging
import uuid

from sqlalchemy.exc import IntegrityError

from engine.errors import EngineError, InvalidInput, UnsupportedModel, UnsupportedQuantity
from persistence.database import StorageUnavailable
from persistence.idempotency import RequestIdReused
from persistence.paging import InvalidPageToken
from persistence.uploads import DatasetExists
from server.contract.errors import Reason, ServiceError, invalid_field

log = logging.getLogger(__name__)

UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION = "23505", "23503"


def explained(error: Exception) -> ServiceError:
    """The error of the contract for any exception; what nobody foresaw becomes INTERNAL with an incident id."""
    match error:
        case ServiceError():
            return error
        case InvalidInput():
            return invalid_field(error.field, error.message)
        case UnsupportedQuantity() | UnsupportedModel():
            return ServiceError(Reason.UNIMPLEMENTED, str(error))
        case EngineError():
            return ServiceError(Reason.COMPUTATION_FAILED, str(error))
        case RequestIdReused():
            message = "request_id was used before with a different payload"
            return ServiceError(Reason.REQUEST_ID_REUSED, message, metadata={"request_id": error.request_id})
        case DatasetExists():
            return ServiceError(Reason.ALREADY_EXISTS, "a data set of this name with other content exists already")
        case InvalidPageToken():
            return ServiceError(Reason.INVALID_PAGE_TOKEN, "page_token does not belong to this list and filter")
        case StorageUnavailable():
            return ServiceError(Reason.STORAGE_UNAVAILABLE, "the database cannot be reached; call again later")
        case IntegrityError():
            return _came_second(error) or _incident(error)
        case _:
            return _incident(error)


def _came_second(error: IntegrityError) -> ServiceError | None:
    """Two calls at the same moment: the one that came second finds what the first has just written. None otherwise."""
    state = getattr(error.orig, "sqlstate", None)
    if state == UNIQUE_VIOLATION:
        return ServiceError(Reason.ALREADY_EXISTS, "another call has just created this resource")
    if state == FOREIGN_KEY_VIOLATION:
        return ServiceError(Reason.IN_USE, "another call has just taken up or deleted a resource that this one needs")
    return None


def _incident(error: Exception) -> ServiceError:
    incident = uuid.uuid4().hex
    log.error("incident %s", incident, exc_info=error)
    message = f"internal error, incident {incident}"
    return ServiceError(Reason.INTERNAL, message, metadata={"incident_id": incident})
