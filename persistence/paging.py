"""Keyset paging over (create_time, pk), newest first, with tokens that are bound to their list and filter."""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import json
import uuid
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Uuid, literal, select, tuple_
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.errors import StorageError
from persistence.tables import AuditEntry, Owned

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
_VERSION = 1

Entity = TypeVar("Entity", bound=Owned | AuditEntry)


class InvalidPageToken(StorageError):
    """The page token was not issued by this list, or not for this filter."""


class Page(NamedTuple, Generic[Entity]):
    """A page: its items, and the token of the next page, empty on the last."""

    items: list[Entity]
    next_token: str


async def list_page(
    session: AsyncSession,
    entity: type[Entity],
    *filters: ColumnElement[bool],
    page_size: int = 0,
    page_token: str = "",
    filter_key: str,
) -> Page[Entity]:
    """A page of `entity` rows that pass `filters`, newest first, and the next page's token, "" on the last.

    `page_size`: 0 means 50, at most 1000. `filter_key`: spells the filters and their values, so that a token cannot be
    used with others. Raises `InvalidPageToken`.
    """
    size = min(page_size, MAX_PAGE_SIZE) if page_size > 0 else DEFAULT_PAGE_SIZE
    scope = _scope(entity, filter_key)
    query = select(entity).where(*filters)
    if page_token:
        create_time, pk = _decode(page_token, scope)
        query = query.where(
            tuple_(entity.create_time, entity.pk)
            < tuple_(literal(create_time, TIMESTAMP(timezone=True)), literal(pk, Uuid()))
        )
    query = query.order_by(entity.create_time.desc(), entity.pk.desc()).limit(size + 1)
    items = list(await session.scalars(query))
    if len(items) <= size:
        return Page(items, "")
    return Page(items[:size], _encode(items[size - 1], scope))


def token_after(last: Owned | AuditEntry, filter_key: str) -> str:
    """The token of the page after `last`, for a page that is closed before `list_page` would close it."""
    return _encode(last, _scope(type(last), filter_key))


def _scope(entity: type[Any], filter_key: str) -> str:
    return hashlib.sha256(f"{entity.__tablename__}\0{filter_key}".encode()).hexdigest()[:16]


def _encode(last: Owned | AuditEntry, scope: str) -> str:
    content = [_VERSION, scope, last.create_time.isoformat(), last.pk.hex]
    return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(token: str, scope: str) -> tuple[datetime.datetime, uuid.UUID]:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        version, of_scope, create_time, pk = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if version != _VERSION or of_scope != scope:
            raise InvalidPageToken("the page token belongs to another list or filter")
        moment = datetime.datetime.fromisoformat(create_time)
        if moment.tzinfo is None:
            raise InvalidPageToken("the page token is malformed")
        return moment, uuid.UUID(pk)
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidPageToken("the page token is malformed") from None
