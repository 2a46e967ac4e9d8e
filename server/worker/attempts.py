"""The line that the log gets of every attempt at a job, or at a shard of one, when the attempt has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from persistence.database import StorageUnavailable
from persistence.tables import Job
from server.logs import note

log = logging.getLogger(__name__)


@dataclass
class Ending:
    """How an attempt ended; whoever makes it says so here.

    DROPPED: what came out does not count, as the lease was lost or the job has ended. INTERRUPTED: no result, and the
    work is delivered again.
    """

    state: Literal["SUCCEEDED", "FAILED", "DROPPED", "INTERRUPTED"] = "INTERRUPTED"
    reason: str = ""

    def failed(self, reason: str, held: bool = True) -> None:
        """The attempt failed; `held`: whether it still counted, so that the job or its run failed with it."""
        self.state, self.reason = "FAILED" if held else "DROPPED", reason


@contextmanager
def attempt_line(
    job: Job, request_id: str, *, attempt: int | None = None, shard: int | None = None
) -> Iterator[Ending]:
    """Write one line when the block ends, however it ends; `attempt`: that at the shard, if it is about one."""
    begin, ended = time.monotonic(), Ending()
    try:
        yield ended
    except StorageUnavailable:
        ended.reason = "STORAGE_UNAVAILABLE"
        raise
    finally:
        note(
            log,
            "job",
            kind=job.kind,
            client=job.client_id,
            state=ended.state,
            reason=ended.reason,
            seconds=round(time.monotonic() - begin, 3),
            request=request_id,
            job=str(job.pk),
            shard="" if shard is None else shard,
            attempt=job.attempt if attempt is None else attempt,
        )
