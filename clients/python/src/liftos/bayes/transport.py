"""What the two clients do differently: waiting, work beside an event loop, and the end of a call under way."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from liftos.bayes.errors import Cancelled

P = ParamSpec("P")
T = TypeVar("T")


class _Open:
    """Whether the client may still be used."""

    closed = False

    def check_open(self) -> None:
        """Raise Cancelled after the client was closed."""
        if self.closed:
            raise Cancelled("the client is closed")


class AsyncTransport(_Open):
    """For asyncio."""

    @staticmethod
    async def pause(seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    @staticmethod
    async def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns, for work that takes longer than an event loop may stand still."""
        return await asyncio.to_thread(function, *args, **kwargs)

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Around a call: a cancellation is Cancelled if it is not the task's, but the client was closed meanwhile."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.closed and task is not None and not task.cancelling():
                raise Cancelled("the client is closed") from None
            raise


class Transport(_Open):
    """For threads: a call of a client that is closed meanwhile ends with an RpcError, as any other."""

    @staticmethod
    def pause(seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    @staticmethod
    def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns."""
        return function(*args, **kwargs)

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Around a call."""
        yield
