"""Entry point of a worker process: `python -m server.worker [calls] [shards]`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import uuid
from typing import Any

from engine.inference.precision import enable_float64
from persistence import migrate, queue
from persistence.database import Database, StorageUnavailable
from server import logs
from server.contract.job_kinds import JobKind, Kind
from server.lifeline import follow_parent
from server.settings import Settings
from server.worker.attribution import analyze_attribution
from server.worker.conflict.analyses import analyze_conflict
from server.worker.context import Handler, WorkerContext
from server.worker.elicitation.adoption import adopt_prior_update
from server.worker.elicitation.beliefs import add_belief, add_shares, fit_prior
from server.worker.elicitation.feedback import elicitation_feedback
from server.worker.fitting.compiler import keep_compilations, use_one_thread
from server.worker.fitting.families.preparations import load_preparations
from server.worker.fitting.prepared import ModelStore
from server.worker.fitting.registration import register_model
from server.worker.retries import AGAIN, sweep
from server.worker.sbc.necessity import check_necessity
from server.worker.sbc.policy_creation import create_policy
from server.worker.sbc.replays import replay_policy
from server.worker.sbc.shards import run_shard
from server.worker.sbc.truths import fix_truth
from server.worker.short_jobs import run_call
from server.worker.updates.proposals import update_priors

log = logging.getLogger("server.worker")

HANDLERS: dict[Kind[Any], Handler] = {
    JobKind.REGISTER_MODEL: register_model,
    JobKind.ADD_BELIEF: add_belief,
    JobKind.ADD_SHARES: add_shares,
    JobKind.ELICITATION_FEEDBACK: elicitation_feedback,
    JobKind.FIT_PRIOR: fit_prior,
    JobKind.ADOPT_PRIOR_UPDATE: adopt_prior_update,
    JobKind.ANALYZE_CONFLICT: analyze_conflict,
    JobKind.CHECK_NECESSITY: check_necessity,
    JobKind.CREATE_POLICY: create_policy,
    JobKind.REPLAY_POLICY: replay_policy,
    JobKind.FIX_TRUTH: fix_truth,
    JobKind.UPDATE_PRIORS: update_priors,
    JobKind.ANALYZE_ATTRIBUTION: analyze_attribution,
}


async def work(settings: Settings, queues: list[str]) -> None:
    """Take tasks from the queues until SIGTERM; the task at hand is finished first."""
    database = Database(settings.database_url)
    context = WorkerContext(database, settings, ModelStore())
    app = queue.make_app(settings.database_url)

    @app.task(name="run_call", queue=queue.CALLS, retry=AGAIN)
    async def call(job: str) -> None:
        await run_call(context, HANDLERS, uuid.UUID(job))

    @app.task(name="run_shard", queue=queue.SHARDS, retry=AGAIN)
    async def shard(validation: str, ordinal: int) -> None:
        await run_shard(context, uuid.UUID(validation), ordinal)

    async with app.open_async():
        sweeper = asyncio.create_task(sweep(app, database, settings.stalled_seconds))
        log.info("working on %s", ", ".join(queues))
        try:
            await app.run_worker_async(
                queues=queue.taken(queues),
                concurrency=1,
                delete_jobs="always",
                fetch_job_polling_interval=1.0,
                update_heartbeat_interval=settings.stalled_seconds / 4,
                stalled_worker_timeout=settings.stalled_seconds,
                name=f"worker {','.join(queues)}",
            )
        finally:
            sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeper
            await database.close()


def main(arguments: list[str]) -> int:
    """Run a worker on the named queues; both when none is named."""
    settings = Settings()
    logs.configure(settings.log_format)
    follow_parent()
    load_preparations()
    use_one_thread()
    enable_float64()
    keep_compilations(settings.compilation_cache)
    queues = arguments or [queue.CALLS, queue.SHARDS]
    unknown = set(queues) - {queue.CALLS, queue.SHARDS}
    if unknown or not settings.database_url:
        if unknown:
            sys.stderr.write(f"no such queue: {', '.join(sorted(unknown))}\n")
        sys.stderr.write(f"usage: python -m server.worker [{queue.CALLS}] [{queue.SHARDS}], with a database URL set\n")
        return 2
    try:
        revision = migrate.current_revision(settings.database_url)
    except StorageUnavailable as error:
        sys.stderr.write(f"the database cannot be reached: {error}\n")
        return 1
    if revision not in migrate.SUPPORTED_REVISIONS:
        sys.stderr.write(f"the database has schema revision {revision}; run `liftos-bayes migrate`\n")
        return 1
    asyncio.run(work(settings, queues))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
