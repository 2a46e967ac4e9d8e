"""What the handlers of a worker process share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.causes import Refit
from persistence.database import Database
from persistence.tables import Job
from server.settings import Settings
from server.worker.fitting.prepared import ModelStore
from server.worker.fitting.recent import Recent

KEPT_REFITS = 4
"""Models whose refits are kept in memory; some megabytes each."""


Commit = Callable[[AsyncSession], Awaitable[Message]]
"""Writes what was computed and returns the response; runs in the transaction that ends the job."""


@dataclass(frozen=True)
class WorkerContext:
    """What the handlers of a worker process share."""

    database: Database
    settings: Settings
    models: ModelStore
    refits: Recent[Sequence[Refit]] = field(default_factory=lambda: Recent(KEPT_REFITS))
    """Refits of a model under changes, by the key of its own fit."""


Handler = Callable[[WorkerContext, Job], Awaitable[Commit]]
