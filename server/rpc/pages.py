"""Pages of a list: bounded by number and by bytes, since a message has a limit and an item may be large."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.paging import list_page, token_after

PAGE_BYTES = 3 << 20
"""A page is closed when its items pass this; well below the limit of a message."""

M = TypeVar("M", bound=Message)


async def page_of(
    session: AsyncSession,
    entity: type[Any],
    request: Any,
    filter_key: str,
    build: Callable[[Any], Awaitable[M]],
    *filters: ColumnElement[bool],
) -> tuple[list[M], str]:
    """The messages of a page of the client's rows, newest first, and the token of the next page, "" on the last."""
    rows, token = await list_page(
        session,
        entity,
        entity.client_id == request.client_id,
        *filters,
        page_size=request.page_size,
        page_token=request.page_token,
        filter_key=f"{request.client_id}:{filter_key}",
    )
    messages: list[M] = []
    size = 0
    for index, row in enumerate(rows):
        message = await build(row)
        size += message.ByteSize()
        if messages and size > PAGE_BYTES:
            return messages, token_after(rows[index - 1], f"{request.client_id}:{filter_key}")
        messages.append(message)
    return messages, token
